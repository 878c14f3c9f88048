"""Command line, watch: does the large run that has begun look as the study's runs foretell?"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from horizon_bo.cli.tables import Mapped, mapping_of
from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    StudyArgument,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show,
)

if TYPE_CHECKING:
    from horizon_bo.core.checks.watch import Watched

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
Warmup = Annotated[
    float | None,
    option(
        "--warmup-share",
        "SHARE",
        "Share of the large run in which its rate rises, such as 1%; left out: the target's, or "
        "2%. Before its end nothing is foretold.",
    ),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        help="Go on until the run has ended or Ctrl-C; a line where the verdict changes.",
    ),
]
Every = Annotated[
    float, option("--every", "S", "Seconds between looks at a curve that is followed.")
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
    warmup_share: Warmup = None,
    follow: Follow = False,
    every: Every = 10.0,
    as_json: AsJson = False,
) -> None:
    """Hold the beginning of the large run against what the study foretells, in one line.

    Exit code 0 where all is fine, 1 where the rate looks too high or something else is wrong.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.folder import known_folder

        tuner = HorizonTuner.open(study)
        look = partial(
            tuner.watch,
            curve,
            learning_rate=learning_rate,
            columns=mapping_of(columns),
            folder=known_folder(study, folder),
            warmup_share=warmup_share,
        )
        if follow:
            fine = _followed(look, Path(curve), tuner.study.target.tokens, every, as_json)
        else:
            found = look()
            fine = found.fine
            show(asdict(found), found.sentence, as_json=as_json)
    if not fine:
        raise typer.Exit(code=_WARNING)


def _followed(
    look: Callable[[], "Watched"], curve: Path, target_tokens: float, every_s: float, as_json: bool
) -> bool:
    """Print each new verdict, and on stderr every further per cent; whether the last is fine."""
    from horizon_bo.runs.watch import followed

    word, percent, fine = "", 0, True
    remark([] if curve.is_file() else [f"{curve} is not there yet: waiting for it"])
    try:
        for found in followed(look, curve, target_tokens, every_s):
            now = int(100 * found.tokens / target_tokens)
            if found.word != word:
                show(asdict(found), found.sentence, as_json=as_json)
            elif now > percent:
                remark([f"{now}% of the target's tokens, loss {found.loss:.4g}: {word}"])
            word, percent, fine = found.word, max(now, percent), found.fine
    except KeyboardInterrupt:
        remark(["no longer followed; the run goes on"])
    return fine
