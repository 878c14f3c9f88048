"""The client does what Ax users expect of theirs."""

import math

import pytest
from ax.api.client import Client
from ax.core.trial_status import TrialStatus
from ax.exceptions.generation_strategy import GenerationStrategyCompleted

from horizon_bo.ax import (
    horizon_generation_strategy,
    horizon_recommendation,
    horizon_study,
    parameter_configs,
)
from horizon_bo.ax.client import fitted_generator
from horizon_bo.ax.trials import METADATA_KEY
from horizon_bo.errors import HorizonBOError, InvalidSpaceError, InvalidTrialError
from tests.ax.loops import GIVEN, ax_client, completed, loss_at, one_trial
from tests.studies import SPACE, TARGET


def stock_client(objective: str = "-loss", **changes) -> Client:
    """Ax's own client with our strategy: the one line that a user changes."""
    client = Client()
    client.configure_experiment(parameters=parameter_configs(SPACE))
    client.configure_optimization(objective=objective)
    strategy = horizon_generation_strategy(TARGET, SPACE, 0.05 * TARGET.flops, **GIVEN, **changes)
    client.set_generation_strategy(strategy)
    return client


def test_a_stock_client_with_our_strategy_suggests_the_same():
    ours, stock = ax_client(), stock_client()
    for client in (ours, stock):
        index, parameters = one_trial(client)
        client.complete_trial(index, {"loss": round(loss_at(**parameters), 6)})
    assert one_trial(ours) == one_trial(stock)
    assert horizon_recommendation(ours) == horizon_recommendation(stock)


def test_the_end_of_the_budget_is_said_and_not_raised(caplog):
    client = ax_client(budget=2.2 * 6 * 6e7 * 1e9)
    assert len(client.get_next_trials(5)) == 2  # what fits, not what was asked for
    with caplog.at_level("WARNING"):
        assert client.get_next_trials(1) == {}
    assert "the cheapest run costs 3.6e+17 FLOP" in caplog.text
    assert horizon_recommendation(client).reason == "no run fits into what is left of the budget"


def test_a_stock_client_raises_ax_s_own_end_of_the_study():
    client = stock_client()
    client.attach_trial({"learning_rate": 1e-3, "params": 1.2e8, "tokens": 4e9})
    client.attach_trial({"learning_rate": 2e-3, "params": 1.2e8, "tokens": 4e9})
    with pytest.raises(GenerationStrategyCompleted, match="of the budget are left"):
        client.get_next_trials(1)


@pytest.mark.filterwarnings("ignore:.*out-of-design:RuntimeWarning")
def test_out_of_design_trials_are_kept_after_every_refit():
    client = ax_client(budget=TARGET.flops)
    far = {"learning_rate": 5e-2, "params": 3e8, "tokens": 8e9}
    completed(client, 1)
    client.complete_trial(client.attach_trial(far), {"loss": 2.7})
    completed(client, 1)
    one_trial(client)
    generator = client._generation_strategy.adapter.generator
    assert len(generator.belief.runs.loss) == 3
    assert math.log(5e-2) in generator.belief.runs.points.log_lr.tolist()


def test_fixed_parameters_are_kept_and_the_rest_is_chosen():
    client = ax_client()
    _, run = one_trial(client, params=1.2e8, tokens=2e9)
    assert (run["params"], run["tokens"]) == (1.2e8, 2e9)
    low, high = SPACE.learning_rate
    assert low <= run["learning_rate"] <= high
    _, run = one_trial(client, learning_rate=1.25e-3)
    assert run["learning_rate"] == 1.25e-3


def test_predictions_come_from_the_surrogate_also_at_the_target():
    client = ax_client()
    completed(client, 4)
    inside = {"learning_rate": 4e-3, "params": 6e7, "tokens": 1e9}
    ((mean, sem),) = [said["loss"] for said in client.predict([inside])]
    assert abs(mean - loss_at(**inside)) < 3 * sem
    assert 0 < sem < 0.3
    # Ax's own door is shut to what lies outside the search space
    outside = {"learning_rate": 4e-3, "params": TARGET.params, "tokens": TARGET.tokens}
    with pytest.raises(ValueError, match="is not a valid value"):
        client.predict([outside])
    answer = horizon_recommendation(client)
    assert answer.predicted_loss < mean


