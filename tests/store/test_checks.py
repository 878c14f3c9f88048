"""Checks of a study: foretold once, kept unchanged, judged when all runs have ended."""

import json
import math
import sqlite3
from pathlib import Path

import pytest

from horizon_bo import HorizonTuner, plots
from horizon_bo.core.inference import Belief
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.trials import Study
from tests.beliefs import CELLS, STRADDLING, WORLD
from tests.cli.calls import call
from tests.studies import small_tuner


def informed_tuner(study: Path | None = None) -> HorizonTuner:
    tuner = small_tuner(study=study, prior_center=1.5e-3)
    tuner.import_runs(WORLD.sweep(CELLS, STRADDLING))
    return tuner


def observed(tuner: HorizonTuner, trials: tuple[int, ...]) -> None:
    for trial in (tuner.study.trials[k] for k in trials):
        loss = WORLD.loss(math.log(trial.learning_rate), trial.params, trial.tokens)
        tuner.observe(trial.id, loss=loss)


def test_a_check_is_made_once_and_judged_when_its_runs_have_ended(tmp_path):
    tuner = informed_tuner(tmp_path / "runs.db")
    begun = tuner.check()
    assert begun.pending == begun.expected.trials == (9, 10, 11)
    assert [tuner.study.trials[k].status for k in begun.pending] == ["pending"] * 3
    assert tuner.study.spent == pytest.approx(3 * 6 * 1.2e8 * 4e9)
    assert tuner.check() == begun
    observed(tuner, begun.pending[:2])
    half = HorizonTuner.open(tmp_path / "runs.db").check()
    assert half.expected == begun.expected
    assert half.pending == (11,)
    assert half.verdict is None
    observed(tuner, half.pending)
    said = HorizonTuner.open(tmp_path / "runs.db").check()
    assert said == tuner.check()
    assert said.expected == begun.expected
    assert said.verdict is not None
    assert said.verdict.word == "holds"
    assert len(tuner.study.trials) == 12
    assert {trial.id for trial in tuner.study.informing} >= {9, 10, 11}


def test_a_check_in_memory_says_the_same_as_one_on_disk(tmp_path):
    said = []
    for study in (None, tmp_path / "runs.db"):
        tuner = informed_tuner(study)
        begun = tuner.check(0.06)
        observed(tuner, begun.pending)
        said.append((begun, tuner.check(0.06)))
    assert said[0] == said[1]
    assert len(said[0][0].pending) == 2


def test_what_is_expected_is_in_the_event_that_starts_the_runs(tmp_path):
    begun = informed_tuner(tmp_path / "runs.db").check()
    query = "select kind, payload from events order by sequence desc limit 1"
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        kind, payload = connection.execute(query).fetchone()
    event = json.loads(payload)
    assert kind == "checked"
    assert [trial["id"] for trial in event["trials"]] == list(begun.pending)
    assert event["expected"]["losses"] == [list(row) for row in begun.expected.losses]


def test_of_two_processes_that_check_at_once_both_are_told_of_one_check(tmp_path, monkeypatch):
    first = informed_tuner(tmp_path / "runs.db")
    second, begun = HorizonTuner.open(tmp_path / "runs.db"), []
    believed = second.believed

    def overtaken(study: Study) -> Belief:
        if not begun:
            begun.append(first.check())
        return believed(study)

    monkeypatch.setattr(second, "believed", overtaken)
    assert second.check() == begun[0]
    assert second.study == first.study
    assert len(second.study.trials) == 12


def test_runs_that_ended_since_ask_for_another_check():
    tuner = informed_tuner()
    observed(tuner, tuner.check().pending)
    tuner.observe(WORLD.sweep(CELLS[:1], (0,))[0])
    with pytest.raises(InvalidSpaceError, match="the space has none above it"):
        tuner.check()


def test_a_cost_that_is_none_is_refused():
    with pytest.raises(InvalidSpaceError, match="max_cost is -1, expected a finite number > 0"):
        informed_tuner().check(-1)


def test_the_figure_shows_what_was_expected_and_what_came():
    tuner = informed_tuner()
    begun = tuner.check()
    before = plots.check(begun)
    assert before.get_title() == ""
    assert before.get_legend_handles_labels()[1] == [
        "90 % interval of the best rate there",
        "expected, 90 %",
    ]
    trials = begun.pending
    tuner.observe(trials[2], diverged=True)
    observed(tuner, trials[:2])
    said = tuner.check()
    ax = plots.check(said)
    points = {c.get_label(): c.get_offsets() for c in ax.collections if c.get_label()[0] != "_"}
    assert points["observed"][:2].tolist() == [
        [rate, loss]
        for rate, loss in zip(said.expected.learning_rates, said.outcomes, strict=True)
        if loss is not None
    ]
    assert points["diverged"][0][0] == said.expected.learning_rates[2]
    assert said.verdict is not None
    assert ax.get_title() == said.verdict.word


def test_the_command_line_foretells_waits_and_judges(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    tuner = informed_tuner(tmp_path / "runs.db")
    begun = call("check runs.db --max-cost 10%")
    assert begun.exit_code == 0, begun.output
    assert "rung  120M parameters, 4B tokens" in begun.stdout
    assert "make runs 9, 10, 11, observe each, then check again" in begun.stdout
    tuner.refresh()
    observed(tuner, (9, 10, 11))
    said = call("check runs.db --figure check.png")
    assert "verdict        holds: the losses along the rate came out as expected" in said.stdout
    assert f"was {tuner.study.trials[9].loss:.4f}" in said.stdout
    assert drawn["check.png"].axes[0].get_title() == "holds"
    record = json.loads(call("check runs.db --json").stdout)
    assert record["verdict"]["word"] == "holds"
    assert record["outcomes"] == [trial.loss for trial in tuner.study.trials[9:12]]
    assert len(record["expected"]) == 3


def test_the_command_line_says_in_one_line_why_no_check_can_be_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_tuner(study=tmp_path / "runs.db")
    refused = call("check runs.db")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "error: 0 runs have ended, expected some that foretell larger ones; tune first\n"
    )
    assert call("check runs.db --max-cost 0").exit_code == 2
