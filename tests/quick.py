"""Inference that takes no time, for tests of what goes on around it, and processes for them."""

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import horizon_bo.tuner as tuner_module
from horizon_bo.core.candidates import pool_of_space
from horizon_bo.study.branches import suggestion


def quick_inference(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
    """Inference takes so long, whatever the machine; what is suggested after it is on a grid."""

    def suggest(study, belief, n, limits=None):
        return [suggestion([trial], study) for trial in pool_of_space(study)[:n]]

    monkeypatch.setattr(tuner_module, "believe", lambda study: time.sleep(seconds))
    monkeypatch.setattr("horizon_bo.core.policy.suggest", suggest)


def child(work: Callable[[], object]) -> int:
    """The number of a process that does this and ends, by 0 where it went well.

    Asked by SIGUSR2 it says on standard error where all of its threads stand.
    """
    process = os.fork()
    if process == 0:
        try:
            faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return process


def ended(process: int, limit_s: float = 120.0) -> int:
    """The exit status of a process, once it has ended; minus a signal's number if by one."""
    until = time.monotonic() + limit_s
    while (status := os.waitpid(process, os.WNOHANG)) == (0, 0):
        if time.monotonic() > until:
            os.kill(process, signal.SIGUSR2)
            time.sleep(1.0)
            pytest.fail("the process hangs; standard error says where")
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(status[1])


def together(folder: Path, count: int, work: Callable[[int], object]) -> list:
    """What so many processes, which begin at the same moment, give."""
    begin = time.time() + 0.5

    def one(number: int) -> None:
        time.sleep(max(0.0, begin - time.time()))
        (folder / f"said-{number}.json").write_text(json.dumps(work(number)))

    processes = [child(lambda number=number: one(number)) for number in range(count)]
    failed = [process for process in processes if ended(process, 300.0) != 0]
    assert not failed, f"{len(failed)} of {count} processes failed"
    return [json.loads((folder / f"said-{k}.json").read_text()) for k in range(count)]


def eventually(claim: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.01)
