"""Space: which parameters does an Ax experiment need, and does it have them?

`learning_rate`, `params`, `tokens` and, where a search space allows a choice, `batch_tokens`,
`schedule` and `averaging` are Ax parameters of those names. The target need not be among their
values, and usually is not.
"""

from collections.abc import Mapping
from typing import Any

from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.core.experiment import Experiment
from ax.core.parameter import ChoiceParameter, FixedParameter, Parameter
from ax.core.search_space import SearchSpace as AxSearchSpace

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.horizons import SearchSpace
from horizon_bo.study.trials import Suggestion, Trial

ParameterConfig = RangeParameterConfig | ChoiceParameterConfig


def values_on_offer(space: SearchSpace) -> Mapping[str, Any]:
    """Values of each Ax parameter a search space asks for: a tuple is a range, a list the values.

    Batch, schedule and averaging are left out where every run has the target's.

    Raises:
        InvalidSpaceError: The space has a cooldown: a trial of Ax reads one loss, a trunk several.
    """
    if space.cooldown is not None:
        raise InvalidSpaceError(
            f"cooldown of the space is {space.cooldown:g}, expected none in Ax, whose trials have "
            "one loss each while a trunk has several; leave it out or use HorizonTuner"
        )
    offered = {
        "learning_rate": space.learning_rate,
        "params": sorted({scale.params for scale in space.scales}),
        "tokens": space.tokens,
        "batch_tokens": space.batch_tokens and list(space.batch_tokens),
        "schedule": space.schedules and list(space.schedules),
        "averaging": space.averagings and list(space.averagings),
    }
    return {name: values for name, values in offered.items() if values}


def parameter_configs(space: SearchSpace) -> list[ParameterConfig]:
    """A search space as parameters for `Client.configure_experiment`."""
    return [_config(name, values) for name, values in values_on_offer(space).items()]


def parameters_of(run: Suggestion | Trial, space: AxSearchSpace) -> dict[str, Any]:
    """A run as a point of an Ax search space."""
    return {
        name: _point(parameter, getattr(run, name, None))
        for name, parameter in space.parameters.items()
    }


def check_experiment(experiment: Experiment, space: SearchSpace) -> str:
    """The loss metric's name, once it is clear that the tuner can work on an experiment.

    Raises:
        InvalidSpaceError: A parameter is missing, unknown or narrower than the space, or the
            objective is not a single loss to be minimised.
    """
    parameters = experiment.search_space.parameters
    offered = values_on_offer(space)
    for name, values in offered.items():
        if name not in parameters:
            raise InvalidSpaceError(
                f"the experiment has the parameters {', '.join(sorted(parameters))}, expected "
                f"{name} too; add parameter_configs(space) to it, or build it with horizon_client"
            )
        _check_width(parameters[name], values)
    for name, parameter in parameters.items():
        if name not in offered and not isinstance(parameter, FixedParameter):
            raise InvalidSpaceError(
                f"the experiment has the parameter {name}, expected only {', '.join(offered)}; "
                "fix its value, the tuner has nothing to choose it by"
            )
    return loss_metric(experiment)


def loss_metric(experiment: Experiment) -> str:
    """The name of the one metric that an experiment minimises."""
    config = experiment.optimization_config
    if config is None:
        raise InvalidSpaceError(
            "the experiment has no objective, expected a loss to be minimised; "
            "call client.configure_optimization('-loss')"
        )
    names = sorted(config.metric_names)
    if len(names) != 1 or config.all_constraints:
        raise InvalidSpaceError(
            f"the experiment optimises or constrains {', '.join(names)}, expected a single loss; "
            "track the other metrics without making them objectives or constraints"
        )
    if not config.objective.minimize:
        raise InvalidSpaceError(
            f"the experiment maximises {names[0]}, expected a loss to be minimised; "
            f"call client.configure_optimization('-{names[0]}')"
        )
    return names[0]


def _point(parameter: Parameter, value: Any) -> Any:
    """The value as an Ax parameter takes it; Ax needs one even where none is known."""
    if isinstance(parameter, FixedParameter):
        return parameter.value
    if value is not None:
        return parameter.cast(value)
    return parameter.values[0] if isinstance(parameter, ChoiceParameter) else None


def _check_width(parameter: Parameter, values: Any) -> None:
    """Refuse a parameter that would not take every value the tuner may suggest."""
    missing = [value for value in values if not parameter.validate(parameter.cast(value))]
    if missing:
        raise InvalidSpaceError(
            f"parameter {parameter.name} of the experiment is {parameter}, expected room for "
            f"{missing[0]!r}; widen it, or take that value out of the SearchSpace"
        )


def _config(name: str, values: Any) -> ParameterConfig:
    if isinstance(values, tuple) and values[0] < values[1]:
        return RangeParameterConfig(name, values, "float", scaling="log")
    several = sorted(set(values))
    if isinstance(several[0], str):
        return ChoiceParameterConfig(name, several, "str", is_ordered=False)
    return ChoiceParameterConfig(name, several, "float", is_ordered=True)
