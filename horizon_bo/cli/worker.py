"""Command line, worker: make runs of a study that others make runs of at the same time."""

from dataclasses import asdict
from typing import Annotated

import typer

from horizon_bo.cli.run import (
    Builtin,
    CommandOption,
    MaxRuns,
    RecipeOption,
    Texts,
    Timeout,
    UntilBudget,
    objective_of,
)
from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    StudyArgument,
    Without,
    errors_as_exit_codes,
    example,
    show,
)

Retries = Annotated[
    int,
    typer.Option(
        metavar="R",
        help="Attempts of a run that may come to nothing (a dead worker, a kill, a time-out, no "
        "memory) before it is given up.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command `worker` to a command line."""
    lines = (
        "horizon-bo worker runs.db --max-runs 1 --command",
        "  'python train.py --lr {learning_rate} --params {params} --tokens {tokens}'",
    )
    app.command(epilog=example(*lines))(worker)


def worker(
    study: StudyArgument,
    command: CommandOption = None,
    builtin: Builtin = False,
    text: Texts = None,
    recipe: RecipeOption = None,
    folder: Folder = None,
    timeout: Timeout = None,
    retries: Retries = 1,
    max_runs: MaxRuns = None,
    until_budget: UntilBudget = False,
    without: Without = None,
    as_json: AsJson = False,
) -> None:
    """Take the next run, train it and report, again and again until the study says stop.

    Start as many as there are machines. One that is killed loses nothing: its run is offered
    again. On SIGTERM, SIGUSR1 and Ctrl-C it gives its run back and ends.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.folder import default_folder

        tuner = HorizonTuner.open(study)
        report = tuner.work(
            objective_of(tuner, command, text or [], recipe, builtin=builtin),
            folder=folder or default_folder(study),
            timeout_s=timeout,
            retries=retries,
            max_runs=max_runs,
            until_budget=until_budget,
            without=without or (),
        )
    said = f"{len(report.observed)} runs ended; no more: {report.reason}"
    show(asdict(report), said, as_json=as_json)
