"""Adapter: what does Ax's machinery ask of the tuner, and under which name does it find it?

Parameters reach the tuner as they are, without transforms: a logarithm taken and undone would move
the last bit. Ax's own training data are not used, since they leave out diverged, failed and
pending runs; the study is rebuilt from the experiment each time the model is fitted.
"""

from typing import Any

import numpy as np
from ax.adapter.base import Adapter, GenResults
from ax.adapter.data_utils import ExperimentData
from ax.adapter.registry import GeneratorRegistryBase, GeneratorSetup
from ax.core.observation import ObservationData, ObservationFeatures
from ax.core.optimization_config import OptimizationConfig
from ax.core.search_space import SearchSpace
from ax.exceptions.generation_strategy import GenerationStrategyCompleted
from ax.generators.types import TConfig

from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.ax.space import check_experiment, parameters_of
from horizon_bo.ax.trials import run_at, study_of_experiment
from horizon_bo.errors import BudgetExhaustedError


class BudgetSpentError(GenerationStrategyCompleted):
    """Nothing affordable is left; Ax takes this as the end of the optimisation.

    Args:
        message: What is left, and what the cheapest run costs.
        given: Runs of the same batch that did fit.
    """

    def __init__(self, message: str, given: int) -> None:
        super().__init__(message)
        self.given = given


class HorizonAdapter(Adapter):
    """Translates between an Ax experiment and a `HorizonGenerator`."""

    generator: HorizonGenerator

    def _fit(self, search_space: SearchSpace, experiment_data: ExperimentData) -> None:
        settings = self.generator.settings
        metric = check_experiment(self._experiment, settings.space)
        self.outcomes = [metric]
        self.generator.learn(study_of_experiment(settings, self._experiment, metric))

    def _gen(
        self,
        n: int,
        search_space: SearchSpace,
        optimization_config: OptimizationConfig | None,
        pending_observations: dict[str, list[ObservationFeatures]],
        fixed_features: ObservationFeatures | None,
        model_gen_options: TConfig | None,
    ) -> GenResults:
        fixed = fixed_features.parameters if fixed_features else {}
        given = self.generator.given(fixed)
        try:
            runs = self.generator.suggest(n, fixed)
        except BudgetExhaustedError as error:
            raise BudgetSpentError(str(error), given) from error
        if not runs:
            raise BudgetSpentError(
                f"{given} more runs fit into what is left of the budget, expected "
                f"{given + n}; make those first, then raise the budget or decide",
                given,
            )
        return GenResults(
            observation_features=[
                ObservationFeatures(
                    parameters=parameters_of(run, self._experiment.search_space),
                    metadata={"flops": run.flops},
                )
                for run in runs
            ],
            weights=[1.0] * len(runs),
            best_observation_features=self._best_so_far(),
            gen_metadata=self.generator.summary(),
        )

    def _best_so_far(self) -> ObservationFeatures | None:
        """The completed trial of lowest loss, for `Client.get_best_parameterization`."""
        finished = [t for t in self.generator.study.trials if t.loss is not None]
        if not finished:
            return None
        best = min(finished, key=lambda trial: trial.loss or 0.0)
        index = sorted(self._experiment.trials)[best.id]
        return ObservationFeatures.from_arm(self._experiment.trials[index].arms[0])

    def _predict(
        self,
        observation_features: list[ObservationFeatures],
        use_posterior_predictive: bool = False,
    ) -> list[ObservationData]:
        return self._predicted(observation_features, noisy=use_posterior_predictive)

    def _cross_validate(
        self,
        search_space: SearchSpace,
        cv_training_data: ExperimentData,
        cv_test_points: list[ObservationFeatures],
        use_posterior_predictive: bool = False,
    ) -> list[ObservationData]:
        kept = set(cv_training_data.arm_data.index.get_level_values("trial_index"))
        finished = {t.id for t in self.generator.study.trials if t.status == "completed"}
        return self._predicted(
            cv_test_points,
            noisy=use_posterior_predictive,
            without=frozenset(finished - kept),
        )

    def _predicted(self, features: list[ObservationFeatures], **how: Any) -> list[ObservationData]:
        settings = self.generator.settings
        runs = [run_at(settings, k, f.parameters) for k, f in enumerate(features)]
        return [
            ObservationData([*self.outcomes], np.array([mean]), np.array([[variance]]))
            for mean, variance in self.generator.predict(runs, **how).tolist()
        ]


class HorizonGenerators(GeneratorRegistryBase):
    """The tuner's entry among Ax's generators."""

    HORIZON = "HorizonBO"

    @property
    def GENERATOR_KEY_TO_GENERATOR_SETUP(self) -> dict[str, GeneratorSetup]:  # noqa: N802
        """Ax looks the setup up under the entry's value."""
        return {
            "HorizonBO": GeneratorSetup(
                adapter_class=HorizonAdapter,
                generator_class=HorizonGenerator,
                transforms=[],
                # the strategy keeps the study's settings; one copy a trial would be one too many
                not_saved_generator_kwargs=["study"],
            )
        }
