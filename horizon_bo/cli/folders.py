"""Command line, folders: where do a study's runs keep theirs, and what did they cost by them?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from horizon_bo import Study
    from horizon_bo.runs.cost import Measured

Folder = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Where runs keep config, logs, outcome; else STUDY.runs."),
]


def default_folder(study: str) -> Path:
    """Where a study's runs are kept unless the user says otherwise: beside it."""
    from horizon_bo.errors import InvalidObjectiveError
    from horizon_bo.store.address import address_of

    place = address_of(study)
    if "://" in study or place.path is None:
        raise InvalidObjectiveError(
            f"{place.shown} is a URL and no folder was given, expected a place for its runs; "
            "name one with --folder"
        )
    return place.path.with_suffix(".runs" if place.study is None else f".{place.study}.runs")


def known_folder(study: str, folder: str | None) -> Path | None:
    """Where runs keep their folders, if that is known."""
    return None if folder is None and "://" in study else Path(folder or default_folder(study))


def speeds(study: str, folder: str | None, values: "Study") -> "tuple[Measured, ...]":
    """The speeds of a study's runs that ended, where their folder is known."""
    from horizon_bo.runs.cost import reached

    root = known_folder(study, folder)
    return () if root is None else reached(values, root)
