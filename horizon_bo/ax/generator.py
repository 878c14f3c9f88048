"""Generator: how does the core of the package think inside Ax?

There is no second model: a `HorizonGenerator` holds the study rebuilt from Ax's trials, and asks
`horizon_bo.core.policy` for runs and recommendations, as `HorizonTuner` does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ax.generators.base import Generator
from jaxtyping import Float
from torch import Tensor

from horizon_bo.core import policy
from horizon_bo.core.batch.choice import decided, settled
from horizon_bo.core.botorch import HorizonModel, MatchedModel
from horizon_bo.core.inference import Belief
from horizon_bo.store.posteriors import believe
from horizon_bo.store.threads import one_thread
from horizon_bo.study.horizons import Scale, SearchSpace
from horizon_bo.study.records import study_from
from horizon_bo.study.trials import Study, Suggestion, Trial, log_inputs

#: Fields of a search space that list the values of an Ax parameter.
_LISTS = {
    "tokens": "tokens",
    "batch_tokens": "batch_tokens",
    "schedule": "schedules",
    "averaging": "averagings",
}
#: A plan is at least this long, so that asking for fewer runs of it costs no more.
_PLANNED = 24


class HorizonGenerator(Generator):
    """Suggests runs and predicts losses for a study.

    Args:
        study: The study without trials, as `records.study_record` writes it.
    """

    can_predict = True  # type: ignore[assignment]  # a property of Ax's contract
    can_model_in_sample = True  # type: ignore[assignment]

    def __init__(self, study: Mapping[str, Any]) -> None:
        self.settings = study_from(study)
        self.study = self.settings
        self._believed: tuple[Study, Belief] | None = None
        self._model: tuple[Study, HorizonModel] | None = None
        self._given: dict[str, int] = {}

    def learn(self, study: Study) -> None:
        """Take the study as it stands; runs given since the last call are trials of it or lost."""
        self.study = study
        self._given = {}

    @property
    def belief(self) -> Belief:
        """What the study makes one believe, inferred once for each state of it."""
        if self._believed is None or self._believed[0] != self.study:
            with one_thread():
                self._believed = (self.study, settled(self.study, believe(self.study)))
        return self._believed[1]

    @property
    def model(self) -> HorizonModel:
        """The surrogate as a BoTorch model."""
        if self._model is None or self._model[0] != self.study:
            with one_thread():
                self._model = (self.study, HorizonModel(self.belief))
        return self._model[1]

    def given(self, fixed: Mapping[str, Any]) -> int:
        """How many runs with these fixed values were given since the study was learnt."""
        return self._given.get(str(sorted(fixed.items())), 0)

    def suggest(self, n: int, fixed: Mapping[str, Any]) -> tuple[Suggestion, ...]:
        """The next `n` runs of the plan, after those given since the study was learnt.

        Ax asks for the runs of one batch one at a time; they are those of `tuner.suggest(n)`.

        Args:
            n: How many runs.
            fixed: Values, by parameter, that all of them must have.

        Raises:
            BudgetExhaustedError: No run at all fits into what is left of the budget.
        """
        given = self.given(fixed)
        wanted = max(_PLANNED, given + n)
        study = self.study
        if fixed:
            study = replace(study, space=_narrowed(study.space, fixed))
        with one_thread():
            plan = policy.suggest(study, self.belief, n=wanted)
        chosen = plan[given : given + n]
        self._given[str(sorted(fixed.items()))] = given + len(chosen)
        return chosen

    def recommend(self) -> policy.Recommendation:
        """The rate to train the target with."""
        with one_thread():
            return policy.recommend(self.study, self.belief)

    def summary(self) -> dict[str, Any]:
        """What is believed now, as Ax keeps it with each suggested run; spend in target runs."""
        decision = decided(self.study, self.belief)
        scale = self.belief.loss_scale
        low, high = np.exp(decision.log_interval_90).tolist()
        return {
            "learning_rate": math.exp(decision.log_lr),
            "interval_90": [low, high],
            "expected_regret": decision.expected_regret * scale,
            "spent": self.study.spent / self.study.target.flops,
        }

    def predict(
        self, runs: Sequence[Trial], *, noisy: bool = False, without: frozenset[int] = frozenset()
    ) -> Float[Tensor, "run 2"]:
        """Mean and variance of the loss of each run, in the study's unit.

        Args:
            runs: The runs; schedule and averaging are taken to be the target's.
            noisy: Add the noise of a single run.
            without: Ids of trials whose outcomes are to be forgotten, the coefficients kept.
        """
        inputs = [log_inputs(run, self.study.target) for run in runs]
        X = torch.tensor(inputs, dtype=torch.float64).unsqueeze(1)
        with one_thread(), torch.no_grad():
            if without:
                model = HorizonModel(_forgetting(self.study, self.belief, without))
            else:
                model = self.model
            mean, covariance = MatchedModel(model).moments(X, noisy=noisy)
        return torch.cat([mean, covariance.squeeze(-1)], -1)


def _forgetting(study: Study, belief: Belief, ids: frozenset[int]) -> Belief:
    """The belief without some outcomes, but with the coefficients that they helped to infer."""
    finished = [trial.id for trial in study.informing]
    if len(finished) != len(belief.runs.loss):  # many runs were condensed into fewer
        lost = [replace(t, status="failed", loss=None) if t.id in ids else t for t in study.trials]
        return believe(replace(study, trials=tuple(lost)))
    kept = np.array([trial_id not in ids for trial_id in finished])
    posterior = replace(belief.posterior, noise_scale=belief.posterior.noise_scale[:, kept])
    return replace(belief, runs=belief.runs.select(kept), posterior=posterior)


def _narrowed(space: SearchSpace, fixed: Mapping[str, Any]) -> SearchSpace:
    """The runs of a search space that have some values fixed."""
    changes: dict[str, Any] = {}
    for name, value in fixed.items():
        if name == "learning_rate":
            changes[name] = (value, value)
        elif name == "params":
            known = [scale for scale in space.scales if scale.params == value]
            changes["scales"] = known or [Scale(params=value)]
        elif name in _LISTS:
            changes[_LISTS[name]] = [value]
    return replace(space, **changes)
