"""Search spaces as Ax parameters, and experiments that the tuner cannot work on."""

from dataclasses import replace

import pytest
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.core.parameter import ChoiceParameter, FixedParameter, RangeParameter

from horizon_bo.ax import horizon_generation_strategy, parameter_configs
from horizon_bo.errors import InvalidSpaceError
from tests.ax.loops import GIVEN, ax_client
from tests.studies import SPACE, TARGET

RATE = RangeParameterConfig("learning_rate", (1e-4, 2e-2), "float", scaling="log")
PARAMS = ChoiceParameterConfig("params", [6e7, 1.2e8], "float", is_ordered=True)
TOKENS = RangeParameterConfig("tokens", (1e9, 4e9), "float", scaling="log")


def refused(parameters, objective="-loss", space=SPACE, **optimization) -> str:
    """What is said to an experiment with these parameters and that objective."""
    client = Client()
    client.configure_experiment(parameters=parameters)
    client.configure_optimization(objective=objective, **optimization)
    client.set_generation_strategy(
        horizon_generation_strategy(TARGET, space, 0.05 * TARGET.flops, **GIVEN)
    )
    with pytest.raises(InvalidSpaceError) as caught:
        client.get_next_trials(1)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_space_becomes_parameters_of_the_same_names_and_values():
    client = ax_client(
        space=replace(
            SPACE,
            scales=SPACE.scales[:1],
            tokens=[1e9, 2e9],
            batch_tokens=[131_072, 262_144],
            averagings=["none", "ema"],
        )
    )
    parameters = client._experiment.search_space.parameters
    rate, tokens = parameters["learning_rate"], parameters["tokens"]
    assert isinstance(rate, RangeParameter)
    assert (rate.lower, rate.upper, rate.log_scale) == (1e-4, 2e-2, True)
    assert isinstance(parameters["params"], FixedParameter)  # one scale leaves no choice
    assert parameters["params"].value == 6e7
    assert isinstance(tokens, ChoiceParameter)
    assert tokens.values == [1e9, 2e9]
    assert parameters["batch_tokens"].values == [131_072.0, 262_144.0]
    assert parameters["averaging"].values == ["ema", "none"]
    assert "schedule" not in parameters


def test_a_missing_parameter_is_named():
    said = refused([RATE, TOKENS])
    assert "has the parameters learning_rate, tokens, expected params too" in said


def test_a_missing_batch_is_named_where_the_space_has_several():
    said = refused([RATE, PARAMS, TOKENS], space=replace(SPACE, batch_tokens=[1e5, 2e5]))
    assert "expected batch_tokens too" in said


def test_a_parameter_the_tuner_cannot_choose_is_named_unless_it_is_fixed():
    decay = RangeParameterConfig("weight_decay", (0.0, 0.3), "float")
    assert "has the parameter weight_decay" in refused([RATE, PARAMS, TOKENS, decay])
    client = Client()
    fixed = ChoiceParameterConfig("weight_decay", [0.1], "float")
    client.configure_experiment(parameters=[*parameter_configs(SPACE), fixed])
    client.configure_optimization("-loss")
    client.set_generation_strategy(
        horizon_generation_strategy(TARGET, SPACE, 0.05 * TARGET.flops, **GIVEN)
    )
    ((_, run),) = client.get_next_trials(1).items()
    assert run["weight_decay"] == 0.1


def test_a_maximised_metric_is_refused():
    assert "the experiment maximises loss" in refused([RATE, PARAMS, TOKENS], "loss")


@pytest.mark.parametrize("objective", ["-loss, accuracy", "-loss - 2 * time"])
def test_several_metrics_are_refused(objective):
    assert "expected a single loss" in refused([RATE, PARAMS, TOKENS], objective)


def test_a_constrained_metric_is_refused():
    said = refused([RATE, PARAMS, TOKENS], outcome_constraints=["memory <= 80"])
    assert "optimises or constrains loss, memory" in said


@pytest.mark.parametrize(
    ("narrow", "named"),
    [
        (ChoiceParameterConfig("params", [6e7, 2.4e8], "float", is_ordered=True), "120000000.0"),
        (RangeParameterConfig("params", (5e7, 1e8), "float", scaling="log"), "120000000.0"),
        (RangeParameterConfig("tokens", (1e9, 2e9), "float", scaling="log"), "4000000000.0"),
        (RangeParameterConfig("learning_rate", (1e-3, 2e-2), "float"), "0.0001"),
    ],
)
def test_a_space_narrower_than_what_may_be_suggested_is_refused(narrow, named):
    parameters = [p for p in (RATE, PARAMS, TOKENS) if p.name != narrow.name]
    said = refused([*parameters, narrow])
    assert f"parameter {narrow.name} of the experiment" in said
    assert f"expected room for {named}" in said


def test_a_wider_space_of_whole_numbers_is_taken():
    client = Client()
    client.configure_experiment(
        parameters=[
            RATE,
            RangeParameterConfig("params", (1_000_000, 10**9), "int", scaling="log"),
            RangeParameterConfig("tokens", (10**6, 10**11), "int", scaling="log"),
        ]
    )
    client.configure_optimization("-loss")
    client.set_generation_strategy(
        horizon_generation_strategy(TARGET, SPACE, 0.05 * TARGET.flops, **GIVEN)
    )
    ((_, run),) = client.get_next_trials(1).items()
    assert run["params"] in (60_000_000, 120_000_000)
    assert isinstance(run["tokens"], int)


def test_trunks_with_branches_are_refused_since_a_trial_has_one_loss():
    branching = replace(SPACE, schedules=["wsd", "cosine"], cooldown=0.2)
    said = refused([RATE, PARAMS, TOKENS], space=branching)
    assert said.startswith("cooldown of the space is 0.2")
    with pytest.raises(InvalidSpaceError, match=r"cooldown of the space is 0\.2"):
        parameter_configs(branching)
