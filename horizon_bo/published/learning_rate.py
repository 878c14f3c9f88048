"""Learning rate: which peak rate is best at a horizon, according to each published law?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.constants import entries, log_prefactor, named
from horizon_bo.published.validity import UNSTATED, Validity
from horizon_bo.study.horizons import Horizon

#: Two-sided 90 % quantile of the standard normal.
Z_90 = 1.6448536269514722


@dataclass(frozen=True, kw_only=True)
class PowerForm:
    """A product of powers of the run's quantities.

        ln η = prefactor + a ln(N/u) + b ln(D/u) + g ln B + c ln C

    with C = 6 N D in FLOP (or the horizon's measured compute) and `u` the `unit`.

    Args:
        prefactor: Natural log; `None` where the source's units are unknown, so that only
            ratios of rates mean anything.
        unit: Count that N and D are given in; 1e9 means billions.
    """

    prefactor: float | None
    params: float = 0.0
    tokens: float = 0.0
    batch_tokens: float = 0.0
    flops: float = 0.0
    unit: float = 1.0

    def log_shape(self, horizon: Horizon) -> float:
        """`ln η` without the prefactor."""
        if self.batch_tokens and horizon.batch_tokens is None:
            raise InvalidSpaceError(
                "batch_tokens is None, expected the tokens per step, because this law depends on "
                "batch; give it"
            )
        return (
            self.params * math.log(horizon.params / self.unit)
            + self.tokens * math.log(horizon.tokens / self.unit)
            + self.batch_tokens * math.log(horizon.batch_tokens or 1.0)
            + self.flops * math.log(horizon.flops)
        )


@dataclass(frozen=True, kw_only=True)
class LinearForm:
    """A rate that falls linearly in the log of size, `η = level + slope ln N`."""

    level: float
    slope: float
    prefactor: float = 0.0  # the line is its own scale

    def log_shape(self, horizon: Horizon) -> float:
        """`ln η`; an error where the straight line has fallen to zero."""
        rate = self.level + self.slope * math.log(horizon.params)
        if rate <= 0.0:
            raise InvalidSpaceError(
                f"params is {horizon.params:.3g}, expected less than "
                f"{math.exp(-self.level / self.slope):.2g}, where this law's rate reaches zero; "
                "use another law"
            )
        return math.log(rate)


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Refits of a law, summarised as a normal around a centre of the fitted horizons.

        ln η ~ N(m + a n + b d, σ² + (σ_a n)² + (σ_b d)² + 2 ρ σ_a n σ_b d)

    with n = ln N/N₀ and d = ln D/D₀. At the centre the level is almost uncorrelated with the
    exponents (the prefactor at N = D = 1 is not), which is why it is stated there.
    """

    center: Horizon
    log_rate: float
    log_rate_sd: float
    params: float
    params_sd: float
    tokens: float
    tokens_sd: float
    correlation: float

    def log_learning_rate(self, horizon: Horizon) -> tuple[float, float]:
        """Mean and standard deviation of `ln η` over the refits."""
        n = math.log(horizon.params / self.center.params)
        d = math.log(horizon.tokens / self.center.tokens)
        by_n, by_d = self.params_sd * n, self.tokens_sd * d
        variance = self.log_rate_sd**2 + by_n**2 + by_d**2 + 2 * self.correlation * by_n * by_d
        return self.log_rate + self.params * n + self.tokens * d, math.sqrt(variance)


@dataclass(frozen=True, kw_only=True)
class LearningRateLaw:
    """A published law of the optimal peak learning rate.

    Args:
        name: What the command line calls it.
        formula: The law in its source's own symbols and units.
        form: The law as coded, N and D in counts.
        batch: How batch was chosen in the runs behind it: `"fixed"`, `"co-tuned"` or `"any"`.
        parametrization: `"standard"`, `"mup"` or `"norm-based"`.
        optimizer: Optimizer of the runs behind it.
        validity: Ranges of those runs.
        data: Names of the data it was fitted to; such data must not judge it.
        source: Where it is published.
        note: What a user should know; empty when nothing.
        bootstrap: Spread over refits; `None` where none is published.
        fitted_batch: The batch the runs used, tokens; `None` when unknown or not one number.
    """

    name: str
    formula: str
    form: PowerForm | LinearForm
    batch: str
    validity: Validity = UNSTATED
    data: tuple[str, ...] = ()
    source: str
    parametrization: str = "standard"
    optimizer: str = "adamw"
    note: str = ""
    bootstrap: Bootstrap | None = None
    fitted_batch: float | None = None

    @property
    def is_absolute(self) -> bool:
        """Whether the law gives a rate, and not only ratios of rates."""
        return self.form.prefactor is not None

    def learning_rate(self, horizon: Horizon) -> float:
        """The optimal peak rate by the published constants, as given to the optimizer."""
        if self.form.prefactor is None:
            raise InvalidSpaceError(
                f"{self.name} states exponents whose units are unknown, expected a law with a "
                "prefactor; use `transfer`, which needs ratios only"
            )
        return math.exp(self.form.prefactor + self.form.log_shape(horizon))

    def log_ratio(self, start: Horizon, end: Horizon) -> float:
        """`ln η(end) / η(start)`, which needs no prefactor."""
        return self.form.log_shape(end) - self.form.log_shape(start)

    def interval_90(self, horizon: Horizon) -> tuple[float, float] | None:
        """Central 90 % of the published refits; `None` where none are published."""
        if self.bootstrap is None:
            return None
        middle, sd = self.bootstrap.log_learning_rate(horizon)
        return math.exp(middle - Z_90 * sd), math.exp(middle + Z_90 * sd)

    def remarks(self, horizon: Horizon) -> tuple[str, ...]:
        """What to tell a user who applies the law to that horizon."""
        return self.validity.remarks(self.name, horizon)


def _read(entry: dict[str, Any]) -> LearningRateLaw:
    """A law from its entry in `laws.toml`."""
    power, linear, bootstrap = (entry.pop(key, None) for key in ("power", "linear", "bootstrap"))
    form = PowerForm(**log_prefactor(power)) if power else LinearForm(**linear)
    if bootstrap is not None:
        center, rate = Horizon(**bootstrap.pop("center")), bootstrap.pop("learning_rate")
        bootstrap = Bootstrap(center=center, log_rate=math.log(rate), **bootstrap)
    return LearningRateLaw(form=form, bootstrap=bootstrap, **entry)


#: Every optimal-rate law by name.
LEARNING_RATE_LAWS: Mapping[str, LearningRateLaw] = MappingProxyType(
    {entry["name"]: _read(entry) for entry in entries("laws", "rate")}
)


def learning_rate_law(name: str) -> LearningRateLaw:
    """The law of that name, or an error that lists the names there are."""
    return named(LEARNING_RATE_LAWS, name, "law")
