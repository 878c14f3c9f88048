"""Local engine: how do runs train on this machine?

As processes that do not outlive the loop: each guard ends with a line whose other end is here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from horizon_bo.runs.engines.guards import Guard, Guards, guards_ready
from horizon_bo.runs.engines.protocol import Job, State
from horizon_bo.runs.folder import clear_disk_errors
from horizon_bo.runs.outcomes import Exit

#: How long a guard may take to end what it watches, in seconds: longer than its own grace.
_ENDING_S = 15.0


class Local:
    """Processes of this machine.

    Args:
        lock: File descriptor that the guards hold open as long as they live.
        guards: What starts them.
    """

    name = "local"
    look_s = (0.002, 0.05)

    def __init__(self, lock: int, guards: Guards) -> None:
        self._lock, self._guards = lock, guards
        self._alive: dict[str, Guard] = {}
        self._ended: dict[str, State] = {}

    def submit(self, job: Job) -> None:
        """Start an attempt."""
        with clear_disk_errors(job.folder):
            self._alive[job.name] = self._guards.started(job, self._lock)

    def states(self) -> Mapping[str, State]:
        """How those attempts ended whose guard is gone."""
        codes = {name: guard.code() for name, guard in self._alive.items()}
        ended = {name: Exit(code=code) for name, code in codes.items() if code is not None}
        self._alive = {name: self._alive[name] for name in codes if name not in ended}
        self._ended |= ended
        return self._ended

    def cancel(self, names: Sequence[str]) -> None:
        """End attempts along with all they started, and wait until they are gone."""
        self.states()
        alive = {name: self._alive.pop(name) for name in names if name in self._alive}
        for guard in alive.values():
            guard.ask_to_end()
        for name, guard in alive.items():
            if (code := guard.code(_ENDING_S)) is None:
                guard.kill()  # its command ends with it
                code = guard.code(_ENDING_S)
            self._ended[name] = Exit(code=1 if code is None else code)

    def end(self) -> None:
        """End all of them."""
        self.cancel(list(self._alive))

    def adopt(self, names: Sequence[str]) -> set[str]:
        """None: nothing outlives its loop."""
        return set()


@contextmanager
def local(lock: int, guards: Guards | None = None) -> Iterator[Local]:
    """An engine none of whose processes outlives this context.

    Args:
        lock: File descriptor that the guards hold open as long as they live.
        guards: What starts them; `None` has one for this context alone.
    """
    with ExitStack() as held:
        engine = Local(lock, guards or held.enter_context(guards_ready()))
        held.callback(engine.end)
        yield engine
