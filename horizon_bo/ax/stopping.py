"""Stopping: when does Ax's orchestrator end a study, and what does it say?"""

from typing import Any

from ax.core.experiment import Experiment
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.global_stopping.strategies.base import BaseGlobalStoppingStrategy

from horizon_bo.ax.client import fitted_generator


class HorizonStopping(BaseGlobalStoppingStrategy):
    """Stop when the recommendation says so: the budget is spent, or another run would not pay.

    Args:
        strategy: The generation strategy of the experiment.
    """

    def __init__(self, strategy: GenerationStrategy) -> None:
        super().__init__(min_trials=0, inactive_when_pending_trials=True)
        self.strategy = strategy

    def _should_stop_optimization(self, experiment: Experiment, **_: Any) -> tuple[bool, str]:
        answer = fitted_generator(self.strategy, experiment).recommend()
        return answer.stop, answer.reason
