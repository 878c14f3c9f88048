"""Cost: speeds of runs, GPU-hours, and plans that end before a deadline."""

import sys
from dataclasses import replace

import pytest

from horizon_bo import Scale
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.runs.cost import (
    Measured,
    flops_of_hours,
    gpu_hours,
    longest_tokens,
    measured,
    most_flops,
    run_gpu_hours,
    tokens_per_second,
)
from horizon_bo.runs.engines.protocol import gpu_count
from horizon_bo.runs.folder import write_attempt
from horizon_bo.runs.jobs import RunEvent, WatchedState
from horizon_bo.runs.outcomes import Outcome
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import slots, slots_of
from horizon_bo.study.branches import suggestion
from horizon_bo.study.records import study_from, study_record
from tests.studies import SPACE, pending_trial, small_study, small_tuner, tuner_with_pending

SMALL = Scale(params=6e7, gpus=8, tokens_per_second=4e5)
LARGE = Scale(params=1.2e8, gpus=16)
STUDY = small_study(space=replace(SPACE, scales=(SMALL, LARGE))).with_trials(pending_trial())
RUN = suggestion([STUDY.trials[0]], STUDY)


def silent(state: WatchedState, event: RunEvent | None) -> None:
    """A watch that says nothing."""


def test_what_runs_reached_counts_more_than_what_was_said():
    assert tokens_per_second(SMALL, (SMALL, LARGE), ()) == 4e5
    known = [Measured(run, 6e7, speed) for run, speed in enumerate((1e5, 3e5, 2e5))]
    assert tokens_per_second(SMALL, (SMALL, LARGE), known) == 2e5


def test_a_size_without_runs_trains_at_the_flops_per_second_and_gpu_of_the_nearest():
    # twice the GPUs for twice the compute of a token
    assert tokens_per_second(LARGE, (SMALL, LARGE), ()) == pytest.approx(4e5)
    unknown = replace(SMALL, tokens_per_second=None)
    assert tokens_per_second(unknown, (unknown, LARGE), ()) is None


def test_gpu_hours_are_gpus_times_tokens_over_speed():
    hours = run_gpu_hours(STUDY, RUN, ())
    assert hours == pytest.approx(8 * 1e9 / 4e5 / 3600)
    cost = gpu_hours(STUDY, (), 0.1)
    assert cost is not None
    assert cost.spent == pytest.approx(hours)
    # the large scale trains as many FLOP per GPU-hour as the small one, as nothing else is known
    assert cost.budget == pytest.approx(hours * STUDY.budget / RUN.flops)
    assert cost.overhead == pytest.approx(0.1 * cost.target)
    assert cost.target == pytest.approx(hours * STUDY.target.flops / RUN.flops)


def test_a_budget_in_gpu_hours_is_shown_as_that_many_also_once_some_are_spent():
    new = replace(small_study(space=STUDY.space), budget=flops_of_hours(20.0, STUDY.space))
    cost = gpu_hours(new, (), 0.0)
    assert cost is not None
    assert cost.budget == pytest.approx(20.0)
    known = [Measured(0, 6e7, 1e5), Measured(1, 1.2e8, 4e5)]
    more = replace(STUDY, budget=flops_of_hours(30.0, STUDY.space, STUDY, known))
    cost = gpu_hours(more, known, 0.0)
    assert cost is not None
    assert cost.budget == pytest.approx(30.0)
    with pytest.raises(InvalidSpaceError, match=r"expected at least the 22\.2 that are spent"):
        flops_of_hours(20.0, STUDY.space, STUDY, known)


def test_a_slower_small_scale_costs_more_gpu_hours_at_the_same_flops():
    known = [Measured(1, 6e7, 1e5), Measured(2, 1.2e8, 4e5)]
    cost = gpu_hours(STUDY, known, 0.0)
    assert cost is not None
    assert cost.spent == pytest.approx(8 * 1e9 / 1e5 / 3600)
    assert cost.target == pytest.approx(STUDY.target.flops / LARGE.flops(4e5) * 16 / 3600)


def test_a_run_that_ended_costs_what_it_took_whatever_others_of_its_scale_reached():
    known = [Measured(0, 6e7, 1e5), Measured(1, 6e7, 4e5), Measured(2, 6e7, 4e5)]
    assert run_gpu_hours(STUDY, RUN, known) == pytest.approx(8 * 1e9 / 1e5 / 3600)
    two = STUDY.with_trials(pending_trial(1))
    cost = gpu_hours(two, known[:1] + known[2:], 0.0)  # of the second nothing is known
    assert cost is not None
    typical = (1e5 + 4e5) / 2
    assert cost.spent == pytest.approx(8 * 1e9 * (1 / 1e5 + 1 / typical) / 3600)


def test_only_a_run_that_ended_well_in_one_go_has_a_speed(tmp_path):
    ended = Outcome(status="completed", cause="finished", loss=3.0, elapsed_s=50.0)
    assert measured(tmp_path, RUN, ended) == ()
    write_attempt(tmp_path, RUN, ("train",), 1)
    assert measured(tmp_path, RUN, ended) == (Measured(0, 6e7, 2e7),)
    assert measured(tmp_path, RUN, replace(ended, status="failed", loss=None)) == ()
    write_attempt(tmp_path, RUN, ("train",), 2)  # it went on from a checkpoint
    assert measured(tmp_path, RUN, ended) == ()


