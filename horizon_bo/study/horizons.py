"""Horizons: what is to be trained in the end, and which smaller runs may be made before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.inputs import checked_inputs, told
from horizon_bo.study.quantities import quoted, real, shown_count
from horizon_bo.study.sizes import non_embedding

#: What the largest batch worth naming may cost above the best, as a share of the target run.
USUAL_BATCH_COST = 0.02
#: Forward and backward pass of a dense transformer, per parameter and token.
#: Source: Kaplan et al. (2020), arXiv:2001.08361, section 2.1.
FLOPS_PER_PARAM_TOKEN = 6.0

#: Under µP, and where weights keep their norms ("hypersphere": nGPT, Loshchilov et al., 2024,
#: arXiv:2410.01131, and optimizers that hold norms), width is not expected to move the best rate.
Parametrization = Literal["standard", "mup", "hypersphere"]
PARAMETRIZATIONS: tuple[str, ...] = ("standard", "mup", "hypersphere")

#: Parameters of a model and tokens of a run that can be a study's; fewer are millions or billions.
LEAST_COUNT = 1000.0

#: Steps of the longest runs known are a few million; more, and a batch is one of sequences.
MOST_STEPS = 5e6

#: Warm-up, stable, decay: the schedule whose stable part does not depend on where it will end.
BRANCHING_SCHEDULE = "wsd"


def training_flops(params: float, tokens: float, measured: float | None = None) -> float:
    """Training compute in FLOP: as measured, else 6 · params · tokens."""
    return FLOPS_PER_PARAM_TOKEN * params * tokens if measured is None else measured


def positive(value: Any, name: str, error: type[Exception], todo: str) -> float:
    """The value as a positive finite float, or an error that names what arrived."""
    number = real(value)  # also numpy scalars and zero-dimensional arrays
    if number is None or not math.isfinite(number) or number <= 0:
        raise error(f"{name} is {quoted(value)}, expected a finite number > 0; {todo}")
    return number


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """One training run's size and length; the target is a `Horizon`.

    Args:
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        batch_tokens: Tokens per optimizer step; `None` leaves it to be chosen among the batches of
            the search space, and is no matter where that has none.
        schedule: Learning-rate schedule the loss will be read after.
        averaging: Weight averaging the loss will be read with.
        flops: Training compute in FLOP; `None` takes 6 · params · tokens.
        inputs: Numbers of its recipe, such as `{"weight_decay": 0.1}`; those that are known are
            `weight_decay`, `warmup_share`, `final_share`, `beta2`, `decay_share` and `sparsity`.
            One that is left out is that of most runs, and no matter where it is the same in all.
        vocabulary: Tokens whose embedding is in every parameter count of the study, once where
            input and output share it, twice where not; `None` where counts leave embeddings out.
    """

    params: float
    tokens: float
    batch_tokens: float | None = None
    schedule: str = "cosine"
    averaging: str = "none"
    flops: float = None  # type: ignore[assignment]  # filled in below, so readers see a float
    inputs: Mapping[str, float] = field(default_factory=dict, hash=False)
    vocabulary: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        todo = "give the target's size, tokens and batch as counts"
        for name in ("params", "tokens"):
            number = positive(
                getattr(self, name), f"{name} of the horizon", InvalidSpaceError, todo
            )
            object.__setattr__(self, name, number)
        for name in ("batch_tokens", "vocabulary"):
            if getattr(self, name) is not None:
                number = positive(
                    getattr(self, name), f"{name} of the horizon", InvalidSpaceError, todo
                )
                object.__setattr__(self, name, number)
        flops = training_flops(self.params, self.tokens, self.flops)
        number = positive(flops, "flops of the horizon", InvalidSpaceError, todo)
        object.__setattr__(self, "flops", number)
        object.__setattr__(self, "inputs", checked_inputs(self.inputs, "the horizon"))

    def size(self, params: float | None = None) -> float:
        """Non-embedding parameters of a model by its count, the target where none is given."""
        return non_embedding(self.params if params is None else params, self.vocabulary)

    @property
    def without_embeddings(self) -> "Horizon":
        """The same, its parameters counted as laws do."""
        return replace(self, params=self.size(), vocabulary=None)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A model the user can build for small runs.

    Args:
        params: Non-embedding parameters, a count.
        flops_per_token: Measured training FLOP per token; `None` takes 6 · params.
        settings: Anything a training command needs to build it (width, depth, GPUs).
        gpus: GPUs that one run takes, a count; `None` where nobody said.
        tokens_per_second: Training speed of one run, tokens per second; `None` leaves it to be
            learnt from runs that ended.
        sparsity: All parameters of a mixture of experts over the active ones, which `params` are;
            `None` means the target's.
    """

    params: float
    flops_per_token: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    gpus: float | None = None
    tokens_per_second: float | None = None
    sparsity: float | None = None

    def __post_init__(self) -> None:
        todo = "give each scale's parameter count, and leave out what is not known"
        number = positive(self.params, "params of a scale", InvalidSpaceError, todo)
        object.__setattr__(self, "params", number)
        for name in ("flops_per_token", "gpus", "tokens_per_second"):
            if getattr(self, name) is not None:
                number = positive(
                    getattr(self, name), f"{name} of a scale", InvalidSpaceError, todo
                )
                object.__setattr__(self, name, number)
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))
        own = checked_inputs({"sparsity": self.sparsity}, "a scale")
        object.__setattr__(self, "sparsity", own.get("sparsity"))

    def inputs(self, target: Horizon) -> Mapping[str, float]:
        """Numbers of the recipe of its runs for a target: the target's, but for the sparsity."""
        return {**target.inputs, **told({"sparsity": self.sparsity})}

    def flops(self, tokens: float) -> float:
        """Training compute of a run on that many tokens, in FLOP."""
        per_token = self.flops_per_token or FLOPS_PER_PARAM_TOKEN * self.params
        return per_token * tokens


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The runs a tuner may propose.

    Args:
        learning_rate: Lowest and highest rate, as given to the optimizer.
        scales: Models the user can build; a number is a `Scale` of so many parameters.
        tokens: A tuple `(lowest, highest)` is a range; a list holds the allowed values.
        batch_tokens: Allowed tokens per step; `None` means the target's, always.
        schedules: Allowed schedules; `None` means the target's, always.
        averagings: Allowed weight averagings; `None` means the target's, always.
        cooldown: Share of a run's tokens that a "wsd" schedule cools down over, between 0 and 1.
            One stable trunk may then be read at several horizons, each after a cooldown of its
            own; `None` suggests no such branches.
    """

    learning_rate: tuple[float, float]
    scales: Sequence[Scale]
    tokens: tuple[float, float] | list[float]
    batch_tokens: Sequence[float] | None = None
    schedules: Sequence[str] | None = None
    averagings: Sequence[str] | None = None
    cooldown: float | None = None

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_field("learning_rate", _range(self.learning_rate, "learning_rate"))
        set_field("scales", _scales(self.scales))
        if isinstance(self.tokens, tuple):
            set_field("tokens", _range(self.tokens, "tokens"))
        else:
            set_field("tokens", list(_values(self.tokens, "tokens")))
        if self.batch_tokens is not None:
            set_field("batch_tokens", _values(self.batch_tokens, "batch_tokens"))
        for name in ("schedules", "averagings"):
            if getattr(self, name) is not None:
                set_field(name, tuple(getattr(self, name)))
        if self.cooldown is not None:
            set_field("cooldown", _share(self.cooldown, "cooldown"))


def open_batches(target: Horizon, space: SearchSpace) -> tuple[float, ...]:
    """The batches that a target without one is to choose among; none where nothing is open."""
    return tuple(space.batch_tokens or ()) if target.batch_tokens is None else ()


def anchored(target: Horizon, space: SearchSpace) -> Horizon:
    """The target with the middle one of the batches it leaves open, the origin of all logs."""
    batches = open_batches(target, space)
    return replace(target, batch_tokens=batches[len(batches) // 2]) if batches else target


def refuse_unlikely_sizes(target: Horizon, space: SearchSpace) -> None:
    """Refuse counts that must be of another unit, and models larger than the target.

    Raises:
        InvalidSpaceError: A study of these sizes would answer another question.
    """
    counts = {
        "params of the target": target.params,
        "tokens of the target": target.tokens,
        "params of the smallest scale": min(scale.params for scale in space.scales),
        "fewest tokens of small runs": min(space.tokens),
    }
    for name, count in counts.items():
        if count < LEAST_COUNT:
            raise InvalidSpaceError(
                f"{name} is {count:g}, expected a count of at least {LEAST_COUNT:g}; if it is of "
                "millions or billions, write 45M or 7B on the command line, 45e6 or 7e9 in Python"
            )
    smallest = min(scale.params for scale in space.scales)
    if target.size(smallest) < LEAST_COUNT:
        raise InvalidSpaceError(
            f"a vocabulary of {target.vocabulary:g} leaves {target.size(smallest):.3g} of the "
            f"smallest scale's {shown_count(smallest)} parameters, expected at least "
            f"{LEAST_COUNT:g}; give the tokens whose embedding is counted, once or twice"
        )
    sparse = [scale for scale in space.scales if scale.sparsity is not None]
    if sparse and "sparsity" not in target.inputs:
        raise InvalidSpaceError(
            f"the scale of {shown_count(sparse[0].params)} parameters says its sparsity, "
            f"{sparse[0].sparsity:g}, and the target does not; say it in the target's inputs, on "
            "the command line --target-params ACTIVE/ALL"
        )
    refuse_batches(space.batch_tokens or (), min(space.tokens), "fewest tokens of small runs")
    if target.batch_tokens is not None:
        refuse_batches([target.batch_tokens], target.tokens, "target's tokens")
    largest = max(scale.params for scale in space.scales)
    if largest > target.params:
        raise InvalidSpaceError(
            f"the largest scale has {shown_count(largest)} parameters, expected no more than the "
            f"target's {shown_count(target.params)}: small runs are to cost less than the target; "
            "leave it out, or check the units"
        )


def refuse_batches(batches: Sequence[float], tokens: float, whose: str) -> None:
    """Refuse batches that are larger than all that there is to train on.

    Raises:
        InvalidSpaceError: Not one step could be made.
    """
    largest = max(batches, default=0.0)
    if largest > tokens:
        raise InvalidSpaceError(
            f"batch_tokens is {shown_count(largest)}, expected no more than the {whose}, "
            f"{shown_count(tokens)}: a batch is the tokens of one step; give fewer, or more tokens"
        )


def batches_asked(batches: Any, target: Horizon) -> tuple[float, ...]:
    """Batches to choose among for a target, checked, ascending.

    Raises:
        InvalidSpaceError: They are no counts, or larger than all that the target trains on.
    """
    if isinstance(batches, Sequence) and not batches:
        return ()
    values = _values(batches, "batch_tokens")
    refuse_batches(values, target.tokens, "target's tokens")
    return values


def asked_about(
    target: Horizon, space: SearchSpace, batches: Any, inputs: Mapping[str, float] | None
) -> tuple[Horizon, tuple[float, ...]]:
    """The target that a question is about, and the batches to choose among, checked.

    Its batch is the middle one of those asked where nothing else is said of batch.

    Args:
        target: The target, but for what is asked.
        space: The runs that may be made.
        batches: Tokens per step to choose among, if any.
        inputs: Numbers of the recipe that the target is to have instead of its own.
    """
    if inputs:
        target = replace(target, inputs={**target.inputs, **inputs})
    asked = batches_asked(batches, target)
    if target.batch_tokens is None and asked and not space.batch_tokens:
        target = replace(target, batch_tokens=asked[len(asked) // 2])
    return target, asked


def unlikely_batches(target: Horizon, space: SearchSpace) -> tuple[str, ...]:
    """Remarks about batches of the target and of small runs that must be of another unit."""
    own = [] if target.batch_tokens is None else [target.batch_tokens]
    small = batch_doubts(space.batch_tokens or (), min(space.tokens))
    return batch_doubts(own, target.tokens) or small


def batch_doubts(batches: Sequence[float], tokens: float) -> tuple[str, ...]:
    """A remark where batches would take so many steps that they must be counts of sequences."""
    few = [batch for batch in batches if tokens / batch > MOST_STEPS]
    if not few:
        return ()
    return (
        f"a batch of {shown_count(min(few))} tokens takes {tokens / min(few):.1e} steps on "
        f"{shown_count(tokens)} tokens, expected no more than {MOST_STEPS:.0e}: if it is of "
        "sequences, multiply by their length in tokens",
    )


def _scales(scales: Any) -> tuple[Scale, ...]:
    todo = "name models to build, such as Scale(params=45e6)"
    if isinstance(scales, str) or not isinstance(scales, Sequence):
        raise InvalidSpaceError(f"scales is {quoted(scales)}, expected a list of Scale; {todo}")
    if not scales:
        raise InvalidSpaceError(f"scales is empty, expected at least one Scale; {todo}")
    return tuple(
        scale
        if isinstance(scale, Scale)
        else Scale(params=positive(scale, "a scale", InvalidSpaceError, todo))
        for scale in scales
    )


def _share(value: Any, name: str) -> float:
    todo = f"give {name} as a share of a run's tokens, such as 0.2"
    number = positive(value, name, InvalidSpaceError, todo)
    if number >= 1:
        raise InvalidSpaceError(f"{name} is {value!r}, expected between 0 and 1; {todo}")
    return number


def _range(bounds: Any, name: str) -> tuple[float, float]:
    todo = f"give {name} as (lowest, highest)"
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        raise InvalidSpaceError(f"{name} is {bounds!r}, expected two numbers; {todo}")
    low, high = (positive(bound, f"bound of {name}", InvalidSpaceError, todo) for bound in bounds)
    if low > high:
        raise InvalidSpaceError(f"{name} is {bounds!r}, expected lowest <= highest; swap them")
    return low, high


def _values(values: Any, name: str) -> tuple[float, ...]:
    todo = f"give the allowed {name} as a list of counts"
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InvalidSpaceError(f"{name} is {values!r}, expected a non-empty list; {todo}")
    return tuple(sorted({positive(v, f"value of {name}", InvalidSpaceError, todo) for v in values}))
