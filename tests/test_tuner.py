"""HorizonTuner: the loop of suggest, observe and recommend, and its answers to bad input."""

import math
from dataclasses import replace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from horizon_bo import Horizon, Scale, SearchSpace, Suggestion
from horizon_bo.errors import (
    BudgetExhaustedError,
    HorizonBOError,
    InvalidSpaceError,
    InvalidTableError,
    InvalidTrialError,
    UnknownTrialError,
)
from horizon_bo.store.posteriors import CACHE_VARIABLE
from horizon_bo.tuner import HorizonTuner
from tests.studies import SPACE, TARGET, logged, small_tuner, tuner_with_pending


def test_the_loop_spends_within_the_budget_and_narrows_the_interval():
    tuner = small_tuner(prior_center=1e-3)
    before = tuner.recommend()
    assert before.spent == 0
    for _ in range(3):
        run = tuner.suggest()
        offset = math.log(run.learning_rate / 2e-3)
        size = 2 * (run.params / 1e9) ** -0.05 + (run.tokens / 2e10) ** -0.1
        tuner.observe(run, loss=size + 0.04 * offset**2)
    after = tuner.recommend()
    assert 0 < after.spent <= tuner.study.budget
    assert after.spent == sum(trial.flops for trial in tuner.study.trials)
    low, high = before.interval_90
    narrow = after.interval_90
    assert math.log(narrow[1] / narrow[0]) < math.log(high / low)


def test_suggest_without_a_number_gives_one_run_and_with_a_number_a_list():
    tuner = small_tuner()
    run = tuner.suggest()
    assert isinstance(run, Suggestion)
    runs = tuner.suggest(2)
    assert [other.id for other in runs] == [1, 2]
    assert [trial.status for trial in tuner.study.trials] == ["pending"] * 3
    with pytest.raises(InvalidSpaceError, match="n is 0"):
        tuner.suggest(0)


def test_recommending_changes_nothing_recorded():
    tuner = small_tuner()
    tuner.observe(logged())
    study = tuner.study
    assert tuner.recommend() == tuner.recommend()
    assert tuner.study is study


def test_the_same_study_gives_the_same_suggestion_before_and_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "")  # each infers for itself
    tuner = small_tuner(study=tmp_path / "runs.db", seed=3)
    tuner.observe(tuner.suggest(), loss=3.0)
    other = small_tuner(seed=3)
    other.observe(other.suggest(), loss=3.0)
    assert HorizonTuner.open(tmp_path / "runs.db").suggest() == other.suggest()


def test_an_observation_by_suggestion_by_id_and_by_logged_run():
    tuner = small_tuner()
    first, second = tuner.suggest(2)
    assert tuner.observe(first, loss=3.0, loss_sd=0.01) == ()
    assert tuner.observe(second.id, diverged=True) == ()
    assert tuner.observe(logged(source="old")) == ()
    assert [trial.status for trial in tuner.study.trials] == ["completed", "diverged", "completed"]
    assert tuner.study.trials[0].loss_sd == 0.01
    assert tuner.study.trials[2].source == "old"


