"""Quantities: which number do 7B, 45M, 2 % and 1e9 mean, and how is a number shown?"""

import math
import re
from typing import Any

from horizon_bo.errors import InvalidSpaceError

_SUFFIXES = {
    **dict.fromkeys(("k", "thousand"), 3),
    **dict.fromkeys(("m", "mn", "mio", "million", "millions"), 6),
    **dict.fromkeys(("b", "bn", "g", "billion", "billions"), 9),
    **dict.fromkeys(("t", "tn", "trillion", "trillions"), 12),
    "%": -2,
}
#: Powers of 1,024 that are written with an i, as in 512Ki.
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
#: What may follow a count and changes nothing.
_UNITS = r"(?:\s*(?:tokens?|toks?|params?|parameters))?"
_PLAIN = re.compile(
    r"(?P<mantissa>[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+))(?P<exponent>e[+-]?\d+)?"
    r"\s*(?P<suffix>[a-z]*?|%)" + _UNITS,
    re.IGNORECASE,
)
#: Groups of three digits with commas. One group could be a decimal comma as well.
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3}){2,}(?:\.\d+)?|[+-]?\d{1,3}(?:,\d{3})+\.\d+")

#: Longest text that is looked at as a number with a suffix, in characters.
_LONGEST = 64

#: How much of a value a message quotes, in characters.
_QUOTED = 80
#: Runs that may be asked for at once.
_MOST_ASKED = 1000
#: Longest name of anything, in characters.
LONGEST_NAME = 200


def quantity(text: str) -> float | None:
    """The number that a text means; `None` where it means none.

    Beyond what Python reads: 45M, 7B, 200B, 1.2T, 512K, 512Ki, 2 %, 45,000,000, "10 billion
    tokens". K, M, B and T are powers of ten, whatever their case.
    """
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is not None:  # digits without end are no infinity
        return None if math.isinf(value) and any(map(str.isdigit, text)) else value
    if len(text) > _LONGEST:
        return None
    if _GROUPED.fullmatch(text):
        return float(text.replace(",", ""))
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    mantissa, suffix = found["mantissa"].replace("_", ""), found["suffix"].lower()
    if suffix in _BINARY and not found["exponent"]:
        return float(mantissa) * _BINARY[suffix]
    if suffix and (suffix not in _SUFFIXES or found["exponent"]):
        return None
    # as one literal, so that 1.07B is 1.07e9 to the last digit
    return float(f"{mantissa}e{_SUFFIXES[suffix]}" if suffix else mantissa + (found[2] or ""))


def real(value: Any) -> float | None:
    """A value of any kind as a float; `None` where it is no number, or one too large for a float.

    Truth values and bytes are no numbers, although Python would make them some.
    """
    if value is None or isinstance(value, str | bytes | bytearray) or _is_truth(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None


def quoted(value: Any) -> str:
    """A value for a message, shortened where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"a whole number of {value.bit_length()} bits"
    except RecursionError:
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


def asked_for(n: object) -> int:
    """How many runs somebody wants, one where nothing is said."""
    if n is not None and (
        not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= _MOST_ASKED
    ):
        raise InvalidSpaceError(
            f"n is {quoted(n)}, expected a whole number from 1 to {_MOST_ASKED}; ask for one run"
        )
    return n or 1


def refuse_no_name(given: object, what: str, example: str) -> None:
    """A name is a text of some length, not empty and not endless."""
    if not isinstance(given, str) or not 0 < len(given.strip()) <= LONGEST_NAME:
        raise InvalidSpaceError(
            f"{what} is {quoted(given)}, expected a name of up to {LONGEST_NAME} characters; "
            f"give one such as {example}"
        )


def shown_rate(rate: float) -> str:
    """A learning rate for people: four digits at most, which is more than anybody can tune."""
    return f"{rate:.4g}"


def shown_count(count: float) -> str:
    """A count for people, as in 45M, 1.05M, 7B and 512; a count that is short stays whole."""
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if size <= count < 1000 * size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.4g}" if not 1 <= count < 1e6 else f"{count:.6g}"


def _is_truth(value: Any) -> bool:
    """Whether a value is true or false, Python's or numpy's."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
