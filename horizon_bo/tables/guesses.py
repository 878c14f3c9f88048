"""Guesses: which columns of somebody's table are probably meant, by their names and values?

Names are those that nanoGPT, Hugging Face, Megatron, torchtitan, OLMo and Lightning log.
A column is taken only where its values are what they must be: rates that are positive and small,
counts that are large. What a run was meant to take goes before what it reached.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.cells import numbers

#: Names in order of preference, as patterns of the whole of a name's last parts, joined by `_`.
_RATES = (
    r"learning_rate|lr",
    r"(peak|max|maximum|base|init|initial|start|optim|optimizer|adam|adamw)_(learning_rate|lr)"
    r"|(learning_rate|lr)_(max|peak|init|base)|learningrate|eta",
    r"\w+_(learning_rate|lr)",
)
_NO_RATES = (
    r"(min|final|end|last|warmup|floor|decay|actor|critic)_(learning_rate|lr)|lr_\w*(min|end|final)"
)
_PARAMS = (
    r"\w*non_?emb\w*",
    r"params|parameters",
    r"(n|num|number_of|count|total|model|trainable|num_trainable|num_total)_(params|parameters)"
    r"|(params|parameters|param|parameter)_count|nparams|model_size|active_params",
    r"n|size|\w+_(params|parameters)|(params|parameters)_\w+",
)
_NO_PARAMS = r"(embedding|embed|emb|n_emb\w*|frozen|lora|vocab)_(params|parameters|size)"
_TOKENS = (
    r"tokens",
    r"(n|num|number_of|total|train|training|num_train|max|planned|target)_tokens|max_train_tokens"
    r"|(train|training)_budget_tokens|token_(budget|count)|tokens_(total|budget|planned)",
    r"tokens_(seen|trained|consumed|processed)|(seen|consumed|processed)_tokens"
    r"|num_(input_)?tokens_seen|(dataset|data)_tokens|\w+_tokens_seen|d",
)
_NO_TOKENS = r"\w*(per_(step|batch|sec|second|s|gpu)|throughput|val_tokens|eval_tokens|batch)\w*"
_BATCH_TOKENS = (
    r"batch_tokens|tokens_per_(batch|step|iter|update)|(global|total|train)_batch_tokens"
    r"|batch_size_(in_)?tokens|(global|total)_batch_size_(in_)?tokens",
)
_STEPS = (
    r"(max|total|num|n|train|training|num_train|num_training|total_training|total_train)_"
    r"(steps|iters|iterations)|max_(iter|step)|train_iters|steps|iters|iterations",
)
_WHOLE_BATCH = (
    r"(global|total|effective|train|total_train|global_train)_(batch_size|bsz|batch)|batch_size"
    r"|batch|bsz",
)
_PART_BATCH = (r"(per_device|per_gpu|micro|local|device)(_train)?_(batch_size|bsz)|micro_bsz",)
_ACCUMULATION = (
    r"(gradient|grad)_(accumulation|accum)(_steps)?|accumulate_grad_batches|grad_acc\w*",
)
_DEVICES = (r"world_size|(n|num)_(gpus|devices|gpu)|gpus|devices|dp_size|data_parallel_size",)
_LENGTH = (
    r"(max_)?(seq|sequence)_?(len|length)",
    r"block_size|(context|ctx)_?(len|length|size)?|n_ctx",
    r"max_(position_embeddings|length)|n_positions|model_max_length",
)
_VALIDATION = r"val|valid|validation|eval|evaluation|dev|heldout|held_out"
_LOSSES = (
    rf"(final|last)_({_VALIDATION})_(loss|ce|nll|cross_entropy|ce_loss)|({_VALIDATION})_(final|last)_loss",
    rf"({_VALIDATION})_(loss|ce|nll|cross_entropy|ce_loss|lm_loss)|loss_({_VALIDATION})",
    r"test_(loss|ce|nll|cross_entropy)",
    r"(final|last)_loss|loss",
    rf"({_VALIDATION})_\w+_(loss|ce|nll|cross_entropy|ce_loss)",
    r"(final|last|train|training)(_train)?_loss|cross_entropy|ce_loss|nll|lm_loss|values_0",
)

#: What a name may say of its unit.
_UNITS = {
    r"_(in_)?(m|mn|million|millions|mil)$": "1e6",
    r"_(in_)?(b|bn|g|billion|billions)$": "1e9",
    r"_(in_)?(k|thousand|thousands)$": "1e3",
}
#: Words in front of a name that do not change what it says.
_MEANINGLESS = (
    "config", "summary", "params", "metrics", "user_attrs", "hparams", "scalars", "name",
)  # fmt: skip
#: A batch beyond this is of tokens, where no length of a sequence is known.
_SEQUENCES = 8192
#: Parts of a name that are looked at, from its end.
_MOST_PARTS = 4
#: Share of a column's cells that must be what its name says; a crash may leave another.
_MOSTLY = 0.9


#: What is guessed, in the order of a run's making.
GUESSED = ("learning_rate", "params", "batch_tokens", "tokens", "loss")


@dataclass(frozen=True)
class Guess:
    """What one of our columns is probably made of.

    Args:
        text: As `--map` has it.
        rivals: Columns that are as likely, this one first; empty where it is the only one.
    """

    text: str
    rivals: tuple[str, ...] = ()


def guesses(frame: pd.DataFrame, given: Mapping[str, str]) -> dict[str, Guess]:
    """What our columns are probably made of, those that are given or not found left out."""
    table = _Table(frame)
    found: dict[str, Guess] = {}
    found |= _named("learning_rate", table.best(_RATES, _is_rate, _NO_RATES))
    found |= _named("params", table.count(_PARAMS, _NO_PARAMS))
    found |= _named("loss", table.best(_LOSSES, _is_loss))
    batch = table.best(_BATCH_TOKENS, _is_count) or _batch(table)
    tokens = table.count(_TOKENS[:2], _NO_TOKENS)
    steps = table.best(_STEPS, _is_step)
    found |= _named("batch_tokens", batch)
    if tokens is None and steps is not None and (batch is not None or "batch_tokens" in given):
        tokens = Guess(f"{steps.text}*batch_tokens", steps.rivals)
    if tokens is None:
        tokens = table.count(_TOKENS[2:], _NO_TOKENS)
    found |= _named("tokens", tokens)
    return {column: found[column] for column in GUESSED if column in found and column not in given}


def map_line(columns: Mapping[str, str]) -> str:
    """A mapping as the options of a command line."""
    return " ".join(f"--map {shlex.quote(f'{ours}={text}')}" for ours, text in columns.items())


def _named(column: str, guess: Guess | None) -> dict[str, Guess]:
    return {} if guess is None else {column: guess}


def _batch(table: "_Table") -> Guess | None:
    """Tokens a step, as sequences times their length."""
    length = table.best(_LENGTH, _is_step)
    whole = table.best(_WHOLE_BATCH, _is_step)
    part = table.best(_PART_BATCH, _is_step)
    times: list[Guess | None] = []
    if whole is None and part is None:
        return None
    if whole is None or (part is not None and "global" not in whole.text):
        assert part is not None
        times = [part, table.best(_DEVICES, _is_step)]
    else:
        times = [whole]
    first = times[0]
    assert first is not None
    bare = re.fullmatch(r"(.*[./])?(batch_size|batch|bsz)", first.text) is not None
    if len(times) > 1 or bare:
        times.append(table.best(_ACCUMULATION, _is_step))
    factors = [factor for factor in times if factor is not None]
    if length is None:
        median = table.median(factors[0].text)
        return factors[0] if len(factors) == 1 and median >= _SEQUENCES else None
    rivals = next((factor.rivals for factor in (*factors, length) if factor.rivals), ())
    return Guess("*".join(factor.text for factor in (*factors, length)), rivals)


class _Table:
    """A table's columns of numbers, by what their names say."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._known: dict[str, np.ndarray | None] = {}

    def best(
        self, patterns: Sequence[str], fits: Callable[[np.ndarray], bool], without: str = r"(?!)"
    ) -> Guess | None:
        """The column whose name comes first in the patterns and whose values fit."""
        for pattern in patterns:
            found = [
                (name, cells)
                for name in self.frame.columns
                if any(_matches(key, pattern, without) for key in name_parts(name))
                if (cells := self.cells(name)) is not None and fits(cells)
            ]
            if found:
                return _first(found)
        return None

    def count(self, patterns: Sequence[str], without: str) -> Guess | None:
        """The column of a large count, also in the unit that its name says.

        Where the name says none and the counts are small, whether they are millions is asked.
        """
        if (plain := self.best(patterns, _is_count, without)) is not None:
            return plain
        for name in self.frame.columns:
            for factor, key in _with_units(name):
                cells = self.cells(name)
                if cells is not None and any(_matches(key, p, without) for p in patterns):
                    return Guess(f"{name}*{factor}")
        small = self.best(patterns[:3], _is_step, without)
        return small and Guess(f"{small.text}*1e6", (f"{small.text}*1e6", small.text))

    def cells(self, name: str) -> np.ndarray | None:
        """A column's numbers, NaN where nothing stands; `None` where it is of something else."""
        if name not in self._known:
            try:
                self._known[name] = numbers(self.frame, name, "the table", "a number")
            except InvalidTableError:
                self._known[name] = None
        return self._known[name]

    def median(self, name: str) -> float:
        """The middle of a column's numbers."""
        cells = self.cells(name)
        return math.nan if cells is None else float(np.nanmedian(cells))


