"""Prior: where is the optimal rate at a target before any run, and how sure may one be?

Each law and each recipe is a voice. A voice speaks where its runs were made and is carried from
there to the target by the exponents that the literature as a whole supports, with an error that
grows on the way. The centre is the voices' weighted median in ln LR, so that one voice gone astray
moves little.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS, LearningRateLaw
from horizon_bo.published.recipes import RECIPES, Recipe
from horizon_bo.study.horizons import PARAMETRIZATIONS, Horizon

#: Exponent of each quantity in LR* and its standard deviation between sources: our reading of
#: the published exponents, whose sign for tokens is disputed (-0.35 to +0.31).
CARRY: dict[str, tuple[float, float]] = {
    "params": (-0.40, 0.25),
    "tokens": (-0.15, 0.25),
    "batch_tokens": (0.40, 0.15),
}

#: Scatter of a law about another sweep's optimum, in ln LR: on Step Law's grid the laws of others
#: cost 0.7 to 1.4 % of the loss, which is what a miss by 2.5 to 4 times costs there.
LAW_SD = 0.9

#: The same of a recipe, which was seldom tuned at its own horizon.
RECIPE_SD = 1.0

#: An honest prior is never narrower than an octave.
LEAST_LOG_SD = math.log(2.0)

#: And a decade is wide enough: AdamW's best rates all lie within four of them.
MOST_LOG_SD = math.log(10.0)

#: Size at which standard rates are read under µP, where the base rate is tuned on a small proxy;
#: such proxies have some tens of millions of params.
MUP_BASE_PARAMS = 4e7

#: The laws that speak: absolute, for AdamW in standard parametrization, one a sweep.
SPEAKING = ("step", "bjorck", "deepseek", "porian", "kaplan")

#: Kaplan's runs: 2.5e5 steps of 512 sequences of 1024 tokens, whatever the size.
_KAPLAN_TOKENS = 2.5e5 * 2.0**19

#: Porian tuned at compute-optimal horizons, about 20 tokens per param.
_PORIAN_TOKENS_PER_PARAM = 20.0


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One source's opinion of the optimum at the target.

    Args:
        name: The law's name or the recipe's model.
        learning_rate: The rate, as given to the optimizer.
        log_sd: Standard deviation of its natural log.
    """

    name: str
    learning_rate: float
    log_sd: float


@dataclass(frozen=True, kw_only=True)
class PriorCenter:
    """The optimal rate at a target as far as the literature tells.

    Args:
        learning_rate: Centre, as given to the optimizer.
        log_sd: Standard deviation in ln LR, between ln 2 and ln 10.
        sources: Names of what was used.
        refused: Names of laws left out because they were fitted to excluded data.
        voices: The opinions behind the centre.
    """

    learning_rate: float
    log_sd: float
    sources: tuple[str, ...]
    refused: tuple[str, ...]
    voices: tuple[Voice, ...]


def prior_center(
    target: Horizon, parametrization: str = "standard", exclude_data: Collection[str] = ()
) -> PriorCenter:
    """The centre and spread of a prior on the optimal rate at the target.

    The spread combines the voices' disagreement with the error of the nearest voice. Voices
    share their exponents' error, so it does not shrink with their number.

    Args:
        target: The run to be trained; with `batch_tokens=None` each voice keeps its own batch.
        parametrization: `"standard"`, or `"mup"` for the base rate of a µP proxy; of weights that
            keep their norms no law speaks, and the answer is that for the standard one.
        exclude_data: Names of data; laws fitted to any of them are refused.
    """
    if parametrization not in PARAMETRIZATIONS:
        raise InvalidSpaceError(
            f"parametrization is {parametrization!r}, expected one of {PARAMETRIZATIONS}"
        )
    base = target
    if parametrization == "mup":
        base = replace(target, params=min(target.params, MUP_BASE_PARAMS), flops=None)  # type: ignore[arg-type]
    usable, refused = _laws(exclude_data)
    voices = [_law_voice(law, base) for law in usable]
    spoken = "mup" if parametrization == "mup" else "standard"
    recipes = [_recipe_voice(r, base) for r in RECIPES if _speaks(r, spoken)]
    voices.append(_chorus(recipes))
    center = _weighted_median(voices)
    between = _mean_square([math.log(v.learning_rate / center) for v in voices], voices)
    nearest = min(voice.log_sd for voice in voices)
    return PriorCenter(
        learning_rate=center,
        log_sd=min(max(LEAST_LOG_SD, math.hypot(math.sqrt(between), nearest)), MOST_LOG_SD),
        sources=tuple(voice.name for voice in voices),
        refused=refused,
        voices=tuple(sorted(voices, key=lambda voice: voice.learning_rate)),
    )


