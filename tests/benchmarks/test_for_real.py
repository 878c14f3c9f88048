"""For real: targets are trained, every training once, and the truth is the target's own curve."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurements.for_real import METHODS, OURS, SHORT, TARGETS, scored, tasks
from benchmarks.problems.trained import (
    LOG2_RATES,
    SEEDS,
    TrainedContest,
    TrainedTarget,
    Training,
    Trainings,
    grid,
    noise,
    own_seed,
    smoothed,
)
from benchmarks.rivals.protocol import Point

TARGET = TARGETS[0]
OFFSETS = {0: 0.03, 1: -0.01, 2: -0.02}
BEST, LOWEST = -6.7, 2.5


def loss_of(run: Training) -> float:
    """A bowl with an offset for each seed; half the tokens cost 0.1."""
    octaves = math.log2(run.learning_rate) - BEST
    return LOWEST + 0.03 * octaves**2 + OFFSETS[run.seed] + 0.1 * (run.tokens < TARGET.tokens)


def whole_grid() -> dict[Training, float | None]:
    losses: dict[Training, float | None] = {}
    for run in grid(TARGET, losses):
        losses[run] = loss_of(run)
    return losses


def trainings(tmp_path: Path) -> Trainings:
    """The made-up grid, kept in a file of their own."""
    kept = Trainings(tmp_path / "runs.jsonl")
    kept.known |= whole_grid()
    return kept


def test_the_grid_has_every_rate_once_and_more_seeds_about_the_lowest():
    made = list(whole_grid())
    first = LOG2_RATES[1] - LOG2_RATES[0] + 1
    assert {run.learning_rate for run in made[:first]} == {
        2.0**power for power in range(LOG2_RATES[0], LOG2_RATES[1] + 1)
    }
    repeated = [run for run in made[first:] if run.tokens == TARGET.tokens]
    assert {run.learning_rate for run in repeated} == {2.0**-8, 2.0**-7, 2.0**-6}
    assert {run.seed for run in repeated} == set(SEEDS[1:])
    assert list(grid(TARGET, whole_grid())) == made  # a grid that was made asks for nothing else


def test_the_truth_finds_the_bowl_the_noise_and_what_tokens_buy(tmp_path):
    kept = trainings(tmp_path)
    found = TrainedContest(TARGET, 0, kept).truth
    assert abs(math.log2(found["optimum"]) - BEST) < 0.2  # seeds differ by a third of an octave
    assert found["minimum"] == pytest.approx(LOWEST, abs=0.01)
    assert found["loss_per_log_tokens"] == pytest.approx(0.1 / math.log(2))
    assert noise(TARGET, kept.known) == pytest.approx(np.std(list(OFFSETS.values()), ddof=1))


def test_local_parabolas_are_exact_on_a_parabola_and_follow_losses_that_level_off():
    rates = np.arange(LOG2_RATES[0], LOG2_RATES[1] + 1).astype(float)
    parabola = 2 + 0.05 * (rates + 6.3) ** 2
    assert smoothed(rates, parabola, rates) == pytest.approx(parabola, abs=1e-9)
    level = np.where(rates < -5, parabola, 2.9)
    assert smoothed(rates, level, np.array([-3.5]))[0] == pytest.approx(2.9, abs=0.02)


def test_a_guess_does_not_move_with_what_was_answered(tmp_path):
    kept = trainings(tmp_path)
    guess = TrainedContest(TARGET, 2, kept).guess
    kept.known[TARGET.training(2.0**-8, 1)] = 1.0  # of the grid
    moved = TrainedContest(TARGET, 2, kept).guess
    kept.known[TARGET.training(2.0**-5.5, 0)] = 0.5
    assert TrainedContest(TARGET, 2, kept).guess == moved != guess


def test_a_run_is_trained_once_and_read_again_from_its_file(tmp_path):
    path = tmp_path / "runs.jsonl"
    run = Training(
        parametrization="mup", width=16, tokens=1024, learning_rate=2.0**-6, seed=own_seed((1,))
    )
    loss = Trainings(path).loss(run)
    with path.open("a") as file:
        file.write('{"parametrization": "mup", "wid')  # a training that was cut off
    again = Trainings(path)
    assert again.known == {run: loss}
    assert loss is not None
    assert 3 < loss < math.log(256)


def test_what_is_asked_for_is_trained_at_what_is_on_offer_and_paid_as_the_trainer_counts(tmp_path):
    contest = TrainedContest(TARGET, 0, trainings(tmp_path))
    study = contest.study(0.1)
    trial = contest.made(study, Point(learning_rate=1.0, params=1000, tokens=1))
    assert trial is not None
    smallest = study.space.scales[0]
    assert (trial.params, trial.tokens) == (smallest.params, study.space.tokens[0])
    assert trial.learning_rate == 2.0 ** LOG2_RATES[1]
    assert trial.flops == smallest.flops(trial.tokens) > 6 * trial.params * trial.tokens
    poor = contest.study(trial.flops / study.target.flops / 2)
    assert contest.made(poor, Point(learning_rate=1.0, params=1000, tokens=1)) is None


def test_everybody_gets_the_same_guess_and_ours_without_one_gets_none(tmp_path):
    kept = trainings(tmp_path)
    told, untold = (TrainedContest(TARGET, 1, kept, told=told) for told in (True, False))
    assert told.study(0.1).prior_center == told.job(0.1).prior_center == told.guess
    assert untold.study(0.1).prior_center is None
    assert told.study(0.1).excluded_data == ("stdlib_gpt",)


def test_a_partial_table_has_each_value_of_a_target_in_as_many_races():
    first = list(islice(tasks(), len(SHORT) * len(METHODS)))
    assert {seed for _, seed, _ in first} == {0}
    for part in ("parametrization", "width", "steps"):
        counts = np.unique([getattr(target, part) for target, _, _ in first], return_counts=True)[1]
        assert counts.tolist() == [len(SHORT) // 2 * len(METHODS)] * 2
    assert len(set(tasks())) == len(TARGETS) * len(SEEDS) * len(METHODS)


def test_an_answer_is_scored_by_the_curve_and_by_what_was_trained(tmp_path):
    state = {"spent": 0.05, "learning_rate": 2.0 ** (BEST + 1), "interval_90": None}
    line = {
        "case": TARGET.name,
        "method": OURS,
        "seed": 1,
        "loss": LOWEST + OFFSETS[1] + 0.04,
        "states": [{**state, "expected_regret": None, "stop": True}],
    }
    end = scored(line, trainings(tmp_path)).states[-1]
    assert end["regret"] == pytest.approx(0.03, abs=0.01)
    assert end["trained"] == pytest.approx(0.04 + OFFSETS[1], abs=0.01)
    assert end["overhead"] == pytest.approx(0.05 + end["regret"] / (0.1 / math.log(2)))


def test_names_of_targets_tell_them_apart():
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    assert TrainedTarget(parametrization="mup", width=48, steps=144).name == "mup-48x2-144"
