"""Through Ax or not: the same study, bit for bit."""

import math
from dataclasses import replace

import pytest

from horizon_bo import LoggedRun, Scale
from horizon_bo.ax import (
    attach_logged_runs,
    horizon_client,
    horizon_recommendation,
    horizon_study,
    mark_trial_diverged,
)
from horizon_bo.ax.client import attach_finished
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.core.inference import believe
from horizon_bo.evaluation.cases import Case, load_problem
from horizon_bo.evaluation.replay import METHODS, affordable
from horizon_bo.study.changes import import_runs
from horizon_bo.study.records import study_record
from tests.ax.loops import ax_client, loss_at, one_trial, plain_tuner, point
from tests.core.test_batch_choice import sweep
from tests.studies import SPACE, TARGET, small_study

#: A cell of the sweep that ships, hidden, with half its size and a tenth of its cost to buy.
SHIPPED = {
    "name": "shipped",
    "sweep": "stdlib_gpt.csv",
    "target_params": 97280,
    "target_tokens": 3999744,
    "max_params_ratio": 0.5,
    "max_run_cost": 0.1,
}

WIDE = replace(
    SPACE,
    scales=[Scale(params=6e7, flops_per_token=4.1e8), Scale(params=1.2e8)],
    tokens=[1e9, 3e9],
    batch_tokens=[131_072, 262_144],
    schedules=["cosine", "wsd"],
)


@pytest.mark.parametrize(
    "changes",
    [{"regret_tolerance": 1e-3}, {"space": WIDE, "parametrization": "mup", "seed": 11}],
    ids=["rate, size and tokens", "every parameter"],
)
def test_ax_and_the_plain_loop_suggest_and_recommend_the_same(changes):
    client, tuner = ax_client(**changes), plain_tuner(**changes)
    for step in range(3):
        index, parameters = one_trial(client)
        run = tuner.suggest()
        assert parameters == point(run, client)
        loss = math.nan if step == 1 else loss_at(**parameters)
        client.complete_trial(index, {"loss": (loss, 0.002)})
        tuner.observe(run, loss=loss, loss_sd=0.002)
    assert horizon_study(client) == tuner.study
    assert horizon_recommendation(client) == tuner.recommend()


def test_before_the_first_trial_ax_recommends_the_prior():
    assert horizon_recommendation(ax_client()) == plain_tuner().recommend()


def test_a_batch_through_ax_is_the_batch_of_the_plain_loop():
    client, tuner = ax_client(), plain_tuner()
    first, second = client.get_next_trials(3), tuner.suggest(3)
    assert list(first.values()) == [point(run, client) for run in second]
    # answers come back in another order, and one not at all
    for index in (2, 0):
        client.complete_trial(index, {"loss": loss_at(**first[index])})
        tuner.observe(index, loss=loss_at(**first[index]))
    assert list(client.get_next_trials(2).values()) == [
        point(run, client) for run in tuner.suggest(2)
    ]
    assert horizon_study(client) == tuner.study


def test_diverged_failed_and_pending_runs_mean_the_same():
    client, tuner = ax_client(), plain_tuner()
    client.get_next_trials(4)
    tuner.suggest(4)
    mark_trial_diverged(client, 0)
    tuner.observe(0, diverged=True)
    client.mark_trial_failed(1, failed_reason="node lost")
    tuner.observe(1, failed=True)
    client.mark_trial_abandoned(2)
    tuner.observe(2, failed=True)
    assert horizon_study(client) == tuner.study
    assert one_trial(client)[1] == point(tuner.suggest(), client)


@pytest.mark.filterwarnings("ignore:.*out-of-design:RuntimeWarning")  # one size is no scale
def test_logged_runs_mean_the_same():
    runs = [
        LoggedRun(learning_rate=2e-3, params=6e7, tokens=1e9, loss=3.0123456789012345),
        LoggedRun(learning_rate=2e-2, params=6e7, tokens=1e9, diverged=True),
        LoggedRun(
            learning_rate=1e-3,
            params=3e7,
            tokens=5e8,
            loss=3.2,
            loss_sd=0.01,
            batch_tokens=65_536,
            source="last year",
            averaging="ema",
            flops=1e17,
        ),
    ]
    client, tuner = ax_client(), plain_tuner()
    assert attach_logged_runs(client, runs) == tuner.import_runs(runs)
    # neither says anything about the loss: a row's position, and the settings of its scale
    blank = [
        [replace(t, row=None, settings={}) for t in study.trials]
        for study in (horizon_study(client), tuner.study)
    ]
    assert blank[0] == blank[1]
    assert one_trial(client)[1] == point(tuner.suggest(), client)
    assert horizon_study(client).spent == tuner.study.spent


def test_logged_runs_may_be_charged():
    runs = [LoggedRun(learning_rate=2e-3, params=6e7, tokens=1e9, loss=3.0)]
    client = ax_client()
    attach_logged_runs(client, runs, count_cost=True)
    assert horizon_study(client).spent == 6 * 6e7 * 1e9


def test_an_attached_trial_is_a_charged_run_of_the_study():
    client, tuner = ax_client(), plain_tuner()
    run = {"learning_rate": 2e-3, "params": 6e7, "tokens": 1e9}
    client.complete_trial(client.attach_trial(run), {"loss": 3.1})
    tuner.observe(LoggedRun(**run, loss=3.1))
    # a logged run carries no settings, a trial those of its scale
    assert [replace(t, settings={}) for t in horizon_study(client).trials] == list(
        tuner.study.trials
    )
    assert one_trial(client)[1] == point(tuner.suggest(), client)


def test_compute_is_charged_in_flops_by_the_measure_of_the_scale():
    client = ax_client(space=WIDE)
    index, parameters = one_trial(client)
    price = {6e7: 4.1e8, 1.2e8: 6 * 1.2e8}[parameters["params"]] * parameters["tokens"]
    trial = client._experiment.trials[index]
    assert trial._get_candidate_metadata(trial.arms[0].name)["flops"] == price
    assert horizon_recommendation(client).spent == price
    assert horizon_study(client).target == TARGET


def test_a_sweep_bought_through_ax_row_by_row_is_the_replay_of_the_plain_loop():
    problem = load_problem(Case(**SHIPPED))
    plain = problem.study(budget=0.5, prior_center=3e-3, seed=0)
    settings = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    client = horizon_client(**{k: v for k, v in settings.items() if k != "trials"})
    horizon = METHODS["horizon"]
    steps = 0
    while pool := affordable(problem.pool, plain):
        through_ax = horizon_study(client)
        beliefs = believe(plain), believe(through_ax)
        assert horizon.recommend(through_ax, beliefs[1], pool) == horizon.recommend(
            plain, beliefs[0], pool
        )
        row = horizon.pick(plain, beliefs[0], pool)
        assert horizon.pick(through_ax, beliefs[1], pool) == row
        if row is None or steps == 4:
            break
        plain = plain.with_trials(replace(row, id=len(plain.trials)))
        attach_finished(client, plain.trials[-1])
        steps += 1
    assert steps >= 3


def test_ax_keeps_the_best_pair_where_the_batch_is_open():
    space = replace(SPACE, batch_tokens=[65_536, 131_072, 262_144])
    target = replace(TARGET, batch_tokens=None)
    study = small_study(target=target, space=space, prior_center=1.5e-3)
    generator = HorizonGenerator(study_record(study))
    generator.learn(import_runs(study, sweep()))
    best, kept = generator.recommend(), generator.summary()
    assert best.batch_tokens == 131_072
    assert kept["learning_rate"] == best.learning_rate
    assert kept["expected_regret"] == best.expected_regret
