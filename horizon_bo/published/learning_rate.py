"""Learning rate: which peak rate is best at a horizon, according to each published law?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from horizon_bo.errors import InvalidSpaceError
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
    validity: Validity
    data: tuple[str, ...]
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
        return self.validity.remarks(
            self.name,
            params=horizon.params,
            tokens=horizon.tokens,
            flops=horizon.flops,
        )


_STEP_DATA = ("steplaw", "scalebench", "steplaw_dense")
_BJORCK = "Bjorck et al. (2025), arXiv:2409.19913"

STEP = LearningRateLaw(
    name="step",
    formula="η* = 1.79 N^-0.713 D^0.307, N non-embedding params, D tokens; batch at its optimum",
    form=PowerForm(prefactor=math.log(1.79), params=-0.713, tokens=0.307),
    batch="co-tuned",
    validity=Validity(params=(2.15e8, 1.07e9), tokens=(4e9, 1e11)),
    data=_STEP_DATA,
    source="Li et al. (2025), arXiv:2503.04715; bootstrap from github.com/step-law/steplaw",
    note="the rate at the optimal batch; final rate of the schedule fixed at 1e-5",
    # Moments of the 1,000 published refits, recentred where level and exponents decorrelate.
    # Their mean exponents are -0.712922 and 0.307491; rounded they are the law's own.
    bootstrap=Bootstrap(
        center=Horizon(params=4e8, tokens=2e10),
        log_rate=math.log(1.94762e-3),
        log_rate_sd=0.0221,
        params=-0.712922,
        params_sd=0.030,
        tokens=0.307491,
        tokens_sd=0.019,
        correlation=-0.305,
    ),
)

BJORCK = LearningRateLaw(
    name="bjorck",
    formula="η* = 1.55e-3 N^-0.23 D^-0.32, N and D in billions, N >= 0.76",
    form=PowerForm(prefactor=math.log(1.55e-3), params=-0.23, tokens=-0.32, unit=1e9),
    batch="fixed",
    validity=Validity(params=(7.6e8, 2.7e9), tokens=(2.5e10, 8e11)),
    data=("bjorck",),
    source=f"{_BJORCK}, joint fit",
    note="unit inferred: billions give the 1.1e-4 that the source predicts for LLaMA-1 7B",
)


def _bjorck_at(name: str, params: float, exponent: float) -> LearningRateLaw:
    """A per-size fit whose prefactor we could not source: the exponent of tokens alone."""
    return LearningRateLaw(
        name=name,
        formula=f"η*(D2)/η*(D1) = (D2/D1)^{exponent} at {params:.2g} params",
        form=PowerForm(prefactor=None, tokens=exponent),
        batch="fixed",
        validity=Validity(params=(params / 1.5, params * 1.5), tokens=(2.5e10, 8e11)),
        data=("bjorck",),
        source=f"{_BJORCK}, per-size fit",
        note="exponent only; the range of params is half an octave around the size fitted",
    )


BJORCK_7B = LearningRateLaw(
    name="bjorck-7b",
    formula="η* = 8.29e-4 D^-0.286, D in billions, for LLaMA-1's 7B architecture",
    form=PowerForm(prefactor=math.log(8.29e-4), tokens=-0.286, unit=1e9),
    batch="fixed",
    validity=Validity(params=(6e9, 8e9), tokens=(2.5e10, 1e12)),
    data=("bjorck",),
    source=f"{_BJORCK}, fit for LLaMA-1 7B",
    note="0.286 is derived from its 1.15e-4 at 1e12 tokens; the text rounds it to 0.3",
)

DEEPSEEK = LearningRateLaw(
    name="deepseek",
    formula="η* = 0.3118 C^-0.1250, C in FLOP; batch at its optimum",
    form=PowerForm(prefactor=math.log(0.3118), flops=-0.1250),
    batch="co-tuned",
    validity=Validity(flops=(1e17, 2e20)),
    data=("deepseek",),
    source="Bi et al. (2024), arXiv:2401.02954",
    note="C counts attention (M·D); 6 N D is used here unless flops are given",
)

PORIAN = LearningRateLaw(
    name="porian",
    formula="η* = 3.7 N^-0.36; batch at its optimum",
    form=PowerForm(prefactor=math.log(3.7), params=-0.36),
    batch="co-tuned",
    validity=Validity(params=(5e6, 9.01e8)),
    data=("porian",),
    source="Porian et al. (2024), arXiv:2406.19146",
    note="tuned at compute-optimal horizons",
)

KAPLAN = LearningRateLaw(
    name="kaplan",
    formula="η* = 3.239e-3 - 1.395e-4 ln N",
    form=LinearForm(level=3.239e-3, slope=-1.395e-4),
    batch="fixed",
    validity=Validity(params=(768, 1.5e9)),
    data=("kaplan",),
    source="Kaplan et al. (2020), arXiv:2001.08361, appendix D.6",
    note="a rule of thumb; reaches zero near 1.2e10 params",
    fitted_batch=2.0**19,  # 512 sequences of 1024 tokens
)

ZHOU = LearningRateLaw(
    name="zhou",
    formula="η* = 38.4588 N^-0.2219 D^-0.3509, units of N and D unknown",
    form=PowerForm(prefactor=None, params=-0.2219, tokens=-0.3509),
    batch="fixed",
    validity=Validity(params=(0.0, 1.2e10), tokens=(0.0, 5e11)),
    data=("zhou",),
    source="Zhou et al. (2026), arXiv:2601.05049, eq. 6",
    note="mixtures of experts under WSD; only ratios, since raw counts give implausible rates",
)

#: Exponent of width in Marin's rule; widths are not part of a horizon, so it is applied to
#: N^(1/3): width grows as the cube root of params when depth grows with width.
_MARIN_WIDTH = -0.3678

MARIN = LearningRateLaw(
    name="marin",
    formula="η* ∝ width^-0.3678 D^-0.2813 B^0.5",
    form=PowerForm(prefactor=None, params=_MARIN_WIDTH / 3, tokens=-0.2813, batch_tokens=0.5),
    batch="any",
    validity=UNSTATED,
    data=("marin",),
    source="Marin project, github.com/marin-community/marin, issue 5818",
    optimizer="adamh",
    note="width taken as N^(1/3); at 300-600 tokens per param its own sweep found 1.0-1.4x more",
)

SCION = LearningRateLaw(
    name="scion",
    formula="η* ∝ B^0.62 D^-0.56",
    form=PowerForm(prefactor=None, tokens=-0.56, batch_tokens=0.62),
    batch="any",
    validity=UNSTATED,
    data=("scion",),
    source="arXiv:2510.03871",
    parametrization="norm-based",
    optimizer="scion",
    note="along the optimal batch, B* ∝ D^0.45, the net exponent of D is -0.28",
)

HYPERP = LearningRateLaw(
    name="hyperp",
    formula="η* ∝ D^-0.32",
    form=PowerForm(prefactor=None, tokens=-0.32),
    batch="fixed",
    validity=UNSTATED,
    data=("hyperp",),
    source="arXiv:2603.28743",
    parametrization="norm-based",
    optimizer="muon",
)

KAKAO = LearningRateLaw(
    name="kakao",
    formula="η* ∝ D^-0.30",
    form=PowerForm(prefactor=None, tokens=-0.30),
    batch="fixed",
    validity=Validity(tokens=(2.55e11, 5.02e11)),
    data=("kakao",),
    source="arXiv:2608.20061",
    parametrization="mup",
    optimizer="muon",
    note="exponent derived from its prediction for 1e13 tokens",
)

CONVEX = LearningRateLaw(
    name="convex",
    formula="η* ∝ D^-0.5 at fixed batch",
    form=PowerForm(prefactor=None, tokens=-0.5),
    batch="fixed",
    validity=UNSTATED,
    data=(),
    source="Bu et al. (2026), arXiv:2602.07145; the convex bound's optimum, not a fit",
    optimizer="any",
)

_BJORCK_SIZES = (
    _bjorck_at("bjorck-50m", 5e7, -0.70),
    _bjorck_at("bjorck-350m", 3.5e8, -0.38),
    _bjorck_at("bjorck-1.3b", 1.3e9, -0.32),
    _bjorck_at("bjorck-2.7b", 2.7e9, -0.42),
    BJORCK_7B,
)

#: Every optimal-rate law by name.
LEARNING_RATE_LAWS: Mapping[str, LearningRateLaw] = MappingProxyType(
    {
        law.name: law
        for law in (
            STEP, BJORCK, *_BJORCK_SIZES, DEEPSEEK, PORIAN, KAPLAN,
            ZHOU, MARIN, SCION, HYPERP, KAKAO, CONVEX,
        )
    }
)  # fmt: skip


def learning_rate_law(name: str) -> LearningRateLaw:
    """The law of that name, or an error that lists the names there are."""
    if name not in LEARNING_RATE_LAWS:
        raise InvalidSpaceError(
            f"law is {name!r}, expected one of {', '.join(LEARNING_RATE_LAWS)}; "
            "see `horizon-bo law list`"
        )
    return LEARNING_RATE_LAWS[name]
