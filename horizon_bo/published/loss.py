"""Loss: what a run of a given size and length should reach, according to each loss law?"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.constants import entries
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


#: Any law of the final loss of well-tuned runs.
LossLaw = ChinchillaLaw | KaplanLaw | DataConstrainedLaw


def _counts(values: Counts) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _read() -> dict[str, LossLaw]:
    """The laws of `laws.toml`; one that discounts repeated data names its base, which is above."""
    laws: dict[str, LossLaw] = {}
    for entry in entries("laws", "loss"):
        name, form = entry["name"], entry.pop("form")
        if form == "data-constrained":
            entry["base"] = laws[entry["base"]]
        laws[name] = _FORMS[form](**entry)
    return laws


_FORMS: Mapping[str, type[LossLaw]] = {
    "chinchilla": ChinchillaLaw,
    "kaplan": KaplanLaw,
    "data-constrained": DataConstrainedLaw,
}

#: Every loss law in N and D with published constants, by name.
LOSS_LAWS: Mapping[str, LossLaw] = MappingProxyType(_read())


def chinchilla_law(name: str) -> ChinchillaLaw:
    """The law of that name, where it has Chinchilla's form and so a closed-form optimum."""
    law = LOSS_LAWS[name]
    if not isinstance(law, ChinchillaLaw):
        raise InvalidSpaceError(
            f"{name} has no closed-form optimum, expected a law of Chinchilla's form; "
            "use chinchilla or epoch"
        )
    return law
