"""Constants: where do the figures of the literature stand, and how are they read?

`laws.toml` and `recipes.toml` beside this file hold them, with their sources. They are part of the
package like its code: reading them here touches nothing that could differ between two runs.
"""

import math
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, TypeVar

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.validity import Validity

Law = TypeVar("Law")


def entries(file: str, kind: str) -> list[dict[str, Any]]:
    """All entries of a kind, in order; lists are tuples, a range of validity is one."""
    text = files("horizon_bo.published").joinpath(f"{file}.toml").read_text(encoding="utf-8")
    return [_frozen(entry) for entry in tomllib.loads(text)[kind]]


def named(laws: Mapping[str, Law], name: str, what: str) -> Law:
    """The law of that name, or an error that lists the names there are."""
    if name not in laws:
        raise InvalidSpaceError(
            f"{what} is {name!r}, expected one of {', '.join(laws)}; see `horizon-bo law list`"
        )
    return laws[name]


def log_prefactor(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the natural log of its prefactor, `None` where it states exponents only."""
    prefactor = entry.get("prefactor")
    return {**entry, "prefactor": None if prefactor is None else math.log(prefactor)}


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        frozen = {name: _frozen(entry) for name, entry in value.items()}
        return {
            name: Validity(**entry) if name == "validity" else entry
            for name, entry in frozen.items()
        }
    return value
