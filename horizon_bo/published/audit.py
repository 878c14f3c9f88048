"""Audit: how far is a run's learning rate from the laws' optimum, and what does that cost?"""

import math
from dataclasses import dataclass

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.compute import equivalent_tokens
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.published.loss import chinchilla_law
from horizon_bo.study.horizons import FLOPS_PER_PARAM_TOKEN, Horizon, positive

#: Relative curvature of loss in ln LR, `k = L⁻¹ d²L/d(ln η)²`, at the centre below, and how it
#: varies: a regression over the 156 curves of Step Law's grid with an optimum inside.
CURVATURE = math.exp(-4.195)
CURVATURE_CENTER = Horizon(params=3.67e8, tokens=2.15e10, batch_tokens=5.77e5)
CURVATURE_EXPONENTS = {"params": 0.09, "tokens": -0.265, "batch_tokens": 0.072}

#: Overshooting costs more: median asymmetry s of the bowl (e^{su} − su − 1)/s² on the same curves.
ASYMMETRY = 0.75

#: Octaves beyond which the bowl has not been measured.
_MEASURED_OCTAVES = 2.0


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a law says of a run's rate.

    Args:
        law: The law's name.
        source: Where it is published.
        learning_rate: The rate that is audited.
        optimal_learning_rate: The law's optimum.
        octaves: `log2` of the rate over the optimum; positive means too high.
        excess_loss: Expected loss above the optimum's, nats per token.
        equivalent_flops: Compute that a run at the optimum would save for the same loss, FLOP.
        flops_fraction: The same over the run's compute.
        remarks: What a user should know.
    """

    law: str
    source: str
    learning_rate: float
    optimal_learning_rate: float
    octaves: float
    excess_loss: float
    equivalent_flops: float
    flops_fraction: float
    remarks: tuple[str, ...]


def audit(run: Horizon, learning_rate: float, law: str) -> Audit:
    """Judge a planned or past run's peak rate by one law.

    The excess is the asymmetric bowl's, with the curvature measured on Step Law's grid carried to
    the run; compute is valued by Chinchilla's law of tokens.

    Args:
        run: The run; its batch refines the curvature when known.
        learning_rate: Its peak rate.
        law: Name of a law that states a rate.
    """
    rate = positive(learning_rate, "learning_rate", InvalidSpaceError, "give the run's peak rate")
    chosen = learning_rate_law(law)
    best = chosen.learning_rate(run)
    offset = math.log(rate / best)
    chinchilla = chinchilla_law("chinchilla")
    excess = relative_excess(run, offset) * float(chinchilla.loss(run.params, run.tokens))
    tokens_worth = equivalent_tokens(chinchilla, run, excess)
    saved = FLOPS_PER_PARAM_TOKEN * run.params * (run.tokens - tokens_worth)
    octaves = offset / math.log(2.0)
    remarks = list(chosen.remarks(run))
    if chosen.note:
        remarks.append(f"{law}: {chosen.note}")
    if abs(octaves) > _MEASURED_OCTAVES:
        remarks.append(
            f"the cost of {octaves:+.1f} octaves is extrapolated from bowls measured to "
            f"{_MEASURED_OCTAVES:.0f}"
        )
    return Audit(
        law=law,
        source=chosen.source,
        learning_rate=rate,
        optimal_learning_rate=best,
        octaves=octaves,
        excess_loss=excess,
        equivalent_flops=saved,
        flops_fraction=1.0 - tokens_worth / run.tokens,
        remarks=tuple(remarks),
    )


def relative_excess(run: Horizon, offset: float) -> float:
    """Loss above the optimum's, as a fraction of it, at `ln η/η*`.

    k (e^{su} − su − 1) / s²
    """
    su = ASYMMETRY * offset
    return relative_curvature(run) * (math.expm1(su) - su) / ASYMMETRY**2


def relative_curvature(run: Horizon) -> float:
    """Curvature of loss in ln LR over the loss, carried to a run; flatter with more tokens."""
    log_curvature = math.log(CURVATURE)
    for name, exponent in CURVATURE_EXPONENTS.items():
        value = getattr(run, name)
        if value is not None:
            log_curvature += exponent * math.log(value / getattr(CURVATURE_CENTER, name))
    return math.exp(log_curvature)
