"""Shapes: how are they checked in the functions that a test calls, and in no others?"""

from collections.abc import Callable
from functools import cache, wraps

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked_once_called(function: Callable) -> Callable:
    """The function with its arguments and answer checked; the checks are made at its first call.

    There are a thousand functions, and to make all checks takes seconds.
    """
    made = cache(lambda: _check(function))

    @wraps(function)
    def checked(*given: object, **named: object) -> object:
        return made()(*given, **named)

    return checked
