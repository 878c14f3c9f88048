"""Asked: how does a process end soon where it is asked to, wherever it stands?

The request is noted. What may be broken off at any point (a pause, inference, a function that
trains) is broken off at once; a transaction never is: it is short, and the next pause ends it.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

#: Signals by which schedulers and people ask a process to end.
_ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class AskedToEndError(BaseException):
    """Raised within what is broken off, which may be the user's and looks at no flag."""


@dataclass
class Asked:
    """Whether this process has been asked to end.

    Args:
        by: Name of the signal that asked; `None` as long as none has.
        interruptible: What happens right now may be broken off.
    """

    by: str | None = None
    interruptible: bool = False

    def pause(self, seconds: float) -> None:
        """Sleep, unless and until asked to end.

        Raises:
            AskedToEndError: This process is to end.
        """
        with self.breaking_off():
            time.sleep(seconds)

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Break off what stands within where this process is asked to end.

        Raises:
            AskedToEndError: It is, or has been before.
        """
        self.interruptible = True  # first: whatever arrives from here on raises
        try:
            if self.by is not None:
                raise AskedToEndError
            yield
        finally:
            self.interruptible = False

    def whole(self, work: Callable[[], T]) -> T:
        """Do something that is not broken off, within something that may be."""
        self.interruptible = False
        try:
            return work()
        finally:
            self.interruptible = True
            if self.by is not None:
                raise AskedToEndError

    def note(self, number: int, _: FrameType | None) -> None:
        """What a signal does."""
        self.by = signal.Signals(number).name
        if self.interruptible:
            self.interruptible = False  # what ends now is not broken off once more
            raise AskedToEndError


@contextmanager
def asked_to_end() -> Iterator[Asked]:
    """Note when this process is asked to end, instead of ending at once."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, asked.note) for number in _ASKING}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
