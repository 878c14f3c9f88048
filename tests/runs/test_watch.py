"""Watch: what the beginning of the large run says, held against a study and its runs' curves."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from horizon_bo import HorizonTuner
from horizon_bo.core.checks.curves import Curve
from horizon_bo.core.checks.expected_curve import expected_curve
from horizon_bo.core.checks.watch import Watched, watched
from horizon_bo.errors import InvalidTableError
from horizon_bo.runs import watch
from horizon_bo.study.trials import Study
from horizon_bo.tables.points import curve_points
from tests.beliefs import CELLS, STRADDLING, WORLD, informed
from tests.cli.calls import call
from tests.studies import TARGET, small_tuner

#: Steps of the large run's first twentieth.
STEPS = np.arange(10, 4010, 10)
BATCH = 262_144.0
RATE = 1.5e-3


def losses(above: float = 0.05, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """A run of the world's target, so much above one that has cooled down."""
    at = [WORLD.loss(math.log(RATE), TARGET.params, step * BATCH) for step in STEPS]
    generator = np.random.default_rng(seed)
    return np.array(at) * (1 + above) + noise * generator.standard_normal(len(at))


def seen(values: np.ndarray, recorded: dict[int, Curve] | None = None) -> Watched:
    study, belief = informed()
    tokens = STEPS[: len(values)] * BATCH
    return watched(study, belief, Curve(tokens, values), RATE, recorded or {})


@pytest.mark.parametrize("seed", range(3))
def test_a_run_like_the_studys_is_fine_all_the_way(seed: int):
    values = losses(seed=seed)
    for count, word in ((30, "too early"), (300, "fine"), (400, "fine")):
        said = seen(values[:count])
        assert said.fine
        assert said.sentence.startswith(f"{word}: 0 spikes")
    assert said.low is not None
    assert said.high is not None
    assert said.low < said.loss < said.high
    assert said.tokens == STEPS[-1] * BATCH


def test_before_the_tokens_of_the_shortest_run_it_is_too_early():
    said = seen(losses()[:150])
    assert (said.low, said.high) == (None, None)
    assert said.fine
    assert said.sentence.startswith("too early: 0 spikes in 150 points; ")
    assert "of which nothing is foretold: warm-up, or far fewer tokens than runs" in said.sentence


def test_while_the_run_warms_up_it_is_too_early_but_spikes_are_seen():
    study, belief = informed()
    tokens, share = STEPS * BATCH, 1.01 * STEPS[-1] * BATCH / TARGET.tokens
    values = losses(0.5)
    assert watched(study, belief, Curve(tokens, values), RATE, {}, share).word == "too early"
    assert watched(study, belief, Curve(tokens, values), RATE, {}, 0.5 * share).word != "too early"
    values[[100, 200]] += 2.0
    assert watched(study, belief, Curve(tokens, values), RATE, {}, share).word == "rate too high"


def test_two_spikes_say_that_the_rate_is_too_high_and_one_does_not():
    values = losses()
    values[100] += 1.0
    assert seen(values).fine
    assert "1 spike in 400 points" in seen(values).sentence
    values[200:204] += 1.0
    said = seen(values)
    assert not said.fine
    assert said.spikes == 2
    assert said.sentence.startswith(
        "rate too high: 2 spikes in 400 points, the last at 527M tokens"
    )


def test_a_loss_that_is_lost_or_rises_says_that_the_rate_is_too_high():
    values = losses()
    values[300:] += np.linspace(0, 0.4, 100)
    assert seen(values).sentence.startswith("rate too high: the loss rises, from ")
    values[-1] = math.nan
    assert seen(values).sentence.startswith("rate too high: the loss was lost at 1.05B tokens")


@pytest.mark.parametrize(("above", "word"), [(0.6, "above the band"), (-0.4, "below the band")])
def test_a_loss_outside_of_what_is_foretold_says_so_with_figures(above: float, word: str):
    said = seen(losses(above))
    assert not said.fine
    assert said.sentence.startswith(f"{word}: ")
    assert f"loss {said.loss:.4g} at 1.05B tokens" in said.sentence
    assert f"expected {said.low:.4g} to {said.high:.4g} (final losses" in said.sentence


