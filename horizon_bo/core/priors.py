"""Priors: what is believed about every coefficient before the first run.

Each coefficient has a standard-normal coordinate `z`; `coefficients` maps a batch of them to a
law and to the scales of what the law leaves over. Losses are in units of the study's typical
loss, so the same priors serve nats per token, bits per byte or any other positive loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from horizon_bo.core.laws import HorizonLaw


class Prior(NamedTuple):
    """Location and scale of a coefficient, and whether its tails are heavier than normal."""

    location: float
    scale: float
    heavy: bool = False


#: What is believed before the first run, under the standard parametrization. Weak facts from the
#: literature, wide enough that a handful of runs can overrule any of them. Published spreads:
#: exponents of the optimum −0.7…0 in params and −0.5…+0.3 in tokens at fixed batch; curvature
#: and noise differ tenfold between recipes; the optimum a hundredfold.
DEFAULT_PRIORS: Mapping[str, Prior] = MappingProxyType(
    {
        "log_optimum": Prior(-6.5, 1.1, heavy=True),  # replaced by the study's prior centre
        "optimum_per_params": Prior(-0.4, 0.2),
        "optimum_per_tokens": Prior(-0.1, 0.2),
        "optimum_per_batch": Prior(0.4, 0.3),  # square root below the critical batch, 0 above
        "log_curvature": Prior(-4.4, 0.8, heavy=True),  # 0.012 of the loss per squared e-fold
        "curvature_per_params": Prior(-0.1, 0.15),
        "curvature_per_tokens": Prior(-0.2, 0.15),
        "curvature_per_batch": Prior(0.07, 0.15),
        "asymmetry": Prior(0.75, 0.3),
        "log_params_exponent": Prior(-1.2, 0.4),  # α about 0.30
        "log_tokens_exponent": Prior(-1.2, 0.4),  # β about 0.30
        "log_drift_sd": Prior(-1.9, 0.5),  # 0.15 in ln η; measured departures 0.07–0.3
        "log_length": Prior(0.7, 0.4),  # drift decorrelates over a factor e² in size or tokens
        "log_misfit_sd": Prior(-5.8, 0.7),  # 0.003 of the loss
        "log_noise_sd": Prior(-6.2, 0.9),  # 0.002 of the loss between seeds; measured 4e-4 to 2e-2
        "noise_per_compute": Prior(-0.1, 0.1),  # small runs are noisier
        "log_bowl_error": Prior(-2.5, 0.5),  # the bowl's shape errs by 8 % of its height
        "cliff": Prior(2.3, 0.5),  # ln units above the optimum where half of the runs diverge
    }
)

#: Under µP the optimum is expected not to move with width. Source: Yang et al. (2022),
#: arXiv:2203.03466; the spread covers depth and imperfect implementations.
MUP_OPTIMUM_PER_PARAMS = Prior(0.0, 0.1)

#: A recipe other than the study's own may sit this far off in ln LR* (four averaging and
#: schedule pairs measured on small runs: 0.1 to 1.1).
SOURCE_OFFSET_SD = 0.6

#: Cubic weight of the heavy-tailed map: two scales out it is 2.7, three out 5.2.
_TAIL = 1 / 12


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """A batch of coefficient sets: the law and the scales of what it leaves over.

    All scales are in units of the study's typical loss, or of ln η. Every field has the batch's
    shape; `source_offset` has one more axis, a column per recipe with the study's own first (0).
    """

    law: HorizonLaw
    drift_sd: Float[Tensor, "*set"]
    length: Float[Tensor, "*set"]
    misfit_sd: Float[Tensor, "*set"]
    noise_sd: Float[Tensor, "*set"]
    noise_per_compute: Float[Tensor, "*set"]
    bowl_error: Float[Tensor, "*set"]
    cliff: Float[Tensor, "*set"]
    source_offset: Float[Tensor, "*set source"]

    def select(self, index: Int[Tensor, "some"]) -> "Coefficients":
        """Some of the sets."""
        scales = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "law"}
        picked = {name: value[index] for name, value in scales.items()}
        return Coefficients(law=self.law.mapped(lambda values: values[index]), **picked)


def study_priors(
    log_center: float, log_center_sd: float, parametrization: str
) -> Mapping[str, Prior]:
    """The default priors, centred at a guess of the optimal rate at the target.

    Args:
        log_center: Natural log of the guessed optimal learning rate.
        log_center_sd: Its standard deviation in natural-log units.
        parametrization: `"standard"` or `"mup"`.
    """
    changed = {"log_optimum": Prior(log_center, log_center_sd, heavy=True)}
    if parametrization == "mup":
        changed["optimum_per_params"] = MUP_OPTIMUM_PER_PARAMS
    return MappingProxyType({**DEFAULT_PRIORS, **changed})


def coefficients(
    z: Float[Tensor, "*set coordinate"], priors: Mapping[str, Prior] = DEFAULT_PRIORS
) -> Coefficients:
    """The coefficient sets at standard-normal coordinates.

        value = location + scale · z            or, with heavy tails,
        value = location + scale · (z + z³/12)

    Coordinates past the named priors are the ln LR* offsets of other recipes.
    """
    location = torch.tensor([prior.location for prior in priors.values()], dtype=torch.float64)
    scale = torch.tensor([prior.scale for prior in priors.values()], dtype=torch.float64)
    tail = torch.tensor([_TAIL * prior.heavy for prior in priors.values()], dtype=torch.float64)
    named, offsets = z[..., : len(priors)], z[..., len(priors) :]
    values = location + scale * named * (1 + tail * named.square())
    by_name = dict(zip(priors, values.unbind(-1), strict=True))
    law_fields = {f.name for f in fields(HorizonLaw)}
    return Coefficients(
        law=HorizonLaw(
            params_exponent=by_name["log_params_exponent"].exp(),
            tokens_exponent=by_name["log_tokens_exponent"].exp(),
            **{name: value for name, value in by_name.items() if name in law_fields},
        ),
        drift_sd=by_name["log_drift_sd"].exp(),
        length=by_name["log_length"].exp(),
        misfit_sd=by_name["log_misfit_sd"].exp(),
        noise_sd=by_name["log_noise_sd"].exp(),
        noise_per_compute=by_name["noise_per_compute"],
        bowl_error=by_name["log_bowl_error"].exp(),
        cliff=by_name["cliff"],
        source_offset=torch.nn.functional.pad(SOURCE_OFFSET_SD * offsets, (1, 0)),
    )
