"""Command line, watch: does the large run that has begun look as the study's runs foretell?"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from horizon_bo.cli.run import Folder, default_folder
from horizon_bo.cli.tables import Mapped, mapping_of
from horizon_bo.cli.terminal import (
    AsJson,
    StudyArgument,
    errors_as_exit_codes,
    example,
    option,
    show,
)

#: Exit code where something speaks against going on.
_WARNING = 1

CurveFile = Annotated[
    str,
    typer.Option(
        "--curve",
        metavar="FILE",
        help="The large run so far, a point a row (CSV, TSV, JSON, JSONL, Parquet): a loss, and "
        "tokens or steps.",
    ),
]
Rate = Annotated[
    float | None,
    option("--learning-rate", "R", "Peak rate of the large run; left out: the recommended one."),
]


def register(app: typer.Typer) -> None:
    """Add the command `watch` to a command line."""
    app.command(epilog=example("horizon-bo watch runs.db --curve curve.csv"))(watch)


def watch(
    study: StudyArgument,
    curve: CurveFile,
    learning_rate: Rate = None,
    columns: Mapped = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Hold the beginning of the large run against what the study foretells, in one line.

    Exit code 0 where all is fine, 1 where the rate looks too high or something else is wrong.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        place = default_folder(study) if folder is None and "://" not in study else folder
        found = tuner.watch(
            curve,
            learning_rate=learning_rate,
            columns=mapping_of(columns),
            folder=None if place is None else Path(place),
        )
    show(asdict(found), found.sentence, as_json=as_json)
    if not found.fine:
        raise typer.Exit(code=_WARNING)
