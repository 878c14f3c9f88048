"""Guards: how does one start within milliseconds?

A guard is a Python of its own, and starting one takes longer than all the rest that a run costs.
So one is started that makes none itself: for every job that it is handed it forks, before it has
any thread or lock. Whoever hands jobs out may die at any time: its ends of the lines close, and
guards end by themselves.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select

from horizon_bo.errors import EngineError
from horizon_bo.runs import guard
from horizon_bo.runs.engines.protocol import Job

#: Exit code of a guard that could not say its own: somebody killed it.
_KILLED = 128 + signal.SIGKILL
#: How long a guard may take to start, in seconds, on a machine that is busy.
_START_S = 60.0
#: How much of what a guard says is read at once, in bytes.
_CHUNK_BYTES = 64


class Guard:
    """A guard of this machine that has its job.

    Args:
        pid: Its process.
        line: A socket whose other end it holds until it ends, and that asks it to end by closing.
        said: What it has said of its exit code.
    """

    def __init__(self, pid: int, line: socket.socket, said: bytes) -> None:
        self._pid, self._line, self._said = pid, line, said

    def code(self, within_s: float = 0.0) -> int | None:
        """Its exit code once it is gone; `None` where it lives for so many seconds more."""
        until_s = time.monotonic() + within_s
        while select([self._line], [], [], max(0.0, until_s - time.monotonic()))[0]:
            if not (said := self._line.recv(_CHUNK_BYTES)):
                self._line.close()
                return int(self._said or _KILLED)
            self._said += said
        return None

    def ask_to_end(self) -> None:
        """Have it end its command, and itself."""
        self._line.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it and its command, if it does not answer."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


class Guards:
    """Starts guards, by a process that is started for the first."""

    def __init__(self) -> None:
        self._source: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def started(self, job: Job, lock: int) -> Guard:
        """A guard that has a job, and holds the lock open as long as it lives.

        Raises:
            EngineError: None can be started.
        """
        if self._source is not None and self._source[0].poll() is not None:  # somebody killed it
            self.end()
        if self._source is None:
            self._source = _source()
        told = {
            "folder": str(job.folder.resolve()),
            "attempt": job.attempt,
            "most_s": str(job.most_s),
            "environment": {**os.environ, **job.environment},
            "cwd": os.getcwd(),
        }
        text, said = json.dumps(told).encode() + b"\n", b""
        here, there = socket.socketpair()
        here.settimeout(_START_S)
        with there, suppress(OSError):
            sent = socket.send_fds(self._source[1], [text], [there.fileno(), lock])
            self._source[1].sendall(text[sent:])
            there.close()
            said = here.recv(_CHUNK_BYTES)
        if not said:
            here.close()
            raise EngineError(
                "no process could be started, expected a machine with room for one more; end some "
                "and run again, the study is intact"
            )
        pid, _, code = said.partition(b"\n")
        return Guard(int(pid), here, code)

    def end(self) -> None:
        """End what starts them, but no guard."""
        if self._source is not None:
            process, line = self._source
            self._source = None
            line.close()
            process.wait()


@contextmanager
def guards_ready() -> Iterator[Guards]:
    """What starts guards, as long as this context lasts."""
    guards = Guards()
    try:
        yield guards
    finally:
        guards.end()


def _source() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process that becomes a guard with every job, and the line to hand them over by."""
    here, there = socket.socketpair()
    argv = (sys.executable, "-I", "-S", guard.__file__)
    with there:
        process = subprocess.Popen(
            argv, stdin=there.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
        )
    return process, here
