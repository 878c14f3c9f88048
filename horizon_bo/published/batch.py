"""Batch: how many tokens per step are best, or still efficient, according to each law?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.validity import UNSTATED, Validity
from horizon_bo.study.horizons import Horizon

BatchKind = Literal["optimal", "critical"]


@dataclass(frozen=True, kw_only=True)
class BatchLaw:
    """A published law of batch size, in tokens per step.

        B = exp(prefactor) · N^a · D^b · C^c · L^l

    with C = 6 N D in FLOP (or the horizon's measured compute) and L the loss in nats.

    Args:
        name: What the command line calls it.
        kind: `"optimal"` minimises the loss at fixed tokens; `"critical"` is where doubling the
            batch stops saving steps.
        formula: The law in its source's own symbols and units.
        prefactor: Natural log; `None` where only the exponent is published.
        data: Names of the data it was fitted to.
        note: What a user should know; empty when nothing.
    """

    name: str
    kind: BatchKind
    formula: str
    prefactor: float | None
    source: str
    params: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0
    loss: float = 0.0
    validity: Validity = UNSTATED
    data: tuple[str, ...] = ()
    note: str = ""

    def batch_tokens(self, horizon: Horizon, loss: float | None = None) -> float:
        """Tokens per step at a horizon; `loss` in nats only where the law depends on it."""
        if self.prefactor is None:
            raise InvalidSpaceError(
                f"{self.name} states an exponent only, expected a law with a prefactor; "
                "use its ratio between two horizons"
            )
        return math.exp(self.prefactor + self._log_shape(horizon, loss))

    def log_ratio(self, start: Horizon, end: Horizon) -> float:
        """`ln B(end) / B(start)` for laws that do not depend on loss."""
        return self._log_shape(end, None) - self._log_shape(start, None)

    def _log_shape(self, horizon: Horizon, loss: float | None) -> float:
        if self.loss and loss is None:
            raise InvalidSpaceError(
                f"loss is None, expected nats per token, because {self.name} depends on it; give it"
            )
        return (
            self.params * math.log(horizon.params)
            + self.tokens * math.log(horizon.tokens)
            + self.flops * math.log(horizon.flops)
            + (self.loss * math.log(loss) if self.loss and loss is not None else 0.0)
        )

    def remarks(self, horizon: Horizon) -> tuple[str, ...]:
        """What to tell a user who applies the law to that horizon."""
        return self.validity.remarks(
            f"batch law {self.name}",
            params=horizon.params,
            tokens=horizon.tokens,
            flops=horizon.flops,
        )


_POWER_LINES = "Bergsma et al. (2025), arXiv:2505.13738"

#: Every batch law by name.
BATCH_LAWS: Mapping[str, BatchLaw] = MappingProxyType(
    {
        law.name: law
        for law in (
            BatchLaw(
                name="step",
                kind="optimal",
                formula="B* = 0.58 D^0.571 tokens",
                prefactor=math.log(0.58),
                tokens=0.571,
                validity=Validity(tokens=(4e9, 1e11)),
                data=("steplaw", "scalebench", "steplaw_dense"),
                source="Li et al. (2025), arXiv:2503.04715",
            ),
            BatchLaw(
                name="deepseek",
                kind="optimal",
                formula="B* = 0.2920 C^0.3271 tokens, C in FLOP",
                prefactor=math.log(0.2920),
                flops=0.3271,
                validity=Validity(flops=(1e17, 2e20)),
                data=("deepseek",),
                source="Bi et al. (2024), arXiv:2401.02954",
            ),
            BatchLaw(
                name="porian",
                kind="optimal",
                formula="B* = 0.7576 N^0.703 tokens (0.00037 N^0.703 sequences of 2048)",
                prefactor=math.log(0.7576),
                params=0.703,
                validity=Validity(params=(5e6, 9.01e8)),
                data=("porian",),
                source="Porian et al. (2024), arXiv:2406.19146",
            ),
            BatchLaw(
                name="kaplan-critical",
                kind="critical",
                formula="B_crit = 2e8 / L^(1/0.21) tokens, L in nats",
                prefactor=math.log(2e8),
                loss=-1 / 0.21,
                data=("kaplan",),
                source="Kaplan et al. (2020), arXiv:2001.08361",
            ),
            BatchLaw(
                name="power-lines-optimal",
                kind="optimal",
                formula="B_opt ∝ D^0.383 (0.367 to 0.391)",
                prefactor=None,
                tokens=0.383,
                data=("power-lines",),
                source=_POWER_LINES,
            ),
            BatchLaw(
                name="power-lines-critical",
                kind="critical",
                formula="B_crit ∝ D^0.462",
                prefactor=None,
                tokens=0.462,
                data=("power-lines",),
                source=_POWER_LINES,
                note="another fit of the same paper gives 0.47",
            ),
        )
    }
)


def batch_law(name: str) -> BatchLaw:
    """The law of that name, or an error that lists the names there are."""
    if name not in BATCH_LAWS:
        raise InvalidSpaceError(
            f"batch law is {name!r}, expected one of {', '.join(BATCH_LAWS)}; "
            "see `horizon-bo law list`"
        )
    return BATCH_LAWS[name]


def steps_and_tokens(
    batch_tokens: float, critical: float, least_tokens: float
) -> tuple[float, float]:
    """Steps and tokens that reach one loss at a batch, when the least tokens are known.

        (S/S_min − 1)(E/E_min − 1) = 1,   B_crit = E_min/S_min,   B = E/S

    so that E = E_min (1 + B/B_crit) and S = S_min (1 + B_crit/B).

    Args:
        batch_tokens: Tokens per step, B.
        critical: Critical batch, tokens.
        least_tokens: Tokens needed at vanishing batch, E_min.

    Source: McCandlish et al. (2018), arXiv:1812.06162.
    """
    tokens = least_tokens * (1.0 + batch_tokens / critical)
    return tokens / batch_tokens, tokens


def sgd_rate_factor(batch_tokens: float, noise_scale: float) -> float:
    """Optimal SGD rate at a batch over its large-batch limit, `1 / (1 + B_n/B)`.

    Source: McCandlish et al. (2018), arXiv:1812.06162.
    """
    return 1.0 / (1.0 + noise_scale / batch_tokens)


def adam_rate_factor(batch_tokens: float, noise_scale: float) -> float:
    """Optimal Adam rate at a batch over its peak: it surges, peaks at B_n and falls again.

        ε/ε_max = 1 / [½ (√(B_n/B) + √(B/B_n))]  =  sech(½ ln B/B_n)

    Source: Li et al. (2024), "Surge phenomenon", arXiv:2405.14578.
    """
    return 1.0 / math.cosh(0.5 * math.log(batch_tokens / noise_scale))