def test_ax_s_best_point_is_the_best_run_made():
    client = ax_client()
    completed(client, 2)
    one_trial(client)
    losses = [t.loss for t in horizon_study(client).trials if t.loss is not None]
    _, _, index, _ = client.get_best_parameterization()
    assert index == losses.index(min(losses))
    assert client.get_best_parameterization(use_model_predictions=False)[2] == index


def test_a_loss_that_is_not_finite_marks_the_trial_as_diverged():
    client = ax_client()
    for bad in (math.nan, math.inf):
        index, _ = one_trial(client)
        assert client.complete_trial(index, {"loss": bad}) == TrialStatus.FAILED
        assert horizon_study(client).trials[index].status == "diverged"
    # Ax's own way leaves them completed, which means the same
    stock = stock_client()
    index, _ = one_trial(stock)
    assert stock.complete_trial(index, {"loss": math.nan}) == TrialStatus.COMPLETED
    assert horizon_study(stock).trials[index].status == "diverged"


def test_a_trial_completed_without_a_loss_or_stopped_early_is_no_information():
    client = ax_client()
    client.complete_trial(one_trial(client)[0])
    index, _ = one_trial(client)
    client.attach_data(index, {"loss": 5.0}, progression=10)
    client.mark_trial_early_stopped(index)
    assert [t.status for t in horizon_study(client).trials] == ["failed", "failed"]


def test_a_stale_trial_never_ran_and_costs_nothing():
    client = ax_client()
    index, _ = one_trial(client)
    client._experiment.trials[index].mark_stale(unsafe=True)
    assert horizon_study(client).spent == 0
    assert horizon_study(client).trials[0].status == "failed"


def test_the_last_loss_of_a_curve_counts():
    client = ax_client()
    index, _ = one_trial(client)
    for step, loss in ((1, 5.0), (3, 3.0), (2, 4.0)):
        client.attach_data(index, {"loss": loss}, progression=step)
    client.complete_trial(index)
    assert horizon_study(client).trials[0].loss == 3.0


def test_measured_compute_takes_the_place_of_the_planned():
    client = ax_client()
    index, parameters = one_trial(client)
    client._experiment.trials[index].update_run_metadata({METADATA_KEY: {"flops": 5e17}})
    client.complete_trial(index, {"loss": loss_at(**parameters)})
    assert horizon_study(client).spent == 5e17
    assert horizon_study(client).trials[0].loss == loss_at(**parameters)


def test_unknown_metadata_under_our_key_are_refused():
    client = ax_client()
    index, _ = one_trial(client)
    client._experiment.trials[index].update_run_metadata({METADATA_KEY: {"flop": 5e17}})
    with pytest.raises(InvalidTrialError, match=r"hold 'flop' .* expected source, schedule"):
        client.get_next_trials(1)


def test_a_trial_of_two_arms_is_refused():
    client = ax_client()
    run = {"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9}
    client._experiment.attach_trial(parameterizations=[run, {**run, "params": 1.2e8}])
    with pytest.raises(InvalidTrialError, match="2 arms, expected one"):
        client.get_next_trials(1)


def test_a_client_of_another_strategy_is_told_apart():
    client = Client()
    client.configure_experiment(parameters=parameter_configs(SPACE))
    client.configure_optimization("-loss")
    client.configure_generation_strategy()
    with pytest.raises(InvalidSpaceError, match="has no horizon node"):
        horizon_recommendation(client)


def test_a_setting_that_no_study_has_is_refused():
    with pytest.raises(TypeError, match="horizon"):
        ax_client(horizon=3)


def test_the_belief_is_inferred_once_for_each_state(monkeypatch):
    client = ax_client()
    completed(client, 2)
    one_trial(client)
    first = fitted_generator(client._generation_strategy, client._experiment).belief
    horizon_recommendation(client)
    again = fitted_generator(client._generation_strategy, client._experiment).belief
    assert again is first


def test_every_deliberate_error_is_one_line():
    for bad in ({"budget": -1}, {"seed": -1}, {"prior_center": 0}):
        with pytest.raises(HorizonBOError) as caught:
            ax_client(**bad)
        assert len(str(caught.value).splitlines()) == 1
