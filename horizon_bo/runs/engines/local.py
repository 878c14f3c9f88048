"""Local engine: how do runs train on this machine?

As processes that do not outlive the loop: each guard holds a pipe whose other end is here.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from horizon_bo.runs.engines.protocol import Job, State
from horizon_bo.runs.folder import clear_disk_errors
from horizon_bo.runs.outcomes import Exit

#: How long a guard may take to end what it watches, in seconds: longer than its own grace.
_ENDING_S = 15.0


class Local:
    """Processes of this machine.

    Args:
        lock: File descriptor that the guards hold open as long as they live.
    """

    name = "local"
    look_s = 0.05

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._guards: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, job: Job) -> None:
        """Start an attempt."""
        with clear_disk_errors(job.folder), (job.folder / "engine.log").open("ab") as log:
            self._guards[job.name] = subprocess.Popen(
                job.argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **job.environment},
                start_new_session=True,
                pass_fds=(self._lock,),
            )

    def states(self) -> Mapping[str, State]:
        """How those attempts ended whose guard is gone."""
        return {
            name: Exit(code=guard.returncode if guard.returncode >= 0 else 128 - guard.returncode)
            for name, guard in self._guards.items()
            if guard.poll() is not None
        }

    def cancel(self, names: Sequence[str]) -> None:
        """End attempts along with all they started, and wait until they are gone."""
        guards = [self._guards[name] for name in names]
        for guard in guards:
            assert guard.stdin is not None
            guard.stdin.close()
        for guard in guards:
            try:
                guard.wait(_ENDING_S)
            except subprocess.TimeoutExpired:  # its command ends with it
                guard.kill()
                guard.wait()

    def adopt(self, names: Sequence[str]) -> set[str]:
        """None: nothing outlives its loop."""
        return set()


@contextmanager
def local(lock: int) -> Iterator[Local]:
    """An engine none of whose processes outlives this context."""
    engine = Local(lock)
    try:
        yield engine
    finally:
        engine.cancel(list(engine._guards))