def curves_of(study: Study, warmup: float) -> dict[int, Curve]:
    """Curves of the study's runs: at each share what a run that ends there has lost, and 5 %."""
    known = {}
    for trial in study.trials:
        tokens = trial.tokens * np.linspace(warmup, 1, 60)
        log_lr = math.log(trial.learning_rate)
        at = [WORLD.loss(log_lr, trial.params, float(seen)) for seen in tokens]
        known[trial.id] = Curve(tokens, np.array(at) * 1.05)
    return known


def test_a_rate_ten_times_too_high_is_called_so_by_its_curve_and_a_good_one_is_fine():
    study, belief = informed()
    known, tokens = curves_of(study, 0.02), STEPS * BATCH
    for times, word in ((1.0, "fine"), (10.0, "rate too high")):
        log_lr = math.log(times * RATE)
        at = [WORLD.loss(log_lr, TARGET.params, float(seen)) for seen in tokens]
        curve = Curve(tokens, np.array(at) * 1.05)
        said = watched(study, belief, curve, times * RATE, known, 0.02)
        assert said.word == word
        assert "(9 recorded curves)" in said.sentence


def test_the_higher_a_loss_the_likelier_the_rate_is_too_high_until_no_rate_explains_it():
    study, belief = informed()
    expected = expected_curve(study, belief, 1.4e-3, curves_of(study, 0.02), 0.02)
    assert expected is not None
    low, high = expected.band(1e9)
    middle = math.sqrt(low * high)
    probability = [expected.too_high(1e9, loss)[0] for loss in (middle, high, 1.1 * high)]
    assert probability == sorted(probability)
    assert probability[0] < 0.2 < 0.4 < probability[2]
    assert expected.explains(1e9, high)
    assert not expected.explains(1e9, 2 * high)


def test_below_the_band_is_not_said_beyond_the_longest_run():
    study, belief = informed()
    longest = max(trial.tokens for trial in study.trials)
    for share, fine in ((0.9, False), (1.2, True)):
        tokens = STEPS * longest * share / STEPS[-1]
        said = watched(study, belief, Curve(tokens, losses(-0.4)), RATE, {}, 0.001)
        assert said.fine is fine


def test_the_tuner_reads_files_frames_and_the_folders_of_its_runs(tmp_path):
    tuner = small_tuner(prior_center=1.5e-3)
    tuner.import_runs(WORLD.sweep([(6e7, 4e9)], (-1, 1, 3)))
    frame = pd.DataFrame({"step": STEPS, "train/loss": losses(0.08)})
    frame.to_csv(tmp_path / "curve.csv", index=False)
    said = tuner.watch(frame)
    assert said == tuner.watch(tmp_path / "curve.csv")
    assert said.fine
    (tmp_path / "runs" / "0").mkdir(parents=True)
    log = "".join(
        json.dumps({"tokens": step * BATCH, "loss": loss}) + "\n"
        for step, loss in zip(STEPS, losses(0.02), strict=True)
    )
    (tmp_path / "runs" / "0" / "progress.jsonl").write_text(log + '{"tokens": 12')
    known = tuner.watch(frame, folder=tmp_path / "runs", warmup_share=0.01)
    assert "(1 recorded curve)" in known.sentence
    assert f"at rate {1e-3:g}" in tuner.watch(frame, learning_rate=1e-3).sentence


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (("tokens", "loss"), {}),
        (("step", "train_loss"), {}),
        (("global_step", "train/loss"), {}),
        (("seen", "Value"), {"tokens": "seen*262144", "loss": "Value"}),
    ],
)
def test_points_are_read_under_the_names_they_come_with(columns, mapping):
    scale = BATCH if columns[0] == "tokens" else 1.0
    frame = pd.DataFrame({columns[0]: STEPS[::-1] * scale, columns[1]: losses()[::-1]})
    tokens, read, _ = curve_points(frame, mapping, BATCH)
    np.testing.assert_array_equal(tokens, STEPS * BATCH)
    np.testing.assert_array_equal(read, losses())


