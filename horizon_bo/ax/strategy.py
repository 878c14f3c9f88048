"""Strategy: what is handed to `Client.set_generation_strategy`?"""

import json
from typing import Any

from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec

from horizon_bo.ax.adapter import HorizonGenerators
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.horizons import Horizon, SearchSpace
from horizon_bo.study.records import as_json, study_from, study_record
from horizon_bo.study.trials import Study

NAME = "horizon"


def horizon_generation_strategy(
    target: Horizon, space: SearchSpace, budget: float, **settings: Any
) -> GenerationStrategy:
    """Ax's whole plan for suggesting runs: one node, with the tuner in it.

    There is no Sobol start: the prior already knows more than that.

    Args:
        target: The run that will be trained once.
        space: The small runs that may be made; the experiment's parameters must have room for it.
        budget: Training compute the tuner may spend in all, in FLOP.
        settings: Further fields of `Study`: `seed`, `parametrization`, `prior_center`, `source`,
            `regret_tolerance`, `regret_risk`.
    """
    study = Study(target=target, space=space, budget=budget, **settings)
    record = json.loads(as_json(study_record(study)))  # as it will be after a reload
    spec = GeneratorSpec(HorizonGenerators.HORIZON, generator_kwargs={"study": record})
    # a repeated run is sometimes the best next one, so Ax must not refuse it
    node = GenerationNode(NAME, [spec], should_deduplicate=False)
    return GenerationStrategy(name=NAME, nodes=[node])


def study_settings(strategy: GenerationStrategy) -> Study:
    """The study, without trials, that a strategy was made for."""
    for node in strategy.nodes_by_name.values():
        for spec in node.generator_specs:
            if spec.generator_enum is HorizonGenerators.HORIZON:
                return study_from(spec.generator_kwargs["study"])
    raise InvalidSpaceError(
        f"the generation strategy {strategy.name} has no horizon node, expected one of "
        "horizon_generation_strategy; build the client with horizon_client"
    )
