"""Laws: closed-form accounts of how loss depends on learning rate and horizon.

A run is described by four natural logs,

    log_lr     = ln η,          η  peak learning rate,
    log_params = ln N/N*,       N  non-embedding parameters,
    log_tokens = ln D/D*,       D  training tokens,
    log_batch  = ln B/B*,       B  tokens per optimizer step,

where (N*, D*, B*) is the *reference horizon*, normally the target, so that what we want to
know, the optimum at the target, is a coefficient of its own. Losses are in units of the
study's typical loss (`trials` and `inference` convert). The functions are pure and broadcast,
so a law may hold floats or a batch of posterior draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

from jaxtyping import Float

from horizon_bo.core.arrays import Array, namespace

Scalar: TypeAlias = Float[Array, "*#run"] | float
PerRun: TypeAlias = Scalar

_SERIES_BELOW = 1e-2  # |x| under which (e^x - x - 1)/x^2 cancels; the series errs < 1e-16
#: The critical batch grows as tokens to this power: 0.38 to 0.57 in the published fits.
CRITICAL_EXPONENT = 0.45
_LARGEST_EXPONENT = 8.0  # e^8 bowl units: no loss is there any more, and float64 stays calm


def linex(offset: PerRun, asymmetry: Scalar) -> PerRun:
    """Asymmetric bowl: quadratic at its base, exponential on one side.

        h(u; s) = (exp(s u) − s u − 1) / s²  =  u²/2 + s u³/6 + O(u⁴)

    The curvature at zero is 1 whatever the asymmetry, so the two are separately
    identifiable. Positive `asymmetry` makes overshooting costlier than undershooting.

    Args:
        offset: Distance from the optimum, `u`, in natural-log units.
        asymmetry: Skew `s`; zero gives the parabola.

    Source: Zellner (1986), JASA 81(394):446-451, rescaled to unit curvature.
    """
    xp, x = namespace(offset), asymmetry * offset
    series = 0.5 + x / 6 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7))))
    near = abs(x) < _SERIES_BELOW
    safe = xp.where(near, 1.0, x)
    return offset * offset * xp.where(near, series, (xp.expm1(safe) - safe) / (safe * safe))


def linex_slope(offset: PerRun, asymmetry: Scalar) -> PerRun:
    """Slope of the bowl, dh/du = (exp(s u) − 1) / s; the parabola's is `u`.

    Args:
        offset: Distance from the optimum, `u`, in natural-log units.
        asymmetry: Skew `s`.
    """
    xp, x = namespace(offset), asymmetry * offset
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    near = abs(x) < _SERIES_BELOW
    safe = xp.where(near, 1.0, x)
    return offset * xp.where(near, series, xp.expm1(safe) / safe)


def felt_batch(log_batch: PerRun, log_tokens: PerRun) -> PerRun:
    """How much of a change of batch the best rate feels: all below the critical batch, none above.

        e(b, d) = 2 [ln(1 + e^{ρ d}) − ln(1 + e^{ρ d − b})],        de/db = 2 / (1 + e^{b − ρ d})

    so that the rate goes as B^{2γ} far below the critical batch, as B^γ at it and as B⁰ far above,
    and a change of tokens at the target's batch is felt as tokens alone. The critical batch is
    taken to be about the target's own, and to grow as tokens^ρ.

    Source: McCandlish et al. (2018), arXiv:1812.06162, eq. 2.6 for η ∝ 1/(1 + B_crit/B), here with
    the exponent that is learnt; that the target's batch is near the critical one is ours.
    """
    xp, critical = namespace(log_tokens), CRITICAL_EXPONENT * log_tokens
    zero = xp.zeros_like(critical)
    return 2 * (xp.logaddexp(critical, zero) - xp.logaddexp(critical - log_batch, zero))


@dataclass(frozen=True, kw_only=True)
class HorizonLaw:
    """Where the optimum lies, how sharp the bowl around it is, and how fast loss levels fall.

        ℓ*(n, d, b) = ℓ0 + γ_N n + γ_D d + γ_B b            optimum, ln η
        κ(n, d, b)  = exp(k0 + k_N n + k_D d + k_B b)       curvature
        bowl        = κ · h_s(ℓ − ℓ*)                       excess over the best rate, `linex`
        level       = E + A exp(−α n) + C exp(−β d)         loss at the best rate

    where n, d and b are `log_params`, `log_tokens` and `log_batch`. The amplitudes E, A and C
    enter the loss linearly, so the surrogate integrates them out and only the exponents are here.

    Sources: power law of the optimum, Bjorck et al. (2025), arXiv:2409.19913; level, Hoffmann et
    al. (2022), arXiv:2203.15556, approach 3; curvature falling with the horizon, own regression.
    """

    log_optimum: Scalar  # ℓ0, ln of the optimal learning rate at the reference horizon
    optimum_per_params: Scalar  # γ_N
    optimum_per_tokens: Scalar  # γ_D
    optimum_per_batch: Scalar  # γ_B
    log_curvature: Scalar  # k0, ln of loss per squared log unit
    curvature_per_params: Scalar  # k_N
    curvature_per_tokens: Scalar  # k_D
    curvature_per_batch: Scalar  # k_B
    asymmetry: Scalar  # s
    params_exponent: Scalar  # α
    tokens_exponent: Scalar  # β

    def log_optimal_lr(self, log_params: PerRun, log_tokens: PerRun, log_batch: PerRun) -> PerRun:
        """Natural log of the learning rate that minimises the loss at a horizon."""
        trend = self.optimum_per_params * log_params + self.optimum_per_tokens * log_tokens
        felt = felt_batch(log_batch, log_tokens)
        return self.log_optimum + trend + self.optimum_per_batch * felt

    def curvature(self, log_params: PerRun, log_tokens: PerRun, log_batch: PerRun) -> PerRun:
        """Second derivative of the loss in ln η at the optimum of a horizon."""
        trend = self.curvature_per_params * log_params + self.curvature_per_tokens * log_tokens
        log_curvature = self.log_curvature + trend + self.curvature_per_batch * log_batch
        return namespace(log_curvature).exp(log_curvature)

    def unsqueeze(self) -> "HorizonLaw":
        """The law with a run axis appended to each coefficient, ready to broadcast over runs."""
        return self.mapped(lambda values: values[..., None])

    def mapped(self, change: Callable[[Array], Array]) -> "HorizonLaw":
        """The law with each coefficient changed alike."""
        return HorizonLaw(**{f.name: change(getattr(self, f.name)) for f in fields(self)})


def clip_offset(offset: PerRun, asymmetry: Scalar) -> PerRun:
    """The offset, held where the exponential side of the bowl has left the range of losses."""
    bound = _LARGEST_EXPONENT / namespace(asymmetry).clip(abs(asymmetry), 0.1, None)
    return namespace(offset).clip(offset, -bound, bound)
