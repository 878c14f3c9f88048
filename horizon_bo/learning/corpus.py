"""Corpus: which sweeps and published fits are there to learn from, as recipes?

A corpus file (`data/corpus.toml` is the shipped one) names each recipe, its covariates and what its
data are: a sweep's runs, a table of optima, or published exponents.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tables.logged import logged_table


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe and its data, of one kind.

    Args:
        name: What it is called.
        group: Its relatives' common name.
        data: Names of its data.
        optimizer: The optimizer.
        parametrization: `"standard"` or `"mup"`.
        experts: Whether `params` are active ones.
        weight: Its share of a recipe.
        source: Where it comes from.
        runs: Its runs, if a sweep.
        optima: A table with `params, tokens, batch_tokens, lr_star`, if optima only.
        exponents: Published exponents: shares of params, tokens and batch, value and sd.
        log_sd: Standard deviation of an optimum in ln LR, for optima.
    """

    name: str
    group: str
    data: tuple[str, ...]
    optimizer: str = "adamw"
    parametrization: str = "standard"
    experts: bool = False
    weight: float = 1.0
    source: str = ""
    runs: tuple[LoggedRun, ...] = ()
    optima: pd.DataFrame | None = None
    exponents: tuple[Mapping[str, float], ...] = ()
    log_sd: float | None = None


#: Keys of an entry that say what its data are.
_DATA_KEYS = ("sweep", "where", "least", "drop", "each")


def corpus(file: Path, folders: tuple[Path, ...]) -> tuple[Recipe, ...]:
    """The recipes of a corpus file.

    Args:
        file: A TOML file with `[[recipe]]` entries.
        folders: Where its tables are looked for.
    """
    entries = tomllib.loads(file.read_text())["recipe"]
    return tuple(recipe for entry in entries for recipe in _recipes(entry, folders))


def _recipes(entry: Mapping[str, Any], folders: tuple[Path, ...]) -> Iterator[Recipe]:
    plain = {key: value for key, value in entry.items() if key not in _DATA_KEYS}
    plain["data"] = tuple(entry["data"])
    if "optima" in entry:
        plain["optima"] = pd.read_csv(_found(entry["optima"], folders))
    plain["exponents"] = tuple(entry.get("exponents", ()))
    if "sweep" not in entry:
        yield Recipe(**plain)
        return
    frame = _rows(pd.read_csv(_found(entry["sweep"], folders)), entry)
    parts = [("", frame)] if "each" not in entry else frame.groupby(entry["each"])
    for label, part in parts:
        named = {entry["each"]: label} if "each" in entry else {}
        runs = sweep_runs(part)
        yield Recipe(**{**plain, **named, "name": entry["name"].format(**named), "runs": runs})


def sweep_runs(frame: pd.DataFrame) -> tuple[LoggedRun, ...]:
    """The rows of one recipe's table as runs, whatever their `source` and `schedule` say."""
    return unlabelled(logged_table(frame.reset_index(drop=True)).runs)


def unlabelled(runs: Iterable[LoggedRun]) -> tuple[LoggedRun, ...]:
    """Runs that are of one recipe, without the labels that would tell them apart."""
    return tuple(
        replace(run, source=None, optimizer=None, schedule=None, averaging=None) for run in runs
    )


def _rows(frame: pd.DataFrame, entry: Mapping[str, Any]) -> pd.DataFrame:
    for column, values in entry.get("where", {}).items():
        frame = frame.loc[frame[column].isin(values)]
    for column, values in entry.get("drop", {}).items():
        frame = frame.loc[~frame[column].isin(values)]
    for column, value in entry.get("least", {}).items():
        frame = frame.loc[frame[column] >= value]
    return frame


def _found(name: str, folders: tuple[Path, ...]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise InvalidTableError(
        f"{name} is in none of {', '.join(map(str, folders))}, expected a table of the corpus; "
        "name the folder that holds it"
    )