def _laws(exclude_data: Collection[str]) -> tuple[list[LearningRateLaw], tuple[str, ...]]:
    """The laws to use, and the names of those refused."""
    excluded = {exclude_data} if isinstance(exclude_data, str) else set(exclude_data)
    speaking = [LEARNING_RATE_LAWS[name] for name in SPEAKING]
    usable = [law for law in speaking if not excluded & set(law.data)]
    return usable, tuple(law.name for law in speaking if law not in usable)


def _law_voice(law: LearningRateLaw, target: Horizon) -> Voice:
    """A law evaluated at its own edge nearest to the target, then carried there."""
    edge = _nearest_inside(law, target)
    tuned = BATCH_LAWS.get(law.name)  # its batch was tuned with the rate
    batch = law.fitted_batch if tuned is None else tuned.batch_tokens(edge)
    anchor = replace(edge, batch_tokens=batch)
    return _carried(law.name, law.learning_rate(edge), anchor, target, LAW_SD)


def _nearest_inside(law: LearningRateLaw, target: Horizon) -> Horizon:
    """The target moved into the law's range; compute out of range scales both N and D."""
    excess = law.validity.log_excess(target)
    half = excess.get("flops", 0.0) / 2
    params = target.params * math.exp(-excess.get("params", 0.0) - half)
    tokens = target.tokens * math.exp(-excess.get("tokens", 0.0) - half)
    if law.name == "porian":
        tokens = _PORIAN_TOKENS_PER_PARAM * params
    elif law.name == "kaplan":
        tokens = _KAPLAN_TOKENS
    return Horizon(params=params, tokens=tokens)


def _speaks(recipe: Recipe, parametrization: str) -> bool:
    """Whether a recipe says anything about AdamW's rate under that parametrization."""
    adam = recipe.optimizer in ("adam", "adamw")
    return adam and recipe.tokens is not None and recipe.parametrization == parametrization


def _recipe_voice(recipe: Recipe, target: Horizon) -> Voice:
    assert recipe.tokens is not None, "only recipes that state their tokens speak"
    anchor = Horizon(
        params=target.params if recipe.parametrization == "mup" else recipe.params,
        tokens=recipe.tokens,
        batch_tokens=recipe.batch_tokens,
    )
    return _carried(recipe.model, recipe.learning_rate, anchor, target, RECIPE_SD)


def _carried(name: str, rate: float, anchor: Horizon, target: Horizon, sd: float) -> Voice:
    """A rate at the anchor brought to the target by the literature's exponents."""
    log_rate, variance = math.log(rate), sd**2
    for quantity, (exponent, exponent_sd) in CARRY.items():
        there, here = getattr(anchor, quantity), getattr(target, quantity)
        if there is not None and here is not None:
            distance = math.log(here / there)
            log_rate += exponent * distance
            variance += (exponent_sd * distance) ** 2
    return Voice(name=name, learning_rate=math.exp(log_rate), log_sd=math.sqrt(variance))


def _chorus(voices: Sequence[Voice]) -> Voice:
    """Recipes as one voice: most copied each other, so their number adds no certainty."""
    center = _weighted_median(voices)
    spread = _mean_square([math.log(v.learning_rate / center) for v in voices], voices)
    nearest = min(voice.log_sd for voice in voices)
    return Voice(
        name=f"{len(voices)} recipes",
        learning_rate=center,
        log_sd=math.hypot(math.sqrt(spread), nearest),
    )


def _weighted_median(voices: Sequence[Voice]) -> float:
    """The rate with half of the precision on either side, interpolated in ln LR."""
    ordered = sorted(voices, key=lambda voice: voice.learning_rate)
    weights = [voice.log_sd**-2 for voice in ordered]
    half, below = sum(weights) / 2, 0.0
    position, log_rate = -math.inf, math.log(ordered[0].learning_rate)
    for voice, weight in zip(ordered, weights, strict=True):
        middle, log_here = below + weight / 2, math.log(voice.learning_rate)
        if middle >= half:
            if position == -math.inf:
                return voice.learning_rate
            share = (half - position) / (middle - position)
            return math.exp(log_rate + share * (log_here - log_rate))
        position, log_rate, below = middle, log_here, below + weight
    return math.exp(log_rate)


def _mean_square(deviations: Sequence[float], voices: Sequence[Voice]) -> float:
    """Mean square deviation, weighted by the voices' precision."""
    weights = [voice.log_sd**-2 for voice in voices]
    squares = (weight * d * d for weight, d in zip(weights, deviations, strict=True))
    return sum(squares) / sum(weights)
