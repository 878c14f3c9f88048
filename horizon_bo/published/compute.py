"""Compute: how should a budget be split between size and data, and what does another split cost?"""

from dataclasses import dataclass

import numpy as np

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.batch import BatchLaw
from horizon_bo.published.loss import ChinchillaLaw
from horizon_bo.study.horizons import FLOPS_PER_PARAM_TOKEN, Horizon


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A split of a compute budget.

    Args:
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        loss: Predicted loss, nats per token.
        batch_tokens: Tokens per step; `None` when no batch law was asked.
    """

    params: float
    tokens: float
    loss: float
    batch_tokens: float | None = None


def compute_optimal(law: ChinchillaLaw, flops: float, batch: BatchLaw | None = None) -> Allocation:
    """The size and horizon that reach the lowest loss for a budget in FLOP.

        N = G (C/6)^{β/(α+β)},   D = (C/6)/N,   G = (α A / β B)^{1/(α+β)}

    Exact for this law. Source: Hoffmann et al. (2022), arXiv:2203.15556, eq. 4.
    """
    if not flops > 0:
        raise InvalidSpaceError(f"flops is {flops!r}, expected > 0; give the budget in FLOP")
    alpha, beta = law.params_exponent, law.tokens_exponent
    product = flops / FLOPS_PER_PARAM_TOKEN
    gain = (alpha * law.params_scale / (beta * law.tokens_scale)) ** (1.0 / (alpha + beta))
    params = gain * product ** (beta / (alpha + beta))
    tokens = product / params
    horizon = Horizon(params=params, tokens=tokens)
    return Allocation(
        params=params,
        tokens=tokens,
        loss=float(law.loss(params, tokens)),
        batch_tokens=None if batch is None else batch.batch_tokens(horizon),
    )


def tokens_factor(law: ChinchillaLaw, params_factor: float, horizon: Horizon) -> float:
    """How many times more tokens a model of another size needs for the same loss.

        k_D = (1 − (k_N^−α − 1) · A N^−α / (B D^−β))^{−1/β}

    Infinite where no amount of data makes up for the missing params.

    Args:
        law: The loss law.
        params_factor: k_N, size relative to the horizon's.
        horizon: The run that is replaced.

    Source: de Vries (2023), "Go smol or go home".
    """
    share = float(law.capacity(horizon.params) / law.data(horizon.tokens))
    left = 1.0 - (params_factor**-law.params_exponent - 1.0) * share
    return left ** (-1.0 / law.tokens_exponent) if left > 0.0 else float("inf")


def smaller_model_overhead(law: ChinchillaLaw, params_factor: float, flops: float) -> float:
    """Extra compute, as a fraction, of a model smaller than the compute-optimal one.

        k_N k_D − 1

    The same at every budget: at the optimum A N^−α / (B D^−β) = β/α.

    Args:
        law: The loss law.
        params_factor: Size relative to the compute-optimal one.
        flops: The budget whose optimum is replaced, FLOP.
    """
    best = compute_optimal(law, flops)
    horizon = Horizon(params=best.params, tokens=best.tokens)
    return params_factor * tokens_factor(law, params_factor, horizon) - 1.0


def equivalent_tokens(law: ChinchillaLaw, horizon: Horizon, excess_loss: float) -> float:
    """Tokens that a well-tuned run needs for the loss of one that lies `excess_loss` above it.

        B / D'^β = B / D^β + ΔL

    Args:
        law: The loss law.
        horizon: The run as trained.
        excess_loss: Nats above the loss that the law promises.
    """
    data = float(law.data(horizon.tokens)) + excess_loss
    return float(np.exp((np.log(law.tokens_scale) - np.log(data)) / law.tokens_exponent))
