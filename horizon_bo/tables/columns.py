"""Columns: which columns of somebody's table are the ones that a run needs?

A mapping gives our name and theirs, or a product of their columns, our other columns and numbers,
or one of these over another:

    learning_rate = optim.lr        tokens = steps * batch_tokens        batch_tokens = 524288
    warmup_share = warmup_steps / steps

or `auto`, which takes what the columns' names and values suggest. Trackers put a word before the
names they keep (`config.`, `metrics.`, …). It may be left out where that is unambiguous, and
columns that then bear our own name, in whatever case, need no mapping.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.inputs import INPUTS
from horizon_bo.study.quantities import quantity, quoted
from horizon_bo.tables.cells import as_numbers, numbers, quoted_name
from horizon_bo.tables.guesses import Guess, guesses, map_line
from horizon_bo.tables.objects import parsed_object

NEEDED = ("learning_rate", "params", "tokens", "loss")
#: Columns of numbers that must be positive where they are given.
POSITIVE = ("learning_rate", "params", "tokens", "batch_tokens", "flops", "loss_sd")
NUMBERS = (*POSITIVE, "loss", *INPUTS)
LABELS = ("source", "optimizer", "schedule", "averaging")
COLUMNS = tuple(dict.fromkeys((*NEEDED, *POSITIVE, *LABELS, *INPUTS, "diverged", "status")))

#: In a mapping: take what names and values suggest.
AUTO = "auto"

#: What W&B, MLflow, Optuna and TensorBoard put before the names of what they keep.
_ROOTS = ("config", "summary", "params", "metrics", "user_attrs", "hparams", "scalars", "name")

#: Columns that a message names at most.
_MOST_NAMED = 40


@dataclass(frozen=True)
class OurColumns:
    """A table in which our columns are found.

    Args:
        frame: The table with our columns added.
        used: Names of the table's own columns that ours are made of.
        constants: Those of our columns that a mapping gives one number for.
        remarks: What was taken in a way the author may not expect.
    """

    frame: pd.DataFrame
    used: frozenset[str]
    constants: frozenset[str]
    remarks: tuple[str, ...] = ()


def ours(frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> OurColumns:
    """The table with our columns added, as mapped, or as found behind a tracker's first word.

    Args:
        frame: The table; cells that hold mappings (W&B's config and summary) are spread first.
        columns: For each of our columns theirs, a product, or `auto`.
        name: What to call the table in a message.
    """
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise InvalidTableError(
            f"the mapping names {quoted(unknown[0])}, expected one of {', '.join(COLUMNS)}; "
            "correct it"
        )
    frame = distinct(_spread(frame))
    columns, remarks = _with_guesses(frame, columns, name)
    mapped = _Mapped(frame, columns, name)
    found: dict[str, pd.Series | float] = {c: mapped.column(c) for c in columns}
    for column in COLUMNS:
        if column not in found:
            theirs = mapped.theirs(column)
            found |= {} if theirs is None else {column: pd.Series(frame[theirs])}
    missing = [column for column in NEEDED if column not in found]
    if missing:
        raise InvalidTableError(_lacking(frame, columns, missing, name))
    for column in set(NUMBERS) & set(found):  # once, since they are asked for many times
        value = found[column]
        found[column] = as_numbers(value) if isinstance(value, pd.Series) else value
    constants = frozenset(column for column, value in found.items() if isinstance(value, float))
    return OurColumns(frame.assign(**found), frozenset(mapped.used), constants, remarks)


def _with_guesses(
    frame: pd.DataFrame, columns: Mapping[str, str], name: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The mapping with what `auto` stands for, and a line that says so."""
    asked = [c for c, text in columns.items() if text.strip() == AUTO and AUTO not in frame]
    given = {column: text for column, text in columns.items() if column not in asked}
    if not asked:
        return given, ()
    plain = _Mapped(frame, {}, name)
    known = guesses(frame, given)
    taken: dict[str, str] = {}
    for column in (column for column in known if column in asked):
        if plain.theirs(column, alone=True):
            continue
        if known[column].rivals:
            raise _ambiguous(column, known[column].rivals, name)
        taken[column] = known[column].text
    said = {column: text for column, text in taken.items() if column != text}
    remarks = (f"columns taken from {name}: {map_line(said)}",) if said else ()
    return given | taken, remarks


def _lacking(frame: pd.DataFrame, columns: Mapping[str, str], missing: list[str], name: str) -> str:
    """What to say of a table that lacks columns: what it has, and what is probably meant."""
    known, plain = guesses(frame, columns), _Mapped(frame, {}, name)
    likely = {
        column: guess
        for column, guess in known.items()
        if column in missing or not plain.theirs(column, alone=True)
    }
    proposed = {column: guess.text for column, guess in likely.items() if column != guess.text}
    whole = all(column in likely for column in missing)
    split = "" if frame.shape[1] > 1 else ", and no comma, semicolon, tab or pipe that splits them"
    said = (
        f"{name} has no column {' and no column '.join(map(repr, missing))}, expected "
        f"{', '.join(NEEDED)}; {_named(frame)}{split}: "
    )
    if not proposed:
        return f"{said}say which is meant, as in --map {missing[0]}=COLUMN"
    line = map_line(dict(columns) | proposed)
    if not whole:
        lost = " ".join(f"--map {column}=COLUMN" for column in missing if column not in likely)
        return f"{said}probably meant is {line}, and {lost} has to be said"
    unsure = _unsure(likely)
    return f"{said}probably meant is {line}{unsure or ', which --map auto takes'}"


def _unsure(likely: Mapping[str, Guess]) -> str:
    """Which of the proposed columns might be others as well."""
    parts = [
        f"{column} may also be {', '.join(map(quoted_name, guess.rivals[1:]))}"
        for column, guess in likely.items()
        if guess.rivals
    ]
    return f"; {'; '.join(parts)}" if parts else ""


class _Mapped:
    """What a mapping makes of a table's columns, each worked out once."""

    def __init__(self, frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> None:
        self.frame, self.columns, self.name = frame, columns, name
        self.used: set[str] = set()
        self._done: dict[str, pd.Series | float] = {}
        self._under_way: list[str] = []
        self._by_key: dict[str, list[str]] = {}
        for column in frame.columns:
            for key in _keys(column):
                self._by_key.setdefault(key, []).append(column)

    def column(self, column: str) -> "pd.Series | float":
        """One of our columns, as the mapping defines it."""
        if column not in self._done:
            self._under_way.append(column)
            self._done[column] = self._defined(column, self.columns[column].strip())
            self._under_way.pop()
        return self._done[column]

    def _defined(self, column: str, text: str) -> "pd.Series | float":
        if (theirs := self.theirs(text)) is not None:
            return pd.Series(self.frame[theirs])
        product: pd.Series | float = 1.0
        for factor in (part.strip() for part in text.split("*")):
            product = self._factor(column, factor) * product
        return product

    def _factor(self, column: str, factor: str) -> "pd.Series | float":
        if factor in self.columns and factor not in self._under_way:
            value = self.column(factor)
            defined = self.frame.assign(**{factor: value})
            return pd.Series(numbers(defined, factor, self.name, "a number"), self.frame.index)
        if (theirs := self.theirs(factor)) is not None:
            found = numbers(self.frame, theirs, self.name, "a number")
            return pd.Series(found, self.frame.index)
        number = quantity(factor)
        if number is not None and math.isfinite(number):
            return number
        if (quotient := self._quotient(column, factor)) is not None:
            return quotient
        raise InvalidTableError(
            f"{self.name} has no column {quoted(factor)}, which {column} is mapped to; "
            f"{_named(self.frame)}: map one of them, or a product such as {column}=steps*524288"
        )

    def _quotient(self, column: str, text: str) -> "pd.Series | float | None":
        """One factor over another, where a stroke parts two that there are; names may hold it."""
        for stroke in re.finditer("/", text):
            over, under = text[: stroke.start()].strip(), text[stroke.end() :].strip()
            if self._is_factor(over) and self._is_factor(under) and quantity(under) != 0:
                return self._factor(column, over) / self._factor(column, under)
        return None

    def _is_factor(self, text: str) -> bool:
        ours = text in self.columns and text not in self._under_way
        return ours or quantity(text) is not None or self.theirs(text, alone=True) is not None

    def theirs(self, column: str, *, alone: bool = False) -> str | None:
        """The column of that name, in whatever case, also behind a tracker's first word.

        `None` where there is none. With `alone`, several are none, instead of an error.
        """
        found = self._by_key.get(_key(column), [])
        twins = [other for other in found if _key(other) == _key(column)]
        if column in self.frame and (column not in COLUMNS or self._same(twins)):
            self.used.add(column)
            return column
        if len(found) > 1 and alone:
            return None
        if len(found) > 1:
            raise _ambiguous(column, found, self.name)
        self.used |= set(found)
        return found[0] if found else None

    def _same(self, columns: Sequence[str]) -> bool:
        """Whether columns hold the same in every row."""
        first, *others = (self.frame[column].astype(str) for column in columns)
        return all(first.equals(other) for other in others)


def _ambiguous(column: str, found: Sequence[str], name: str) -> InvalidTableError:
    likely = list(map(quoted_name, found))
    return InvalidTableError(
        f"{column} in {name} may be {' or '.join(likely)}, expected to know which; "
        f"say so, as in {map_line({column: likely[0]})}"
    )


def column_named(frame: pd.DataFrame, text: str, name: str) -> str:
    """The table's column that a text names, in whatever case."""
    found = _Mapped(frame, {}, name).theirs(text)
    if found is None:
        raise InvalidTableError(
            f"{name} has no column {quoted(text)}; {_named(frame)}: name one of them"
        )
    return found


def _key(column: str) -> str:
    """A name without what people and programs write differently."""
    return re.sub(r"[\s_-]+", "_", column.strip().strip("\ufeff\"'").casefold())


def _keys(column: str) -> list[str]:
    """What a column answers to: its name, without a tracker's first word, and without its number.

    Columns of one name are numbered, see `distinct`, so that the name alone means neither.
    """
    plain = _NUMBERED.sub("", column)
    key = _key(plain)
    root, sign, rest = re.sub(r"[./]", "\0", key, count=1).partition("\0")
    return [key, rest] if sign and root in _ROOTS and rest else [key]


_NUMBERED = re.compile(r" \(column \d+\)$")


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with names of columns that are text, and each once.

    Of columns that are the same in name and cells one is kept; others of one name are numbered.
    """
    names = [str(column).strip() for column in frame.columns]
    if len(set(names)) == len(names):
        return frame.set_axis(pd.Index(names), axis=1)
    kept: list[int] = []
    for k, name in enumerate(names):
        twins = [j for j in kept if names[j] == name]
        if not any(
            frame.iloc[:, j].astype(str).equals(frame.iloc[:, k].astype(str)) for j in twins
        ):
            kept.append(k)
    called = [names[k] for k in kept]
    numbered = [
        f"{name} (column {k + 1})" if called.count(name) > 1 else name
        for k, name in zip(kept, called, strict=True)
    ]
    return frame.iloc[:, kept].set_axis(pd.Index(numbered), axis=1)


def _named(frame: pd.DataFrame) -> str:
    """The columns there are, for a message."""
    names = sorted(quoted_name(str(column)) for column in frame.columns)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"it has {', '.join(names[:_MOST_NAMED])}{more}" if names else "it has no columns"


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with cells that hold mappings spread, as `config` into `config.optim.lr`.

    W&B's own export script writes such cells as Python prints them.
    """
    nested = {}
    for k, column in enumerate(frame.columns):
        cells = frame.iloc[:, k]
        if not is_numeric_dtype(cells.dtype) and _may_hold_mappings(cells):
            parsed = [_mapping(cell) for cell in cells.tolist()]
            nested |= {column: parsed} if any(parsed) else {}
    if not nested:
        return frame
    records = [
        {str(column): cell for column, cell in zip(nested, row, strict=True) if cell is not None}
        for row in zip(*nested.values(), strict=True)
    ]
    try:
        spread = pd.json_normalize(records).set_index(frame.index)
    except RecursionError as error:
        raise InvalidTableError(
            f"column {quoted_name(str(next(iter(nested))))} is nested too deeply, expected a "
            "mapping of settings; leave it out"
        ) from error
    flat = frame.drop(columns=list(nested))
    return flat.join(spread[[column for column in spread if column not in flat]])


def _may_hold_mappings(cells: pd.Series) -> bool:
    """Whether any cell is a mapping, or text that begins like one."""
    if isinstance(cells.dtype, pd.StringDtype):
        return bool(cells.str.startswith("{").any())
    return any(
        isinstance(cell, dict) or (isinstance(cell, str) and cell.startswith("{"))
        for cell in cells.tolist()
    )


def _mapping(cell: Any) -> dict[str, Any] | None:
    """The mapping that a cell is, or writes out."""
    if isinstance(cell, dict):
        return cell
    return parsed_object(cell) if isinstance(cell, str) and cell.startswith("{") else None