def test_rows_without_a_loss_are_left_out_and_lost_losses_are_kept(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("step,loss\n0,9\n1,4\n2,\n3,3\n4,NaN\n5,3\n6,2.9\n7,2.8\n")
    tokens, read, _ = curve_points(path, {}, 2.0)
    np.testing.assert_array_equal(tokens, [2, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(read, [4, 3, math.nan, 3, 2.9, 2.8])


def test_a_curve_that_cannot_be_read_says_what_is_missing(tmp_path):
    frame = pd.DataFrame({"step": STEPS, "loss": losses()})
    with pytest.raises(InvalidTableError, match="no column 'tokens'"):
        curve_points(frame, {}, None)
    with pytest.raises(InvalidTableError, match="4 points with tokens and a loss"):
        curve_points(frame.head(4), {}, BATCH)


def test_the_command_line_says_one_line_and_exits_with_one_where_something_is_wrong(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tuner = small_tuner(study=Path("runs.db"), prior_center=1.5e-3)
    tuner.import_runs(WORLD.sweep(CELLS, STRADDLING))
    pd.DataFrame({"step": STEPS, "loss": losses()}).to_csv("curve.csv", index=False)
    fine = call("watch runs.db --curve curve.csv --learning-rate 1.5e-3")
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.startswith("fine: 0 spikes in 400 points; loss ")
    assert fine.stdout.count("\n") == 1
    record = json.loads(call("watch runs.db --curve curve.csv --json").stdout)
    assert record["fine"] is True
    pd.DataFrame({"step": STEPS, "loss": losses(0.3)}).to_csv("curve.csv", index=False)
    assert call("watch runs.db --curve curve.csv").exit_code == 1
    assert call("watch runs.db --curve none.csv").exit_code == 2
    assert HorizonTuner.open("runs.db").study == tuner.study


def growing(path: Path, monkeypatch, *stages: Any) -> None:
    """A file that grows by a stage each time that somebody waits for it; then Ctrl-C."""
    rest = iter(stages)

    def wait(_: float) -> None:
        stage = next(rest, KeyboardInterrupt)
        if not isinstance(stage, str):
            raise stage
        with path.open("a") as file:
            file.write(stage)

    monkeypatch.setattr(watch, "sleep", wait)


def lines(values: np.ndarray, first: int, last: int) -> str:
    """Points of a curve as they are logged."""
    return "".join(f"{STEPS[k]},{values[k]}\n" for k in range(first, last))


def test_a_run_that_is_followed_is_spoken_of_when_the_verdict_changes_and_until_it_ends(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    target = replace(TARGET, tokens=STEPS[-1] * BATCH)
    tuner = small_tuner(study=Path("runs.db"), target=target, prior_center=1.5e-3)
    tuner.import_runs(WORLD.sweep(CELLS, STRADDLING))
    values = losses()
    values[220:230] += 1.0
    values[260:270] += 1.0
    stages = ["step,loss\n", lines(values, 0, 3), lines(values, 3, 100), lines(values, 100, 200)]
    stages += [lines(values, 200, 300), lines(values, 300, 400)]
    growing(Path("curve.csv"), monkeypatch, *stages)
    said = call("watch runs.db --curve curve.csv --learning-rate 1.5e-3 --follow")
    assert said.exit_code == 1, said.output
    assert [line.partition(":")[0] for line in said.stdout.splitlines()] == [
        "too early",
        "fine",
        "rate too high",
    ]
    notes = said.stderr.splitlines()
    assert notes[0] == "note: curve.csv is not there yet: waiting for it"
    assert [line.partition("%")[0] for line in notes[1:]] == ["note: 100"]
    assert notes[1].endswith(": rate too high")


def test_a_run_that_is_followed_no_longer_exits_by_its_last_verdict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_tuner(study=Path("runs.db"), prior_center=1.5e-3).import_runs(
        WORLD.sweep(CELLS, STRADDLING)
    )
    growing(Path("curve.csv"), monkeypatch, "step,loss\n", lines(losses(), 0, 200))
    said = call("watch runs.db --curve curve.csv --follow --json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["word"] == "too early"
    assert said.stderr.splitlines()[-1] == "note: no longer followed; the run goes on"
    Path("result.json").write_text("{}")
    assert call("watch runs.db --curve curve.csv --follow").exit_code == 0
    Path("curve.csv").write_text("colour,loss\n" + lines(losses(), 0, 9))
    assert call("watch runs.db --curve curve.csv --follow").exit_code == 2
