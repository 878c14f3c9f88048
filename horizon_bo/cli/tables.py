"""Command line, trackers: runs come from tables and trackers, and a study goes to a tracker."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    StudyArgument,
    errors_as_exit_codes,
    example,
    remark,
    show,
)

if TYPE_CHECKING:
    from horizon_bo.tables.logged import LoggedTable

_TABLE = (
    "CSV, TSV, JSON, JSONL or Parquet, a run a row (W&B's exports among them), or a tracker: "
    "mlflow:URI#EXPERIMENT, tensorboard:FOLDER, optuna:URL#STUDY; or another study. Columns: "
    "learning_rate, params, tokens, loss, and where known batch_tokens, schedule, averaging, "
    "source, flops, loss_sd, diverged, status, weight_decay, warmup_share, final_share, beta2, "
    "decay_share."
)

ImportedTable = Annotated[
    str | None,
    typer.Option("--import", metavar="TABLE", help="Logged runs to start from, as for import."),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OURS=THEIRS",
        help="Which column is meant, given once a column: learning_rate=optim.lr; a number: "
        "batch_tokens=524288; a product: tokens=steps*batch_tokens; or a quotient: "
        "warmup_share=warmup_steps/steps. auto: those that names and values suggest.",
    ),
]
LastOf = Annotated[
    str | None,
    typer.Option(
        "--last-of",
        metavar="RUN",
        help="Rows are points of learning curves: keep the last of each run, told by this column.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="STEP", help="What grows along a run; left out: its steps, else its tokens."
    ),
]
Repeats = Annotated[
    bool, typer.Option("--repeats", help="Rows that repeat another exactly are runs of their own.")
]


def register(app: typer.Typer) -> None:
    """Add the commands `import` and `export` to a command line."""
    lines = (
        "horizon-bo import runs.db export.csv --source old-recipe",
        "--map learning_rate=optim.lr --map tokens=steps*524288",
    )
    app.command("import", epilog=example(*lines))(import_runs)
    app.command(epilog=example("horizon-bo export runs.db tensorboard:events"))(export)


def import_runs(
    study: StudyArgument,
    table: Annotated[str, typer.Argument(metavar="TABLE", help=_TABLE)],
    mapped: Mapped = None,
    last_of: LastOf = None,
    by: By = None,
    repeats: Repeats = False,
    count_cost: Annotated[
        bool, typer.Option("--count-cost", help="Charge their compute to the budget.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(help="Recipe of rows that name none; left out: the study's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn from logged runs; they are free unless --count-cost is given.

    Of a table or tracker that is imported again only the runs that are new are added.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        before = len(tuner.study.trials)
        logged = checked_table(
            table, mapped, source=source, last_of=last_of, by=by, repeats=repeats
        )
        remarks = tuner.import_runs(logged, count_cost=count_cost)
    remark(remarks)
    added = tuner.study.trials[before:]
    ended = {word: sum(t.status == word for t in added) for word in ("diverged", "failed")}
    record = {"imported": len(added), **ended, "trials": len(tuner.study.trials)}
    said = f"{len(added)} runs imported, {ended['diverged']} of them diverged"
    said += f" and {ended['failed']} failed" if ended["failed"] else ""
    show(record, said, as_json=as_json)


def export(
    study: StudyArgument,
    tracker: Annotated[
        str,
        typer.Argument(
            metavar="PLACE", help="FILE.csv, mlflow:URI#EXPERIMENT or tensorboard:FOLDER."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write every trial to a table, or with the recommendation to a tracker; nothing is doubled."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        tuner.export(tracker)
    count = len(tuner.study.trials)
    table = tracker.endswith(".csv")
    record = {"table" if table else "tracker": tracker, "trials": count}
    what = f"{count} trials" if table else f"{count} trials and the recommendation"
    show(record, f"{what} are in {tracker}", as_json=as_json)


def checked_table(table: str, mapped: Sequence[str] | None, **given: Any) -> "LoggedTable":
    """The runs of a table, read before anything is changed; `given` are options of its reader."""
    from horizon_bo.runs.other_study import logged_study
    from horizon_bo.store.opening import names_study
    from horizon_bo.tables.logged import logged_table

    if names_study(table):
        return logged_study(table, given.get("source"))
    return logged_table(table, columns=mapping_of(mapped), **given)


def mapping_of(mapped: Sequence[str] | None) -> Mapping[str, str]:
    """The mapping that `--map OURS=THEIRS` gives, each of ours once; `auto` fills in the others."""
    from horizon_bo.errors import InvalidTableError
    from horizon_bo.study.quantities import quoted

    columns: dict[str, str] = {}
    for text in mapped or ():
        if text.strip() == "auto":
            continue
        ours, equals, theirs = text.partition("=")
        if not (equals and ours.strip() and theirs.strip()) or ours.strip() in columns:
            raise InvalidTableError(
                f"--map is {quoted(text)}, expected OURS=THEIRS with each of ours once, or auto; "
                "write it like --map learning_rate=optim.lr"
            )
        columns[ours.strip()] = theirs.strip()
    if any(text.strip() == "auto" for text in mapped or ()):
        from horizon_bo.tables.guesses import GUESSED

        return dict.fromkeys(GUESSED, "auto") | columns
    return columns
