"""Launch: how are training processes started, watched and ended?

Each runs behind a guard (`guard.py`) that ends its whole process group when this process says so
or dies.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from horizon_bo.runs import guard
from horizon_bo.runs.commands import Function, refuse_missing_program, result_text
from horizon_bo.runs.folder import clear_disk_errors
from horizon_bo.runs.outcomes import Exit
from horizon_bo.study.trials import Suggestion


@dataclass(frozen=True)
class Slot:
    """A place where one process at a time may train, with its environment variables."""

    name: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Process:
    """A training process.

    Args:
        guard: The guard in front of it; closing its standard input ends both.
        began_s: When it was started, on the monotonic clock, seconds.
        timeout_s: Longest time it may take, seconds; `None` waits for ever.
    """

    guard: "subprocess.Popen[bytes]"
    began_s: float
    timeout_s: float | None

    def exit(self) -> Exit | None:
        """How it ended, or `None` while it runs; one that takes too long is ended here."""
        code, elapsed_s = self.guard.poll(), time.monotonic() - self.began_s
        if code is None and self.timeout_s is not None and elapsed_s > self.timeout_s:
            end([self])
            return Exit(code=self.guard.returncode, elapsed_s=elapsed_s, timed_out=True)
        if code is None:
            return None
        end([self])
        return Exit(code=code if code >= 0 else 128 - code, elapsed_s=elapsed_s)


Launch = Callable[[Sequence[str], Path, Slot], Process]


def slots(parallel: int, gpus: Sequence[str]) -> tuple[Slot, ...]:
    """Slots that share the GPUs, or the CPU's cores where there is none."""
    if gpus:
        shares = [gpus[k::parallel] or [gpus[k % len(gpus)]] for k in range(parallel)]
        names = [",".join(share) for share in shares]
        return tuple(Slot(f"GPU {name}", {"CUDA_VISIBLE_DEVICES": name}) for name in names)
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // parallel)))
    return tuple(Slot(f"slot {k}", {"OMP_NUM_THREADS": threads}) for k in range(parallel))


@contextmanager
def launching(lock: int, timeout_s: float | None) -> Iterator[Launch]:
    """A function that starts processes, none of which outlives this context.

    Args:
        lock: File descriptor that the guards hold open as long as they live.
        timeout_s: Longest time a process may take, seconds; `None` waits for ever.
    """
    started: list[Process] = []

    def launch(argv: Sequence[str], folder: Path, slot: Slot) -> Process:
        refuse_missing_program(argv[0])
        with _opened(folder / "stdout.log") as out, _opened(folder / "stderr.log") as err:
            front = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, *argv],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env={**os.environ, **slot.environment},
                start_new_session=True,
                pass_fds=(lock,),
            )
        process = Process(front, time.monotonic(), timeout_s)
        started.append(process)
        return process

    try:
        yield launch
    finally:
        end(started)


def _opened(log: Path) -> BinaryIO:
    with clear_disk_errors(log.parent):
        return log.open("wb")


def end(processes: Sequence[Process]) -> None:
    """End processes along with all they started, and wait until they are gone."""
    for process in processes:
        assert process.guard.stdin is not None
        process.guard.stdin.close()
    for process in processes:
        process.guard.wait()


def called_here(function: Function, run: Suggestion, folder: Path) -> Exit:
    """Train by a function in this process; an exception fails the run and goes to its log."""
    began_s = time.monotonic()
    try:
        name, text, code = "result.json", result_text(function.train(run)), 0
    except Exception:  # whatever training raises says how the run ended
        name, text, code = "stderr.log", traceback.format_exc(), 1
    with clear_disk_errors(folder):
        (folder / name).write_text(text)
    return Exit(code=code, elapsed_s=time.monotonic() - began_s)
