"""Address: which tracker, where, and which part of it is meant?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from horizon_bo.errors import InvalidTableError, MissingExtraError


@dataclass(frozen=True)
class TrackedRuns:
    """What a tracker holds, as its own library tells it.

    Args:
        frame: A run a row.
        remarks: What was left out.
    """

    frame: pd.DataFrame
    remarks: tuple[str, ...] = ()


def part_of(address: str, trackers: Sequence[str]) -> tuple[str, str, str | None] | None:
    """Tracker, place and part of `tracker:place#part`, or `None` for another kind of text."""
    tracker, colon, rest = address.partition(":")
    if not colon or tracker not in trackers:
        return None
    place, sharp, part = rest.rpartition("#")
    if not sharp:
        place, part = rest, ""
    if not place:
        raise InvalidTableError(
            f"{address!r} names no place, expected {tracker}:PLACE; say where its runs are kept"
        )
    return tracker, place, part or None


def missing_extra(tracker: str, address: str, error: ImportError) -> MissingExtraError:
    """What to say where a tracker's own library is not installed."""
    return MissingExtraError(address, error.name or tracker, tracker)


def refuse_lost_database(url: str, tracker: str) -> None:
    """Refuse an SQLite database that is not there; to open it would make it."""
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise InvalidTableError(
            f"{tracker}:{url} is no file, expected a database that {tracker} wrote; check the path"
        )


def told(value: Any) -> Any:
    """A number as a table keeps it: NaN as a word, since an empty cell would mean no reading."""
    return "nan" if isinstance(value, float) and value != value else value


def only_one(names: Sequence[str], part: str | None, address: str, what: str) -> str:
    """The part that is meant, where it was named or is the only one."""
    if part is not None and part in names:
        return part
    if part is None and len(names) == 1:
        return names[0]
    there = f"it has {', '.join(sorted(names))}" if names else f"it has no {what}"
    asked = f"no {what} {part!r}" if part else f"{len(names)} of {what}"
    raise InvalidTableError(f"{address} has {asked}, expected one; {there}: name one behind a #")
