"""Trunks: the trunk is paid once, and every branch is reported once, under the run's id."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Scale, SearchSpace, Suggestion
from horizon_bo.core.inference import finished_runs
from horizon_bo.errors import InvalidSpaceError, InvalidTrialError, UnknownTrialError
from horizon_bo.study.branches import branch_flops
from horizon_bo.study.changes import observe, start
from horizon_bo.study.trials import Study
from tests.studies import SPACE, TARGET, logged, pending_trial, small_study

WSD = replace(TARGET, schedule="wsd")
BRANCHES = (1e9, 2e9, 4e9)


def branched(branches: tuple[float, ...] = BRANCHES, cooldown: float = 0.2) -> Suggestion:
    """A run of 60M parameters with branches."""
    scale = Scale(params=6e7, settings={"width": 512})
    price = math.fsum(branch_flops([scale.flops(tokens) for tokens in branches], cooldown))
    return Suggestion(
        id=0,
        learning_rate=2e-3,
        params=6e7,
        tokens=branches[-1],
        batch_tokens=262_144,
        flops=price,
        scale=scale,
        schedule="wsd",
        averaging="none",
        branches=branches,
        cooldown=cooldown,
    )


def ordinary(tokens: float = 1e9) -> Suggestion:
    return replace(branched((tokens,)), branches=(), flops=6 * 6e7 * tokens)


def wsd_study(**changes) -> Study:
    return small_study(target=WSD, space=replace(SPACE, cooldown=0.2), **changes)


def waiting() -> Study:
    """A study with one ordinary run and one of three branches, ids 0 and 1 to 3."""
    return start(wsd_study(), [ordinary(), branched()])


def test_the_price_by_hand():
    # the trunk up to 0.8 · 4 and cooldowns of 0.2, 0.4 and 0.8: 4.6 instead of 7 units
    assert branch_flops([1.0, 2.0, 4.0], 0.2) == pytest.approx([0.2, 0.4, 4.0])


lengths = st.lists(st.floats(1e6, 1e13), min_size=1, max_size=6, unique=True).map(sorted)
shares = st.floats(0.01, 0.99)


@given(lengths, shares, st.floats(1e3, 1e12))
def test_the_price_is_the_trunk_once_and_every_cooldown(branches, share, per_token):
    price = math.fsum(branch_flops([per_token * tokens for tokens in branches], share))
    trunk = max((1 - share) * tokens for tokens in branches)
    cooldowns = sum(share * tokens for tokens in branches)
    assert price == pytest.approx(per_token * (trunk + cooldowns), rel=1e-12)


@given(lengths, shares)
def test_a_trunk_costs_more_than_its_longest_reading_and_less_than_single_runs(branches, share):
    price = math.fsum(branch_flops(branches, share))
    assert branches[-1] <= price <= math.fsum(branches) * (1 + 1e-12)
    assert branch_flops(branches[-1:], share) == branches[-1:]


@given(st.lists(st.booleans(), max_size=6), shares)
def test_ids_stay_consecutive_and_costs_sum_to_the_price(kinds, share):
    runs = [branched(cooldown=share) if kind else ordinary() for kind in kinds]
    study = start(wsd_study(), runs)
    assert [trial.id for trial in study.trials] == list(range(len(study.trials)))
    assert len(study.trials) == sum(len(run.branches) or 1 for run in runs)
    assert study.spent == pytest.approx(math.fsum(run.flops for run in runs), rel=1e-12)


def test_every_branch_is_a_trial_of_its_own_length_and_the_longest_carries_the_trunk():
    first, *group = waiting().trials
    assert first.trunk is None
    assert [trial.trunk for trial in group] == [1, 1, 1]
    assert tuple(trial.tokens for trial in group) == BRANCHES
    token = 6 * 6e7
    assert [t.flops for t in group] == pytest.approx([0.2e9 * token, 0.4e9 * token, 4e9 * token])
    assert {(t.schedule, t.learning_rate, t.settings["width"]) for t in group} == {
        ("wsd", 2e-3, 512)
    }


def test_a_reading_has_the_recipe_and_the_place_of_an_ordinary_run():
    other = replace(ordinary(1e9), learning_rate=2 * ordinary().learning_rate)
    study = start(wsd_study(), [other, branched()])
    study = observe(study, 0, loss=3.0)
    for tokens, loss in zip(BRANCHES, (3.0, 2.9, 2.8), strict=True):
        study = observe(study, 1, loss=loss, branch=tokens)
    runs, recipes, _ = finished_runs(study)
    assert recipes == ()
    assert runs.points.source.tolist() == [0, 0, 0, 0]
    assert runs.cell[0] == runs.cell[1]
    assert runs.points.log_scales[0].tolist() == runs.points.log_scales[1].tolist()


@pytest.mark.parametrize("order", [(1e9, 2e9, 4e9), (4e9, 1e9, 2e9)])
def test_branches_are_observed_in_any_order(order):
    study = waiting()
    losses = {1e9: 3.1, 2e9: 3.0, 4e9: 2.9}
    for done, tokens in enumerate(order, 1):
        study = observe(study, 1, loss=losses[tokens], branch=tokens)
        assert sum(trial.status == "completed" for trial in study.trials) == done
    assert [trial.loss for trial in study.trials] == [None, 3.1, 3.0, 2.9]
    assert study.spent == waiting().spent


def test_a_branch_answers_to_a_rounded_count_and_to_the_suggestion():
    study = observe(waiting(), replace(branched(), id=1), loss=3.0, branch=2.001e9)
    assert study.trials[2].loss == 3.0


@pytest.mark.parametrize("ending", ["diverged", "failed"])
def test_a_trunk_that_ends_badly_marks_every_pending_branch(ending):
    study = observe(waiting(), 1, loss=3.1, branch=1e9)
    ended = observe(study, 1, **{ending: True})
    assert [trial.status for trial in ended.trials] == ["pending", "completed", ending, ending]
    one = observe(study, 1, branch=4e9, **{ending: True})
    assert [trial.status for trial in one.trials] == ["pending", "completed", "pending", ending]


def test_measured_compute_is_the_branchs_own_or_shared_among_all():
    study = observe(waiting(), 1, loss=3.1, branch=1e9, flops=1e17)
    assert study.trials[1].flops == 1e17
    whole = observe(study, 1, diverged=True, flops=1.1e18)
    planned = [trial.flops for trial in study.trials[2:]]
    assert sum(t.flops for t in whole.trials[2:]) == pytest.approx(1.1e18)
    assert whole.trials[2].flops / whole.trials[3].flops == pytest.approx(planned[0] / planned[1])


BAD = {
    "missing": ((1, {"loss": 3.0}), InvalidTrialError, "branch of run 1 is missing, expected one"),
    "not suggested": (
        (1, {"loss": 3.0, "branch": 3e9}),
        UnknownTrialError,
        "branch of run 1 is 3000000000.0, expected one of 1000000000, 2000000000, 4000000000",
    ),
    "negative": ((1, {"loss": 3.0, "branch": -1e9}), InvalidTrialError, "branch of run 1 is -1"),
    "a word": ((1, {"loss": 3.0, "branch": "all"}), InvalidTrialError, "branch of run 1 is 'all'"),
    "no number": ((1, {"loss": 3.0, "branch": math.nan}), InvalidTrialError, "is nan, expected a"),
    "of an ordinary run": (
        (0, {"loss": 3.0, "branch": 1e9}),
        InvalidTrialError,
        "branch of trial 0 is 1000000000.0, expected none",
    ),
    "by the branch's id": (
        (2, {"loss": 3.0}),
        UnknownTrialError,
        "trial 2 is a branch of run 1, expected the id of a run; report it as run 1 with branch",
    ),
    "unknown run": ((9, {"loss": 3.0, "branch": 1e9}), UnknownTrialError, "trial 9 is unknown"),
    "of a logged run": (
        (logged(), {"branch": 1e9}),
        InvalidTrialError,
        "branch of a logged run is 1000000000.0, expected none",
    ),
    "no outcome": ((1, {"branch": 1e9}), InvalidTrialError, "outcome of trial 1 is missing"),
    "no compute": (
        (1, {"diverged": True, "flops": 0}),
        InvalidTrialError,
        "flops of trial 1 is 0, expected a finite number > 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_report_of_a_branch_says_what_to_do(name):
    (run, outcome), error, said = BAD[name]
    with pytest.raises(error) as caught:
        observe(waiting(), run, **outcome)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_branch_is_reported_once():
    study = observe(waiting(), 1, loss=3.1, branch=1e9)
    with pytest.raises(UnknownTrialError, match=r"of run 1 is already completed \(loss 3.1\)"):
        observe(study, 1, loss=3.0, branch=1e9)
    ended = observe(study, 1, diverged=True)
    with pytest.raises(UnknownTrialError, match=r"all of its branches .* reported"):
        observe(ended, 1, failed=True)
    with pytest.raises(UnknownTrialError, match="none is left"):
        observe(ended, 1, loss=3.0, branch=4e9)


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.2, math.nan, "long", True])
def test_a_cooldown_is_a_share(value):
    with pytest.raises(InvalidSpaceError, match=r"cooldown is .*such as 0\.2"):
        SearchSpace(learning_rate=(1e-4, 1e-2), scales=SPACE.scales, tokens=[1e9], cooldown=value)


@pytest.mark.parametrize("schedules", [None, ["cosine"], ["cosine", "linear"]])
def test_a_cooldown_without_a_schedule_that_branches_is_refused(schedules):
    space = replace(SPACE, cooldown=0.2, schedules=schedules)
    with pytest.raises(InvalidSpaceError, match=r"cooldown is 0\.2 with the schedules cosine"):
        small_study(space=space)
    assert small_study(space=replace(space, schedules=["cosine", "wsd"])).space.cooldown == 0.2
    assert small_study(space=replace(SPACE, cooldown=0.2), target=WSD).space.cooldown == 0.2


def test_old_pending_runs_are_observed_as_before():
    study = observe(wsd_study().with_trials(pending_trial()), 0, loss=3.0)
    assert study.trials[0].loss == 3.0