def test_a_failed_run_says_nothing_but_stays_recorded(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    tuner.observe(0, failed=True)
    assert tuner.study.trials[0].status == "failed"
    assert tuner.study.trials[0].loss is None


def test_imported_runs_are_free_unless_their_cost_counts():
    tuner = small_tuner()
    tuner.import_runs([logged()])
    assert tuner.study.spent == 0
    tuner.import_runs([logged()], count_cost=True)
    assert tuner.study.spent == 6 * 6e7 * 1e9


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_recorded_as_diverged_and_said_so(tmp_path, loss):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    (said,) = tuner.observe(0, loss=loss)
    assert said == f"loss of trial 0 is {loss}: recorded as diverged"
    (said,) = tuner.observe(logged(loss=loss))
    assert said == f"loss of trial 1 is {loss}: recorded as diverged"
    assert [trial.status for trial in tuner.study.trials] == ["diverged"] * 2


@pytest.mark.parametrize("field", ["learning_rate", "params", "tokens"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "3e-4"])
def test_a_logged_run_that_cannot_be_is_refused(field, value):
    tuner = small_tuner()
    with pytest.raises(InvalidTrialError, match=field) as caught:
        tuner.observe(replace(logged(), **{field: value}))
    assert "\n" not in str(caught.value)
    assert tuner.study.trials == ()


@pytest.mark.parametrize("loss", [-1.0, 0.0, "2.9", None])
def test_a_loss_that_cannot_be_is_refused_and_the_run_stays_pending(tmp_path, loss):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    with pytest.raises(InvalidTrialError, match="loss"):
        tuner.observe(0, loss=loss)
    assert tuner.study.trials[0].status == "pending"


@pytest.mark.parametrize("trial_id", [7, -1, "0", 0.5])
def test_an_unknown_id_is_refused(trial_id):
    with pytest.raises(UnknownTrialError, match="unknown"):
        small_tuner().observe(trial_id, loss=2.9)


def test_a_finished_run_is_not_observed_twice(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    tuner.observe(0, loss=2.9)
    with pytest.raises(UnknownTrialError, match="already completed"):
        tuner.observe(0, loss=2.8)
    assert tuner.study.trials[0].loss == 2.9


def test_a_bad_row_leaves_a_whole_import_out():
    tuner = small_tuner()
    with pytest.raises(InvalidTableError, match="row 1"):
        tuner.import_runs([logged(), logged(tokens=-1.0)])
    assert tuner.study.trials == ()


def test_rates_in_another_unit_are_imported_with_a_remark():
    tuner = small_tuner()
    (said,) = tuner.import_runs([logged(), logged(learning_rate=3.0)])
    assert "outside the space" in said
    assert len(tuner.study.trials) == 2


@pytest.mark.parametrize(
    "rows",
    [
        [logged(learning_rate=rate, loss=3 + rate) for rate in (1e-3, 2e-3, 4e-3)],
        [logged(diverged=True, loss=None)] * 4,
        [logged(params=4e9, tokens=1e11, loss=2.0), logged(params=4e9, tokens=1e11, loss=2.1)],
    ],
    ids=["one cell only", "all diverged", "a target smaller than the runs"],
)
def test_a_table_of_one_kind_still_gives_an_answer(rows):
    tuner = small_tuner()
    tuner.import_runs(rows)
    best = tuner.recommend()
    low, high = best.interval_90
    assert low <= best.learning_rate <= high
    assert best.expected_regret >= 0


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": 1e9},
        {
            "space": SearchSpace(
                learning_rate=(1e-4, 1e-2), scales=[Scale(params=1e9)], tokens=[1e12]
            )
        },
    ],
    ids=["a budget smaller than the cheapest run", "a space without an affordable run"],
)
def test_nothing_affordable_is_said_and_a_recommendation_still_given(changes):
    tuner = small_tuner(**changes)
    with pytest.raises(BudgetExhaustedError) as caught:
        tuner.suggest()
    assert "\n" not in str(caught.value)
    assert tuner.study.trials == ()
    assert tuner.recommend().learning_rate > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": math.nan}, "budget"),
        ({"prior_center": -1.0}, "prior_center"),
        ({"parametrization": "ntk"}, "parametrization"),
        ({"seed": -1}, "seed"),
        ({"regret_risk": 1.5}, "regret_risk"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change, named):
    with pytest.raises(InvalidSpaceError, match=named):
        small_tuner(**change)


def test_every_deliberate_error_is_caught_by_one_base():
    with pytest.raises(HorizonBOError):
        Horizon(params=-1, tokens=1)
    assert SPACE.scales[0].flops(TARGET.tokens) == 6 * 6e7 * 2e10


def blas_threads() -> list[int]:
    """Threads of each library of linear algebra."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_callers_number_of_threads_changes_nothing_and_is_kept(monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "")  # each infers for itself
    answers = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            before = blas_threads()
            session = small_tuner()
            session.observe(session.suggest(), loss=3.0)
            answers.append(session.recommend())
            assert blas_threads() == before
            assert set(before) == {threads}
    assert answers[0] == answers[1]


def test_a_study_that_is_asked_something_else_is_believed_anew(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db", prior_center=1e-3)
    tuner.observe(logged())
    before = tuner.recommend()
    tuner.extend(prior_center=4e-3)
    assert tuner.recommend() != before
    assert tuner.recommend() == HorizonTuner.open(tmp_path / "runs.db").recommend()


def test_a_batch_can_be_chosen_with_its_rate():
    tuner = small_tuner()
    best = tuner.recommend(batch_tokens=[131_072, 262_144], max_batch_cost=0.5)
    assert best.batches is not None
    assert best.batch_tokens == best.batches.best.batch_tokens
    assert best.batches.max_cost == 0.5
    own = {c.batch_tokens: c for c in best.batches.choices}[262_144]
    assert own.learning_rate == pytest.approx(tuner.recommend().learning_rate, rel=1e-9)


def test_batches_that_cannot_be_are_refused_and_those_of_sequences_questioned():
    tuner = small_tuner()
    with pytest.raises(InvalidSpaceError, match="batch_tokens is 30B, expected no more"):
        tuner.recommend(batch_tokens=[3e10])
    with pytest.raises(InvalidSpaceError, match="value of batch_tokens is -1"):
        tuner.recommend(batch_tokens=[-1])
    with pytest.raises(InvalidSpaceError, match="max_batch_cost is 0"):
        tuner.recommend(batch_tokens=[262_144], max_batch_cost=0)
    with pytest.raises(InvalidSpaceError, match="batch_tokens is 2B, expected no more"):
        small_tuner(space=replace(SPACE, batch_tokens=[2e9]))
    with pytest.raises(InvalidSpaceError, match="batch_tokens is 30B, expected no more"):
        small_tuner(target=replace(TARGET, batch_tokens=3e10))
    said = tuner.recommend(batch_tokens=[1024, 262_144]).warnings
    assert any("a batch of 1024 tokens takes 2.0e+07 steps on 20B tokens" in s for s in said)
    sequences = Horizon(params=7e9, tokens=1.4e11, batch_tokens=1024)
    assert any(
        "if it is of sequences" in s for s in small_tuner(target=sequences).recommend().warnings
    )
