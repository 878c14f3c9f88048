"""Ablations: what is each idea of the tuner worth?

Each is the tuner with one idea taken out; what is left is what `horizon` uses.

- `no-law`: no power law of the optimum and of the curvature. Their exponents are held at zero, and
  a Gaussian process over cells, four times as wide as the drift, has to find the trend.
- `no-drift`: the optimum follows its power law strictly; neither drift nor bend.
- `point-estimate`: the most probable coefficient set instead of the posterior.
- `wide-exponents`: exponents of the optimum half as wide again, for sweeps unlike those that the
  prior was taken from.
- `greedy`: the single run that tells most per FLOP, instead of the first of a plan for the budget.

Random runs instead of chosen ones are the method `horizon-random`; other prior centres, other
batches in the pool or not, and the plain parametric fit are columns and rows of the main tables.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from horizon_bo.core import policy, surrogate
from horizon_bo.core.botorch import HorizonModel, RegretReductionPerCost
from horizon_bo.core.conditioning import condition
from horizon_bo.core.inference import Belief, believe, believe_with, placed
from horizon_bo.core.linearized import Known
from horizon_bo.core.points import Candidates, Runs
from horizon_bo.core.priors import Prior, Priors
from horizon_bo.core.sampler import Posterior, sample
from horizon_bo.evaluation.replay import Method, suggested_row
from horizon_bo.study.trials import Study, Trial

#: A coefficient that is held: its scale cannot be zero, because coordinates are divided by nothing.
_HELD = 1e-6


#: How much wider the exponents of `wide-exponents` are.
_WIDER = 1.5


def _no_law(priors: Priors) -> Priors:
    slopes = [name for name in priors.names if "_per_" in name and not name.startswith("noise")]
    held = {name: Prior(0.0, _HELD) for name in slopes}
    return priors.held({**held, "log_drift_sd": Prior(math.log(0.6), 0.5)})


def _no_drift(priors: Priors) -> Priors:
    return priors.held({"log_drift_sd": Prior(-12.0, _HELD)})


def _wide_exponents(priors: Priors) -> Priors:
    names = ("optimum_per_params", "optimum_per_tokens")
    return priors.held({n: priors[n]._replace(scale=_WIDER * priors[n].scale) for n in names})


def _as_it_is(priors: Priors) -> Priors:
    return priors


def _likeliest_sampled(runs: Runs, priors: Priors, generator: np.random.Generator) -> Posterior:
    """The posterior shrunk to its likeliest set; before the first run all sets are alike."""
    posterior = sample(runs, priors, generator)
    return _likeliest(posterior, runs, priors) if len(runs) else posterior


def _likeliest(posterior: Posterior, runs: Runs, priors: Priors) -> Posterior:
    density = posterior.fit.log_likelihood - (posterior.z**2).sum(-1) / 2
    best = int(density.argmax())
    z = np.tile(posterior.z[best], (len(posterior.z), 1))
    noise_scale = np.tile(posterior.noise_scale[best], (len(z), 1))
    return replace(
        posterior, z=z, noise_scale=noise_scale, fit=condition(z, noise_scale, runs, priors)
    )


def _without_bend(method: Method) -> Method:
    """The method with a law of the optimum that has no bend either, a constant of the surrogate."""

    def straight(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            before, surrogate.BEND_SD = surrogate.BEND_SD, (0.0, 0.0, 0.0)
            try:
                return function(*given)
            finally:
                surrogate.BEND_SD = before

        return call

    return Method(*(straight(f) for f in (method.believe, method.recommend, method.pick)))


def greedy_row(study: Study, belief: Belief, pool: Sequence[Trial]) -> Trial | None:
    """The row with the largest fall of expected regret per FLOP by itself."""
    points = placed(study, pool, belief.recipes)
    cost = np.array([trial.flops for trial in pool])
    none = Candidates(points, cost).select(np.empty(0, dtype=int))
    rows = torch.tensor(np.column_stack([points.log_lr, points.log_scales]))
    prices = dict(zip(map(tuple, rows.tolist()), np.log(cost).tolist(), strict=True))
    worth = RegretReductionPerCost(
        HorizonModel(belief),
        Known(belief.posterior, belief.runs, none),
        lambda x: torch.tensor([prices[tuple(row)] for row in x.tolist()], dtype=torch.float64),
    )
    with torch.no_grad():
        return pool[int(worth(rows[:, None, :]).argmax())]


def _ours_with(
    priors_of: Callable[[Priors], Priors],
    sampler: Callable[[Runs, Priors, np.random.Generator], Posterior] = sample,
) -> Method:
    """The tuner under other priors, or with another sampler."""
    believe = partial(believe_with, priors_of=priors_of, sampler=sampler)
    return Method(believe, policy.recommend, suggested_row)


ABLATIONS: Mapping[str, Method] = MappingProxyType(
    {
        "no-law": _ours_with(_no_law),
        "no-drift": _without_bend(_ours_with(_no_drift)),
        "wide-exponents": _ours_with(_wide_exponents),
        "point-estimate": _ours_with(_as_it_is, _likeliest_sampled),
        "greedy": Method(believe, policy.recommend, greedy_row),
    }
)
