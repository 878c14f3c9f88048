"""Priors: what is believed about every coefficient before the first run?

Each coefficient has a standard-normal coordinate `z`; `coefficients` maps a batch of them to a
law and to the scales of what the law leaves over. Losses are in units of the study's typical
loss, so the same priors serve nats per token, bits per byte or any other positive loss. What to
expect of the next recipe is learnt from others (`hierarchy`); `center` says where its optimum is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, namespace
from horizon_bo.core.hierarchy import Population
from horizon_bo.core.laws import HorizonLaw
from horizon_bo.published.evidence import COEFFICIENTS
from horizon_bo.study.inputs import SLOPES


class Prior(NamedTuple):
    """Location and scale of one coefficient, and whether its tails are heavier than normal."""

    location: float
    scale: float
    heavy: bool = False


@dataclass(frozen=True)
class Priors:
    """What is believed of all coefficients together.

        value = location + root · u(z),        u(z) = z, or with heavy tails z + z³/12

    so that the root of a covariance carries how coefficients go together between recipes. Where the
    last is `UNLIKENESS`, root · u of all but the first is multiplied by its exponential: a recipe
    that is unlike the others in one coefficient may be unlike them in any.
    """

    names: tuple[str, ...]
    location: Float[Array, "name"]
    root: Float[Array, "name name"]  # lower triangular
    tail: Float[Array, "name"]  # weight of the cubic term

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Prior:
        """A coefficient by itself."""
        k = self.names.index(name)
        return Prior(
            float(self.location[k]), float(np.linalg.norm(self.root[k])), bool(self.tail[k] > 0)
        )

    @staticmethod
    def independent(priors: Mapping[str, Prior]) -> "Priors":
        """Coefficients that know nothing of each other."""
        column = lambda values: np.array(list(values), dtype=float)  # noqa: E731
        return Priors(
            tuple(priors),
            column(prior.location for prior in priors.values()),
            np.diag(column(prior.scale for prior in priors.values())),
            column(_TAIL * prior.heavy for prior in priors.values()),
        )

    def held(self, priors: Mapping[str, Prior]) -> "Priors":
        """The same with some coefficients believed otherwise, each by itself."""
        location, root, tail = self.location.copy(), self.root.copy(), self.tail.copy()
        for name, prior in priors.items():
            k = self.names.index(name)
            root[k, :], root[:, k] = 0.0, 0.0
            location[k], root[k, k], tail[k] = prior.location, prior.scale, _TAIL * prior.heavy
        return replace(self, location=location, root=root, tail=tail)


#: Coefficients in the order of the coordinates.
NAMES = ("log_optimum", *COEFFICIENTS)

#: What to expect of the coefficients that are not taken from the population: the corpus has five
#: groups of sweeps with bowls, which differ so much in these that learning them all cost 0.7 to 1.0
#: mnat at 10 % on the sweep that was left out. How widely the curvature varies is theirs
#: (`benchmarks/LOG.md`).
EXPECTED: Mapping[str, Prior] = MappingProxyType(
    {
        # 0.02 of the loss per squared e-fold; public sweeps have 0.009 to 0.4
        "log_curvature": Prior(-3.9, 1.1, heavy=True),
        "curvature_per_params": Prior(-0.1, 0.15),
        "curvature_per_tokens": Prior(-0.2, 0.15),
        "curvature_per_batch": Prior(0.07, 0.15),
        "log_params_exponent": Prior(-1.2, 0.4),  # α about 0.30
        "log_tokens_exponent": Prior(-1.2, 0.4),  # β about 0.30
        "log_drift_sd": Prior(-1.9, 0.5),  # 0.15 in ln η; measured departures 0.07–0.4
        "log_length": Prior(0.7, 0.4),  # drift decorrelates over a factor e² in size or tokens
        "log_misfit_sd": Prior(-5.8, 0.7),  # 0.003 of the loss
        "log_noise_sd": Prior(-6.2, 0.9),  # 0.002 of the loss between seeds; 4e-4 to 2e-2
        "noise_per_compute": Prior(-0.1, 0.1),  # small runs are noisier
        "log_bowl_error": Prior(-2.5, 0.5),  # the bowl's shape errs by 8 % of its height
        # half of the runs diverge 2 e-folds above the optimum; public sweeps have 0.5 to 3.3
        "log_cliff": Prior(0.7, 0.6),
    }
)
#: Exponents of the optimum in params, tokens and batch: learnt, together, with heavy tails.
EXPONENTS = COEFFICIENTS[:3]
#: Learnt too, by itself: how much steeper a bowl is above its optimum than below decides how far
#: below it a rate of least expected regret lies.
ALONE = "asymmetry"

#: ln of how many times as far from the population a recipe lies in all its coefficients as recipes
#: do: what surprises in one of them widens the others, what does not narrows them.
UNLIKENESS = "log_unlikeness"
UNLIKE = Prior(0.0, 0.5)

#: What stands before the name of an input that varies, as the name of what ln LR* changes with it.
PER_INPUT = "optimum_per_"

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
    drift_sd: Float[Array, "*set"]
    length: Float[Array, "*set"]
    misfit_sd: Float[Array, "*set"]
    noise_sd: Float[Array, "*set"]
    noise_per_compute: Float[Array, "*set"]
    bowl_error: Float[Array, "*set"]
    cliff: Float[Array, "*set"]
    source_offset: Float[Array, "*set source"]
    optimum_per_input: Float[Array, "*set input"]  # none where no input varies

    def log_optimal_lr(
        self, log_scales: Float[Array, "*batch place scale"]
    ) -> Float[Array, "*batch set place"]:
        """Natural log of the best rate by the law, at places with their varying inputs."""
        n, d, b = (log_scales[..., None, :, axis] for axis in range(3))
        by_law = self.law.unsqueeze().log_optimal_lr(n, d, b)
        inputs = log_scales[..., 3:]
        return by_law + self.optimum_per_input @ inputs.mT if inputs.shape[-1] else by_law

    def select(self, index: Int[Array, "some"]) -> "Coefficients":
        """Some of the sets."""
        scales = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "law"}
        picked = {name: value[index] for name, value in scales.items()}
        return Coefficients(law=self.law.mapped(lambda values: values[index]), **picked)


def study_priors(
    log_center: float,
    log_center_sd: float,
    population: Population,
    varying: Sequence[str] = (),
) -> Priors:
    """What to expect of a recipe of this population, its best rate at a guess.

    Args:
        log_center: Natural log of the guessed optimal learning rate at the target.
        log_center_sd: Its standard deviation in natural-log units.
        population: The coefficients of a recipe not seen yet.
        varying: Names of the inputs that differ between runs.
    """
    learnt = {name: Prior(float(population.mean[k]), 1.0, True) for k, name in enumerate(EXPONENTS)}
    k = COEFFICIENTS.index(ALONE)
    alone = Prior(float(population.mean[k]), math.sqrt(population.covariance[k, k]))
    optimum = Prior(log_center, log_center_sd, heavy=True)
    believed = {"log_optimum": optimum, **learnt, ALONE: alone, **EXPECTED}
    inputs = {PER_INPUT + name: Prior(*SLOPES[name]) for name in varying}
    priors = Priors.independent(
        {**{name: believed[name] for name in NAMES}, **inputs, UNLIKENESS: UNLIKE}
    )
    root, size = priors.root.copy(), len(EXPONENTS)
    root[1 : 1 + size, 1 : 1 + size] = np.linalg.cholesky(population.covariance[:size, :size])
    return replace(priors, root=root)


def coefficients(z: Float[Array, "*set coordinate"], priors: Priors) -> Coefficients:
    """The coefficient sets at standard-normal coordinates.

    Coordinates past the named priors are the ln LR* offsets of other recipes.
    """
    xp, by_name = namespace(z), named_values(z, priors)
    offsets = SOURCE_OFFSET_SD * z[..., len(priors) :]
    law_fields = {f.name for f in fields(HorizonLaw)}
    return Coefficients(
        law=HorizonLaw(
            params_exponent=xp.exp(by_name["log_params_exponent"]),
            tokens_exponent=xp.exp(by_name["log_tokens_exponent"]),
            **{name: value for name, value in by_name.items() if name in law_fields},
        ),
        drift_sd=xp.exp(by_name["log_drift_sd"]),
        length=xp.exp(by_name["log_length"]),
        misfit_sd=xp.exp(by_name["log_misfit_sd"]),
        noise_sd=xp.exp(by_name["log_noise_sd"]),
        noise_per_compute=by_name["noise_per_compute"],
        bowl_error=xp.exp(by_name["log_bowl_error"]),
        cliff=xp.exp(by_name["log_cliff"]),
        source_offset=xp.concat([xp.zeros_like(z[..., :1]), offsets], -1),
        optimum_per_input=_stacked(by_name, z),
    )


def _stacked(
    by_name: Mapping[str, Float[Array, "*set"]], z: Float[Array, "*set coordinate"]
) -> Float[Array, "*set input"]:
    slopes = [by_name[PER_INPUT + name] for name in SLOPES if PER_INPUT + name in by_name]
    return namespace(z).stack(slopes, -1) if slopes else z[..., :0]


def named_values(
    z: Float[Array, "*set coordinate"], priors: Priors
) -> dict[str, Float[Array, "*set"]]:
    """What each prior's name stands for at standard-normal coordinates."""
    xp, named = namespace(z), z[..., : len(priors)]
    away = named * (1 + priors.tail * named**2) @ priors.root.mT
    if priors.names[-1] == UNLIKENESS:
        own, others, last = away[..., :1], away[..., 1:-1], away[..., -1:]
        away = xp.concat([own, others * xp.exp(priors.location[-1] + last), last], -1)
    values = priors.location + away
    return {name: values[..., k] for k, name in enumerate(priors.names)}
