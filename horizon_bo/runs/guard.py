"""Guard: how does a training command end once nobody waits for it any more?

A program of its own between the run loop and the command, so it imports nothing of the package:

    python -I -S guard.py COMMAND ARGUMENT…

Its standard input is a pipe that the loop holds open. When that closes, because the loop says so
or because the loop died (even by SIGKILL), the command's whole process group is asked to end and
killed after a grace. The exit code is the command's, or 128 + the signal that killed it.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

#: How often the command is looked at, in seconds.
_POLL_S = 0.02
#: How long a command may take to save its state after SIGTERM, in seconds.
_GRACE_S = 5.0
#: Exit code of a shell for a command that cannot be started.
_CANNOT_START = 127
#: Number of the Linux call by which a process asks to be killed along with its parent.
_PR_SET_PDEATHSIG = 1


def guarded(argv: Sequence[str]) -> int:
    """Run a command until it ends or standard input closes; its exit code."""
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_the_guard
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        return _CANNOT_START
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable and not os.read(0, 1):
            _send(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_S)
            break
    _send(child, signal.SIGKILL)  # also what the command left behind in its group
    code = child.wait()
    return code if code >= 0 else 128 - code


def _send(child: subprocess.Popen, number: signal.Signals) -> None:
    # macOS refuses where only zombies are left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _die_with_the_guard() -> None:
    """For the case that the guard itself is killed; other systems have no such call."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(guarded(sys.argv[1:]))
