"""Weight decay: which decay goes with a learning rate, batch and horizon?"""

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.horizons import Horizon

#: Prefactor and exponent of the optimal timescale.
#: Source: Bergsma et al. (2025), "Power Lines", arXiv:2505.13738 (R² 0.975).
TIMESCALE_PREFACTOR = 1.084
TIMESCALE_EXPONENT = -0.527

SOURCE = "Bergsma et al. (2025), arXiv:2505.13738"


def optimal_timescale(horizon: Horizon) -> float:
    """The best timescale, `1.084 (D/N)^−0.527`, as a fraction of the run."""
    return TIMESCALE_PREFACTOR * (horizon.tokens / horizon.params) ** TIMESCALE_EXPONENT


def optimal_weight_decay(horizon: Horizon, learning_rate: float) -> float:
    """The decay that puts AdamW's averaging timescale, τ = B / (η λ D) runs, at its optimum.

        λ* = B / (τ* η D)

    It grows linearly with batch, which holds up to the critical batch only.
    """
    if horizon.batch_tokens is None:
        raise InvalidSpaceError(
            "batch_tokens is None, expected the tokens per step, because a timescale is counted "
            "in steps; give it"
        )
    return horizon.batch_tokens / (optimal_timescale(horizon) * learning_rate * horizon.tokens)
