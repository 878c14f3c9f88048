"""Schedule: what loss does a run reach under any learning-rate schedule?

A schedule is the array of rates of steps 1 to T after warm-up. Sums run over steps; to spare time
a long schedule may be given on a coarser grid together with `stride`, the steps per entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from horizon_bo.published.constants import entries

FloatArray = NDArray[np.float64]
#: Rates of successive steps.
Rates = list[float] | NDArray[np.float64]


def cosine_schedule(peak: float, steps: int, final_fraction: float = 0.1) -> FloatArray:
    """Rates of a half cosine from the peak to `final_fraction` of it."""
    phase = np.linspace(0.0, np.pi, steps)
    floor = peak * final_fraction
    return floor + 0.5 * (peak - floor) * (1.0 + np.cos(phase))


def constant_schedule(peak: float, steps: int) -> FloatArray:
    """The peak rate at every step."""
    return np.full(steps, float(peak))


def cooldown_schedule(
    peak: float, steps: int, decay_fraction: float = 0.2, final_fraction: float = 0.0
) -> FloatArray:
    """Warm-up-stable-decay: constant, then linear decay over the last `decay_fraction`."""
    left = np.linspace(1.0, 0.0, steps)
    return peak * np.maximum(np.minimum(1.0, left / decay_fraction), final_fraction)


@dataclass(frozen=True, kw_only=True)
class AnnealingLaw:
    """Loss from the area under the schedule and a momentum of its falls.

        L(s) = L0 + A S1^−α − C S2,
        S1 = Σ_{i≤s} η_i,   S2 = Σ_{i≤s} Σ_{k≤i} (η_{k−1} − η_k) λ^{i−k}

    No constants are shipped: the source's are not at hand, so the law is there to be fitted.

    Args:
        irreducible: L0, nats.
        scale: A.
        exponent: α.
        annealing: C, nats per unit of S2.
        momentum: λ, 0.99 to 0.999 in the source.

    Source: Tissue et al. (2024), arXiv:2408.11029.
    """

    irreducible: float
    scale: float
    exponent: float
    annealing: float
    momentum: float = 0.999

    def curve(self, rates: Rates, stride: float = 1.0) -> FloatArray:
        """Loss after each entry of the schedule, nats."""
        area, annealed = annealing_areas(rates, self.momentum, stride)
        return self.irreducible + self.scale * area**-self.exponent - self.annealing * annealed


def annealing_areas(
    rates: Rates, momentum: float, stride: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """S1 and S2 of a schedule after each entry."""
    eta = np.asarray(rates, dtype=np.float64)
    falls = -np.diff(eta, prepend=eta[:1])
    kept = momentum**stride
    momentary = np.empty_like(eta)
    level = 0.0
    for index, fall in enumerate(falls):
        level = kept * level + fall
        momentary[index] = level
    return stride * np.cumsum(eta), stride * np.cumsum(momentary)


@dataclass(frozen=True, kw_only=True)
class MultiPowerLaw:
    """Loss from the area under the schedule and what each fall of the rate has bought since.

        L(t) = L0 + A (S1(t) + S_W)^−α − B Σ_{k≤t} (η_{k−1} − η_k) G(η_k^−γ S_k(t)),
        G(x) = 1 − (C x + 1)^−β,   S_k(t) = Σ_{k≤i≤t} η_i

    Args:
        irreducible: L0, nats.
        scale: A.
        exponent: α.
        drop_scale: B.
        drop_rate: C.
        drop_exponent: β.
        drop_power: γ.
        source: Where its constants come from.

    Source: Luo et al. (2025), "A Multi-Power Law for Loss Curve Prediction", arXiv:2503.12811.
    """

    irreducible: float
    scale: float
    exponent: float
    drop_scale: float
    drop_rate: float
    drop_exponent: float
    drop_power: float
    source: str = ""

    def curve(self, rates: Rates, stride: float = 1.0, warmup_area: float = 0.0) -> FloatArray:
        """Loss after each entry of the schedule, nats; `warmup_area` is S_W."""
        eta = np.asarray(rates, dtype=np.float64)
        area = stride * np.cumsum(eta)
        falls = -np.diff(eta, prepend=eta[:1])
        events = np.flatnonzero(falls)
        # area gained since event k, the event's own step included; zero before it happens
        since = np.maximum(area[:, None] - (area - stride * eta)[None, events], 0.0)
        # A rate of zero gains no more area and buys all that its fall can buy: 0 times infinity.
        with np.errstate(divide="ignore", invalid="ignore"):
            progress = self.drop_rate * eta[events] ** -self.drop_power * since
        bought = _saturation(progress, self.drop_exponent)
        happened = np.arange(eta.size)[:, None] >= events
        gained = np.where(happened, falls[events] * bought, 0.0).sum(-1)
        return (
            self.irreducible
            + self.scale * (area + warmup_area) ** -self.exponent
            - self.drop_scale * gained
        )


def _saturation(x: FloatArray, exponent: float) -> FloatArray:
    """`1 − (1 + x)^−exponent`, exact for small x; 0·∞ means that nothing is left to gain."""
    return -np.expm1(-exponent * np.log1p(np.where(np.isnan(x), np.inf, x)))


#: The Multi-Power Law at the three sizes of its source, by name.
MULTI_POWER_LAWS: Mapping[str, MultiPowerLaw] = MappingProxyType(
    {entry.pop("name"): MultiPowerLaw(**entry) for entry in entries("laws", "schedule")}
)
