"""SIGKILL at any moment: nothing acknowledged is lost, nobody is blocked, the order stays."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from horizon_bo.study.trials import Study
from horizon_bo.tuner import HorizonTuner
from tests.quick import child, ended, eventually, quick_inference
from tests.studies import TARGET, logged, small_tuner

pytestmark = pytest.mark.waits
Say = Callable[[object], object]


def observing(tuner: HorizonTuner, say: Say) -> None:
    loss = 2.0 + len(tuner.study.trials) / 1000
    tuner.observe(logged(loss=loss))
    say(loss)


def suggesting(tuner: HorizonTuner, say: Say) -> None:
    say(tuner.suggest().id)


def importing(tuner: HorizonTuner, say: Say) -> None:
    loss = 2.0 + len(tuner.study.trials) / 1000
    tuner.import_runs([logged(loss=loss, source="a"), logged(loss=loss, source="b")])
    say(loss)


def losses(study: Study) -> list[object]:
    return [trial.loss for trial in study.trials]


def ids(study: Study) -> list[object]:
    return [trial.id for trial in study.trials]


def killed_often(
    address: str, told: Path, kills: int, act: Callable[[HorizonTuner, Say], None]
) -> list[object]:
    """What was acknowledged by processes that were each killed at a random moment."""
    generator = random.Random(1)

    def work() -> None:
        tuner = HorizonTuner.open(address)
        with told.open("a", buffering=1) as file:
            file.write('"ready"\n')
            while True:
                act(tuner, lambda said: file.write(json.dumps(said) + "\n"))

    for count in range(kills):
        process = child(work)
        eventually(lambda: told.exists() and told.read_text().count("ready") > count)  # noqa: B023
        if count == 0:  # however busy the machine is, something is acknowledged
            eventually(lambda: told.read_text().count("\n") > 1)
        time.sleep(generator.uniform(0.0, 0.25))
        os.kill(process, signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
    return [said for said in map(json.loads, told.read_text().splitlines()) if said != "ready"]


def check_kills(address, tmp_path, monkeypatch, act, recorded, kills):
    quick_inference(monkeypatch)
    small_tuner(study=address, budget=1e5 * TARGET.flops)
    said = killed_often(address, tmp_path / "said", kills, act)
    study = HorizonTuner.open(address).study
    assert said
    assert set(said) <= set(recorded(study))
    assert len({*said}) == len(said)
    each = 2 if act is importing else 1
    assert len(study.trials) % each == 0  # a call is recorded whole or not at all
    assert len(study.trials) <= each * (len(said) + kills)  # at most one a kill is not acknowledged
    fresh = HorizonTuner.open(address)
    began_s = time.monotonic()
    fresh.suggest()  # the lease of a dead suggester blocks nobody
    assert time.monotonic() - began_s < 10


ACTS = pytest.mark.parametrize(
    ("act", "recorded"),
    [(observing, losses), (suggesting, ids), (importing, losses)],
    ids=["observe", "suggest", "import"],
)


@ACTS
def test_killed_processes_lose_nothing_and_block_nobody(
    address, tmp_path, monkeypatch, act, recorded
):
    check_kills(address, tmp_path, monkeypatch, act, recorded, kills=6)


@pytest.mark.kills
@pytest.mark.slow
@ACTS
def test_many_killed_processes_lose_nothing_and_block_nobody(
    address, tmp_path, monkeypatch, act, recorded
):
    check_kills(address, tmp_path, monkeypatch, act, recorded, kills=60)


def test_suggestions_after_kills_are_those_of_a_study_that_nobody_killed(tmp_path):
    calm = small_tuner(study=tmp_path / "calm.db", prior_center=1e-3)
    small_tuner(study=tmp_path / "killed.db", prior_center=1e-3)
    generator = random.Random(0)
    for loss in (3.0, 2.9):
        killed = child(lambda: HorizonTuner.open(tmp_path / "killed.db").suggest())
        time.sleep(generator.uniform(0.05, 0.5))
        os.kill(killed, signal.SIGKILL)
        ended(killed)
        tuner = HorizonTuner.open(tmp_path / "killed.db")
        pending = [trial for trial in tuner.study.trials if trial.status == "pending"]
        run = pending[0] if pending else tuner.suggest()
        tuner.observe(run.id, loss=loss)
        calm.observe(calm.suggest(), loss=loss)
    assert HorizonTuner.open(tmp_path / "killed.db").study.trials == calm.study.trials
