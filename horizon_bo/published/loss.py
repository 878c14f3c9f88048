"""Loss: what a run of a given size and length should reach, according to each loss law?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.validity import UNSTATED, Validity

#: A count, or several that broadcast.
Counts = float | list[float] | NDArray[np.float64]
#: Arrays, or a number where all arguments were numbers.
FloatArray = NDArray[np.float64] | float


@dataclass(frozen=True, kw_only=True)
class ChinchillaLaw:
    """The sum of an irreducible loss, a term of size and a term of data.

        L(N, D) = E + A / N^α + B / D^β

    Source: Hoffmann et al. (2022), arXiv:2203.15556, approach 3.
    """

    name: str
    irreducible: float  # E, nats
    params_scale: float  # A
    params_exponent: float  # α
    tokens_scale: float  # B
    tokens_exponent: float  # β
    source: str
    formula: str = "L = E + A/N^α + B/D^β"
    validity: Validity = UNSTATED

    def capacity(self, params: Counts) -> FloatArray:
        """`A / N^α`, what a finite model adds, in nats."""
        return self.params_scale * _counts(params) ** -self.params_exponent

    def data(self, tokens: Counts) -> FloatArray:
        """`B / D^β`, what finite data add, in nats."""
        return self.tokens_scale * _counts(tokens) ** -self.tokens_exponent

    def loss(self, params: Counts, tokens: Counts) -> FloatArray:
        """Loss in nats per token."""
        return self.irreducible + self.capacity(params) + self.data(tokens)


@dataclass(frozen=True, kw_only=True)
class KaplanLaw:
    """Size and data as two bottlenecks of one power.

        L(N, D) = [ (N_c/N)^(α_N/α_D) + D_c/D ]^α_D

    Source: Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5.
    """

    name: str
    params_scale: float  # N_c
    params_exponent: float  # α_N
    tokens_scale: float  # D_c
    tokens_exponent: float  # α_D
    source: str
    formula: str = "L = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D"
    validity: Validity = UNSTATED

    def loss(self, params: Counts, tokens: Counts) -> FloatArray:
        """Loss in nats per token; infinite tokens or params leave the other bottleneck alone."""
        size = (self.params_scale / _counts(params)) ** (
            self.params_exponent / self.tokens_exponent
        )
        return (size + self.tokens_scale / _counts(tokens)) ** self.tokens_exponent


@dataclass(frozen=True, kw_only=True)
class DataConstrainedLaw:
    """Chinchilla's form when tokens repeat: epochs and excess params lose their value.

        D' = U + U R_D (1 − e^{−R/R_D}),   R = D/U − 1 repetitions
        N' = U_N + U_N R_N (1 − e^{−R'/R_N}),   R' = N/U_N − 1

    where U is the unique tokens and U_N the params that are compute-optimal for them. Below U_N
    and within the first epoch nothing is discounted. The base law is Chinchilla's, not the
    source's own refit of it.

    Source: Muennighoff et al. (2023), arXiv:2305.16264.
    """

    name: str
    base: ChinchillaLaw
    tokens_decay: float  # R_D
    params_decay: float  # R_N
    source: str
    formula: str = "L = E + A/N'^α + B/D'^β; D' = U + U R_D (1 - e^(-R/R_D)), R = D/U - 1"
    validity: Validity = UNSTATED

    def effective_tokens(self, tokens: Counts, unique_tokens: Counts) -> FloatArray:
        """Fresh tokens that would have been worth the same, a count."""
        return _saturating(_counts(tokens), _counts(unique_tokens), self.tokens_decay)

    def effective_params(self, params: Counts, unique_tokens: Counts) -> FloatArray:
        """Params that would be worth the same if data were not short, a count."""
        return _saturating(
            _counts(params), balanced_params(self.base, unique_tokens), self.params_decay
        )

    def loss(
        self, params: Counts, tokens: Counts, unique_tokens: Counts | None = None
    ) -> FloatArray:
        """Loss in nats per token; without `unique_tokens` nothing repeats."""
        if unique_tokens is None:
            return self.base.loss(params, tokens)
        return self.base.loss(
            self.effective_params(params, unique_tokens),
            self.effective_tokens(tokens, unique_tokens),
        )


def balanced_params(law: ChinchillaLaw, tokens: Counts) -> FloatArray:
    """Params for which those tokens are compute-optimal.

        α A / N^α = β B / D^β

    Args:
        law: The loss law that the balance is struck under.
        tokens: Training tokens, a count.
    """
    ratio = law.tokens_exponent * law.data(tokens) / (law.params_exponent * law.params_scale)
    return ratio ** (-1.0 / law.params_exponent)


def _saturating(amount: FloatArray, unit: FloatArray, decay: float) -> FloatArray:
    repeats = np.maximum(amount / unit - 1.0, 0.0)
    return np.minimum(amount, unit) - unit * decay * np.expm1(-repeats / decay)


@dataclass(frozen=True, kw_only=True)
class BrokenPowerLaw:
    """A power law that changes exponent smoothly at breaks.

        y = a + b x^−c₀ Π_i (1 + (x/d_i)^{1/f_i})^{−c_i f_i}

    Source: Caballero et al. (2023), arXiv:2210.14891, eq. 1.

    Args:
        limit: a, the value at infinite x, nats.
        scale: b.
        exponent: c₀, the exponent before the first break.
        breaks: `(c_i, d_i, f_i)`: change of exponent, place and sharpness of each break.
    """

    limit: float
    scale: float
    exponent: float
    breaks: tuple[tuple[float, float, float], ...] = ()

    def loss(self, x: Counts) -> FloatArray:
        """Loss at any one measure of scale x > 0: params, tokens or compute."""
        log_x = np.log(_counts(x))
        log_term = math.log(self.scale) - self.exponent * log_x
        for change, place, sharpness in self.breaks:
            # logaddexp(0, u) = ln(1 + e^u) without overflow far past a break
            bend = np.logaddexp(0.0, (log_x - math.log(place)) / sharpness)
            log_term = log_term - change * sharpness * bend
        return self.limit + np.exp(log_term)


@dataclass(frozen=True, kw_only=True)
class ConvexBoundLaw:
    """Loss of one model against learning rate and steps, as convex optimisation bounds it.

        L(η, T) = L∞ + q₁² / (T η) + q₂² η
                = L∞ + (2 q₁ q₂ / √T) cosh u,   u = ln η/η*,   η* = q₁ / (q₂ √T)

    Source: Bu et al. (2026), "Convex Dominance I", arXiv:2602.07145.

    Args:
        limit: L∞, nats.
        distance: q₁, how far the weights have to travel.
        noise: q₂, how large the gradients are.
    """

    limit: float
    distance: float
    noise: float

    def optimal_learning_rate(self, steps: Counts) -> FloatArray:
        """The rate of the lowest loss after that many steps."""
        return self.distance / (self.noise * np.sqrt(_counts(steps)))

    def loss(self, learning_rate: Counts, steps: Counts) -> FloatArray:
        """Loss in nats per token."""
        eta, count = _counts(learning_rate), _counts(steps)
        return self.limit + self.distance**2 / (count * eta) + self.noise**2 * eta


#: Any law of the final loss of well-tuned runs.
LossLaw = ChinchillaLaw | KaplanLaw | DataConstrainedLaw


def _counts(values: Counts) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


CHINCHILLA = ChinchillaLaw(
    name="chinchilla",
    irreducible=1.69,
    params_scale=406.4,
    params_exponent=0.34,
    tokens_scale=410.7,
    tokens_exponent=0.28,
    source="Hoffmann et al. (2022), arXiv:2203.15556, approach 3, as printed",
)

#: The same fit with the exponents unrounded, as later recovered from its source.
CHINCHILLA_UNROUNDED = ChinchillaLaw(
    name="chinchilla-unrounded",
    irreducible=1.6934,
    params_scale=406.4,
    params_exponent=0.3392,
    tokens_scale=410.7,
    tokens_exponent=0.2849,
    source="Hoffmann et al. (2022), arXiv:2203.15556, approach 3, unrounded",
)

EPOCH = ChinchillaLaw(
    name="epoch",
    irreducible=1.8172,
    params_scale=482.01,
    params_exponent=0.3478,
    tokens_scale=2085.43,
    tokens_exponent=0.3658,
    source="Besiroglu et al. (2024), arXiv:2404.10102",
)

#: Standard errors that the refit states: E, A, α, B, β.
EPOCH_SD = (0.03, 124.58, 0.02, 1293.23, 0.02)

KAPLAN = KaplanLaw(
    name="kaplan-loss",
    params_scale=6.4e13,
    params_exponent=0.076,
    tokens_scale=1.8e13,
    tokens_exponent=0.103,
    source="Kaplan et al. (2020), arXiv:2001.08361, joint fit",
    validity=Validity(params=(768, 1.5e9)),
)

MUENNIGHOFF = DataConstrainedLaw(
    name="muennighoff",
    base=CHINCHILLA,
    tokens_decay=15.4,
    params_decay=5.3,
    source="Muennighoff et al. (2023), arXiv:2305.16264",
)

#: Every loss law in N and D with published constants, by name.
LOSS_LAWS: Mapping[str, LossLaw] = MappingProxyType(
    {law.name: law for law in (CHINCHILLA, CHINCHILLA_UNROUNDED, EPOCH, KAPLAN, MUENNIGHOFF)}
)


def kaplan_params_only(params: Counts) -> FloatArray:
    """Kaplan's loss when data are unlimited, `(8.8e13/N)^0.076`, nats (their eq. 1.1)."""
    return (8.8e13 / _counts(params)) ** 0.076


def kaplan_tokens_only(tokens: Counts) -> FloatArray:
    """Kaplan's loss when size is unlimited, `(5.4e13/D)^0.095`, nats (their eq. 1.2)."""
    return (5.4e13 / _counts(tokens)) ** 0.095


def loss_law(name: str) -> LossLaw:
    """The law of that name, or an error that lists the names there are."""
    if name not in LOSS_LAWS:
        raise InvalidSpaceError(
            f"loss law is {name!r}, expected one of {', '.join(LOSS_LAWS)}; "
            "see `horizon-bo law list`"
        )
    return LOSS_LAWS[name]
