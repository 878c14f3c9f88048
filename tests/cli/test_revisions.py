"""Mistakes and changes of mind, on the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from horizon_bo import HorizonTuner
from horizon_bo.runs.builtin import shaped_horizon
from tests.cli.calls import call
from tests.cli.test_help import example
from tests.quick import quick_inference
from tests.studies import logged, tuner_with_pending

INIT = (
    "init new.db --target-params 1e9 --target-tokens 2e10 --batch-tokens 262144 "
    "--scales 6e7,1.2e8 --tokens 1e9,4e9 --learning-rate 1e-4,2e-2 --budget 0.05"
)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A study with a mistyped loss, another run and a pending one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    tuner.observe(0, loss=35.2)
    tuner.observe(logged(learning_rate=4e-3))
    return tmp_path / "runs.db"


def done(line: str) -> Result:
    result = call(line)
    assert result.exit_code == 0, (line, result.output)
    return result


def trials() -> list[dict]:
    return [json.loads(line) for line in done("trials runs.db --json").stdout.splitlines()]


def test_every_example_of_a_revision_works_and_trials_show_what_was_done(study):
    for name in ("correct", "forget", "withdraw", "enqueue", "extend", "trials"):
        shown = done(example(name)).stdout
    assert [trial["state"] for trial in trials()] == [
        *("forgotten", "withdrawn", "completed", "queued")
    ]
    for part in (
        "trial 0: corrected (typo): loss was 35.2; forgotten (wrong data): loss was 3.52",
        "0.004",
        "queued",
    ):
        assert part in shown
    assert trials()[3]["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    "line",
    [
        "correct runs.db 9 --loss 3",
        "correct runs.db 1 --loss 3",
        "correct runs.db 0",
        "correct runs.db 0 --loss 3 --failed",
        "correct runs.db x --loss 3",
        "forget runs.db 0 2",
        "forget runs.db 1",
        "withdraw runs.db 0",
        "withdraw runs.db 9",
        "enqueue runs.db --learning-rate 0 --params 6e7 --tokens 1e9",
        "enqueue runs.db --learning-rate 1e-3 --params 1e9 --tokens 2e12",
        "enqueue runs.db --learning-rate 1e-3 --params 6e7 --tokens 1e9 --settings [1]",
        "extend runs.db",
        "extend runs.db --budget -1",
        "extend runs.db --budget 1e-9",
        "extend runs.db --target 1e7,2e10",
        "extend runs.db --target 1e9",
        "extend runs.db --target 1e9,fast",
        "extend runs.db --scales 5e9",
        "extend runs.db --schedules cosine,,wsd",
        "extend runs.db --batches 0",
        "extend runs.db --cooldown 2",
        "recommend runs.db --target 1e7,2e10",
        "recommend runs.db --target 2e9,2e10 --figure f.png",
        "import runs.db lost.db",
        "export runs.db lost/runs.csv",
    ],
)
def test_a_revision_that_makes_no_sense_is_one_line_and_nothing_is_lost(study, line):
    before = trials()
    result = call(line)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert trials() == before


def test_a_study_of_last_month_goes_to_a_larger_target_with_more_budget_in_two_commands(
    study, monkeypatch
):
    done("correct runs.db 0 --loss 3.52")
    said = done("extend runs.db --target 2e9,4e10 --budget 3%").stdout
    assert "0.03 target runs" in said
    assert "2B parameters on 40B tokens" in said
    best = json.loads(done("recommend runs.db --json").stdout)
    again = json.loads(done("recommend runs.db --target 2e9,4e10 --json").stdout)
    assert again == best


SPACE = (
    "--scales 6e7,1.2e8,3e8 --tokens 5e8,2e9 --learning-rate 1e-5,1e-2 "
    "--batches 131072,262144 --schedules wsd,cosine --averagings none,ema --cooldown 0.2"
)
TARGET = "--target-schedule wsd --target-averaging ema"


def test_a_study_extended_by_options_is_the_one_that_was_given_them_at_init(study):
    done("forget runs.db 0")
    done("withdraw runs.db 1")
    done(f"extend runs.db {SPACE} {TARGET} --budget 4% --prior-center 2e-3")
    sizes = "--target-params 1e9 --target-tokens 2e10 --batch-tokens 262144"
    done(f"init new.db {sizes} {SPACE} {TARGET} --budget 4% --prior-center 2e-3")
    late, early = HorizonTuner.open("runs.db").study, HorizonTuner.open("new.db").study
    assert replace(late, trials=()) == early
    assert early.space.batch_tokens == (131_072.0, 262_144.0)
    assert (early.space.schedules, early.space.cooldown) == (("wsd", "cosine"), 0.2)


def test_what_an_extension_leaves_out_stays(study):
    done(f"extend runs.db {SPACE}")
    before = HorizonTuner.open("runs.db").study.space
    done("extend runs.db --schedules wsd")
    assert HorizonTuner.open("runs.db").study.space == replace(before, schedules=("wsd",))


def test_a_shape_of_the_built_in_trainer_is_a_target_with_its_measured_compute(study):
    done("extend runs.db --target 1024x96,4e10")
    target = HorizonTuner.open("runs.db").study.target
    assert target == shaped_horizon("1024x96", 4e10, batch_tokens=262_144.0)


def test_a_new_study_starts_from_the_runs_of_an_old_one(study):
    done("correct runs.db 0 --loss 3.52 --flops 5e17")
    for source in ("runs.db", "runs.csv"):
        done("export runs.db runs.csv")
        Path("new.db").unlink(missing_ok=True)
        result = done(f"{INIT} --import {source}")
        assert "2 runs imported" in result.stdout
        kept = [json.loads(line) for line in done("trials new.db --json").stdout.splitlines()]
        assert [(t["loss"], t["flops"], t["charged"]) for t in kept] == [
            (3.52, 5e17, False),
            (3.1, 3.6e17, False),
        ]


def test_a_queued_run_is_the_next_suggestion(study, monkeypatch):
    quick_inference(monkeypatch)
    done("enqueue runs.db --learning-rate 1e-3 --params 60M --tokens 2B")
    run = json.loads(done("suggest runs.db --json").stdout)
    assert (run["id"], run["learning_rate"], run["tokens"]) == (3, 1e-3, 2e9)