def _first(found: Sequence[tuple[str, np.ndarray]]) -> Guess:
    """The first of equally good columns; those that hold other numbers are its rivals.

    What a tracker measured on the way (`train/lr`) comes after what a config says.
    """
    ranked = sorted(found, key=lambda entry: _is_measured(entry[0]))  # stable
    name, cells = ranked[0]
    others = [
        other
        for other, values in ranked[1:]
        if _is_measured(other) == _is_measured(name)
        and not np.array_equal(values, cells, equal_nan=True)
    ]
    return Guess(name, (name, *others) if others else ())


def _is_measured(name: str) -> bool:
    return "/" in name and name.split("/")[0].lower() not in _MEANINGLESS


def _matches(key: str, pattern: str, without: str) -> bool:
    return bool(re.fullmatch(pattern, key)) and not re.fullmatch(without, key)


def name_parts(name: str) -> list[str]:
    """What a name may be read as: its last part, its last two, and so on."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    parts = [
        re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_") for part in re.split("[./]", spaced)
    ]
    parts = [part for part in parts if part and part != "value"]  # W&B's raw config has such
    while len(parts) > 1 and parts[0] in _MEANINGLESS:
        parts = parts[1:]
    return ["_".join(parts[-count:]) for count in range(1, min(len(parts), _MOST_PARTS) + 1)]


def _with_units(name: str) -> Iterator[tuple[str, str]]:
    """A name without what it says of its unit, and that unit as a factor."""
    for key in name_parts(name):
        for pattern, factor in _UNITS.items():
            if (plain := re.sub(pattern, "", key)) != key:
                yield factor, plain


def _is_rate(cells: np.ndarray) -> bool:
    return _mostly(cells, lambda told: (told > 0) & (told < 10))


def _is_count(cells: np.ndarray) -> bool:
    return _mostly(cells, lambda told: told >= 1000)


def _is_step(cells: np.ndarray) -> bool:
    return _mostly(cells, lambda told: told >= 1)


def _is_loss(cells: np.ndarray) -> bool:
    finite = cells[np.isfinite(cells)]
    return bool(len(finite)) and bool(np.all((finite > 0) & (finite < 100)))


def _mostly(cells: np.ndarray, fits: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether half of the cells hold something, and most of those what they must."""
    told = cells[~np.isnan(cells)]
    return len(told) >= 0.5 * len(cells) > 0 and float(np.mean(fits(told))) >= _MOSTLY
