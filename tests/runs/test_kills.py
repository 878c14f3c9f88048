"""SIGKILL of a run loop, or of the only worker, at any moment: nothing is lost, the order stays."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

import horizon_bo.tuner as tuner_module
from horizon_bo.core.candidates import pool_of_space
from horizon_bo.errors import StudyBusyError
from horizon_bo.runs.folder import read_json
from horizon_bo.study.branches import suggestion
from horizon_bo.study.trials import Study
from horizon_bo.tuner import HorizonTuner
from tests.quick import child, ended, eventually
from tests.studies import TARGET, small_tuner

pytestmark = pytest.mark.waits
#: Prints a loss that tells one rate from another.
TRAINS = [sys.executable, "-I", "-S", "-c", "import sys; print('loss', 3 + float(sys.argv[1]))"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is suggested depends on all that was observed, and takes no time."""
    best = small_tuner().recommend()

    def suggest(study, belief, n, limits=None):
        pool = pool_of_space(study)
        chosen = random.Random(repr(study.informing)).sample(pool, n)
        return [suggestion([trial], study) for trial in chosen]

    monkeypatch.setattr(tuner_module, "believe", lambda study: None)
    monkeypatch.setattr("horizon_bo.core.policy.suggest", suggest)
    monkeypatch.setattr("horizon_bo.core.policy.recommend", lambda *given, **limits: best)


def looped(path: Path, said: Path, runs: int, how: str) -> None:
    """Run a loop or a worker until there are so many runs; note each end once it is recorded."""
    tuner = HorizonTuner.open(path)
    with said.open("a", buffering=1) as file:

        def watch(state, event) -> None:
            if event is not None and event.kind == "ended":
                file.write(json.dumps([event.run.id, event.outcome.loss]) + "\n")

        while (left := runs - len(tuner.study.trials) + pending(tuner.study)) > 0:
            try:
                given = {"folder": path.with_suffix(".runs"), "until_budget": True}
                given |= {"max_runs": left, "retries": 10_000, "watch": watch}
                getattr(tuner, how)([*TRAINS, "{learning_rate}"], **given)
            except StudyBusyError:  # the command of the one before is about to end
                time.sleep(0.02)


def pending(study: Study) -> int:
    return sum(trial.status == "pending" for trial in study.trials)


def kill_loops(folder: Path, kills: int, runs: int, how: str = "run") -> None:
    """Kill whoever makes runs at random moments; the study is then that of a loop nobody killed."""
    generator, said = random.Random(0), folder / "said"
    studies = folder / "killed.db", folder / "calm.db"
    for path in studies:
        small_tuner(study=path, budget=1e4 * TARGET.flops)
    for kill in range(kills):
        loop = child(lambda: looped(studies[0], said, 10_000 * runs, how))
        if kill == 0:
            eventually(lambda: said.exists() and said.read_text() != "")
        time.sleep(generator.uniform(0.0, 0.6))
        os.kill(loop, signal.SIGKILL)
        assert ended(loop) == -signal.SIGKILL
    told = [json.loads(line) for line in said.read_text().splitlines()]
    for path, file in zip(studies, (said, folder / "calm"), strict=True):
        # a run taken over from a killed loop does not count among those that a call may make
        more = runs if path == studies[0] else 0
        made = len(HorizonTuner.open(studies[0]).study.trials) + more
        by = how if path == studies[0] else "run"
        last = lambda path=path, file=file, made=made, by=by: looped(path, file, made, by)  # noqa: E731
        assert ended(child(last)) == 0
    killed, calm = (HorizonTuner.open(path).study.trials for path in studies)
    assert killed == calm
    assert all(killed[run].loss == loss for run, loss in told)
    assert len({run for run, _ in told}) == len(told)
    for trial in killed:
        outcome = read_json(folder / "killed.runs" / str(trial.id) / "outcome.json")
        assert outcome is not None
        assert trial.loss == outcome["loss"] == 3 + trial.learning_rate


def test_killed_loops_lose_nothing_and_go_on_as_if_nothing_had_been(tmp_path, quick):
    kill_loops(tmp_path, kills=4, runs=2)


@pytest.mark.kills
@pytest.mark.slow
@pytest.mark.parametrize("how", ["run", "work"])
def test_many_killed_loops_lose_nothing_and_go_on_as_if_nothing_had_been(tmp_path, quick, how):
    kill_loops(tmp_path, kills=40, runs=2, how=how)