def test_gpus_are_those_that_a_scale_says_or_else_those_that_runs_were_given(tmp_path):
    ended = Outcome(status="completed", cause="finished", loss=3.0, elapsed_s=50.0)
    write_attempt(tmp_path, RUN, ("train",), 1, gpus=4.0)
    known = measured(tmp_path, RUN, ended)
    assert known == (Measured(0, 6e7, 2e7, 4.0),)
    assert run_gpu_hours(STUDY, RUN, known) == pytest.approx(8 * 50 / 3600)
    silent_scale = replace(RUN, scale=Scale(params=6e7))
    space = replace(SPACE, scales=(silent_scale.scale, Scale(params=1.2e8)))
    study = replace(STUDY, space=space)
    assert run_gpu_hours(study, silent_scale, known) == pytest.approx(4 * 50 / 3600)
    # what is not known of one size is as of the others
    assert tokens_per_second(space.scales[1], space.scales, known) == pytest.approx(1e7)
    own = replace(RUN, scale=Scale(params=6e7, settings={"gpus": 2}))
    assert run_gpu_hours(study, own, known) == pytest.approx(2 * 50 / 3600)


@pytest.mark.parametrize(
    ("needs", "count"),
    [
        ({"gpus": "8"}, 8),
        ({"gpus": 8}, 8),
        ({"gpus": "a100:4"}, 4),
        ({"nodes": "2", "gpus-per-node": "8"}, 16),
        ({"gpus": "many"}, None),
        ({"cpus": 4}, None),
    ],
)
def test_gpus_among_resources_are_counted_as_slurm_writes_them(needs, count):
    assert gpu_count(needs) == count
    assert [slot.gpus for slot in slots_of(RunPlan(on="slurm", resources=needs))] == [count]


def test_a_run_on_this_machine_has_the_gpus_of_its_slot(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert [slot.gpus for slot in slots(1, ())] == [4]
    assert [slot.gpus for slot in slots(2, ("0", "1", "2"))] == [2, 1]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [slot.gpus for slot in slots(1, ())] == [None]
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "8")
    assert [slot.gpus for slot in slots(1, ())] == [8]


def test_what_fits_before_a_deadline():
    assert longest_tokens(STUDY, (), 5000.0) == pytest.approx({6e7: 2e9, 1.2e8: 2e9})
    assert most_flops(STUDY, (), 5000.0, 3) == pytest.approx(3 * LARGE.flops(2e9))
    unknown = replace(STUDY, space=replace(SPACE, scales=(LARGE,)))
    assert (longest_tokens(unknown, (), 5000.0), most_flops(unknown, (), 5000.0, 3)) == ({}, None)


def test_runs_that_would_end_after_the_deadline_are_not_started(tmp_path):
    scales = [Scale(params=6e7, tokens_per_second=1e6), Scale(params=1.2e8, tokens_per_second=1e5)]
    tuner = small_tuner(space=replace(SPACE, scales=scales))
    made = []

    def train(run):
        made.append(run)
        return 3.0

    tuner.run(train, folder=tmp_path / "a", deadline_s=1500.0, max_runs=1, watch=silent)
    (run,) = made
    assert run.tokens <= 1.5e9 if run.params == 6e7 else run.tokens <= 1.5e8
    report = tuner.run(train, folder=tmp_path / "b", deadline_s=1e-3, watch=silent)
    assert len(made) == 1
    assert "among runs that end before the deadline" in report.reason


def test_a_pending_run_that_would_end_after_the_deadline_stays_pending(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 1)
    study = replace(
        tuner.study,
        space=replace(SPACE, scales=[replace(s, tokens_per_second=1e6) for s in SPACE.scales]),
    )
    tuner._stored = replace(tuner._stored, study=study)
    given = {"folder": tmp_path / "runs", "watch": silent}
    report = tuner.run(
        [sys.executable, "-c", "print(3.5)", "{learning_rate}"], **given, deadline_s=900.0
    )
    assert report.observed == ()
    assert tuner.study.trials[0].status == "pending"


def test_a_loop_reports_gpu_hours_once_it_knows_a_speed(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 1)
    code = "import time; time.sleep(0.2); print(3.5)"
    given = {"folder": tmp_path / "runs", "watch": silent, "max_runs": 1}
    report = tuner.run([sys.executable, "-S", "-c", code, "{learning_rate}"], **given)
    assert report.gpu_hours is not None
    assert 0.2 / 3600 < report.gpu_hours.spent < 5 / 3600


def test_a_study_keeps_gpus_and_speeds():
    assert study_from(study_record(STUDY), STUDY.trials) == STUDY
    old = study_record(STUDY)
    for scale in old["space"]["scales"]:
        del scale["gpus"], scale["tokens_per_second"]
    assert study_from(old).space.scales[1] == Scale(params=1.2e8)


@pytest.mark.parametrize("name", ["gpus", "tokens_per_second"])
def test_a_scale_with_no_gpus_or_speed_is_refused(name):
    with pytest.raises(InvalidSpaceError, match=f"{name} of a scale is 0, expected"):
        Scale(params=6e7, **{name: 0})
