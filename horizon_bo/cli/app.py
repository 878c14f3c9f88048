"""Command line: one command per `HorizonTuner` method, with its name and arguments.

A command loads, calls and prints. What is heavy is imported inside it, and a call loads the
commands of one file, so that it starts quickly.
"""

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo import __version__
from horizon_bo.cli.answer import (
    USUAL_BATCH_COST,
    AskedBatches,
    MaxBatchCost,
    OtherTarget,
    RecommendationFigure,
    show_recommendation,
)
from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    Inputs,
    StudyArgument,
    Without,
    any_number,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show,
    show_fields,
    show_json,
    trial_id,
    whole_number,
)
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from horizon_bo import Study, Suggestion, Trial

Loss = Annotated[
    float | None,
    option("--loss", "L", "Final loss (nats per token); nan or inf means diverged.", any_number),
]
Branch = Annotated[
    float | None,
    option(
        "--branch",
        "TOKENS",
        "Token count of the reading, for a run with branches; without it --diverged and --failed "
        "are said of all branches still pending.",
    ),
]


#: What one wants, and the commands for it.
AIMS = {
    "tune": "init, suggest, observe, recommend, run, worker, enqueue, extend",
    "make good": "correct, forget, withdraw",
    "learn from logs": "import, prior",
    "before the large run": "check, watch",
    "look": "status, trials, report, serve, export",
    "would it have worked": "backtest, replay, score, demo",
    "published laws": "law, transfer, audit, recipes",
}


#: Files of this folder in the order of the help, each with its commands.
FILES = {
    "start": ("init",),
    "app": ("suggest", "observe", "recommend"),
    "revisions": ("correct", "forget", "withdraw", "enqueue", "extend", "trials"),
    "tables": ("import", "export"),
    "run": ("run",),
    "worker": ("worker",),
    "status": ("status",),
    "check": ("check",),
    "watch": ("watch",),
    "report": ("report", "serve"),
    "replay": ("replay", "score"),
    "backtest": ("backtest",),
    "demo": ("demo",),
    "laws": ("law", "transfer", "audit", "recipes"),
    "prior": ("prior",),
}


@cache
def application(files: Iterable[str] = tuple(FILES)) -> typer.Typer:
    """The command line, or that of the commands in some files."""
    made = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    aims = "\n".join(f"  {aim:<22}{commands}" for aim, commands in AIMS.items())
    made.callback(epilog=f"\b\nBy what you want:\n{aims}")(main)
    for file in files:
        import_module(f"horizon_bo.cli.{file}").register(made)
    return made


def __getattr__(name: str) -> typer.Typer:
    """`app`, the whole command line, on first use."""
    if name != "app":
        raise AttributeError(f"module 'horizon_bo.cli.app' has no attribute {name!r}")
    return application()


def register(made: typer.Typer) -> None:
    """Add the commands of this file to a command line."""
    made.command(epilog=example("horizon-bo suggest runs.db -n 2"))(suggest)
    made.command(epilog=example("horizon-bo observe runs.db 0 --loss 2.91"))(observe)
    made.command(epilog=example("horizon-bo recommend runs.db"))(recommend)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"horizon-bo {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Say the version."),
    ] = False,
) -> None:
    """Choose the learning rate of one large training run from a few small ones."""


def suggest(
    study: StudyArgument,
    n: Annotated[int, option("-n", "K", "Runs to make at once.", whole_number)] = 1,
    without: Without = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Name the next runs worth making; they are pending until observed."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.cost import reached, run_gpu_hours
        from horizon_bo.runs.folder import known_folder

        tuner = HorizonTuner.open(study)
        runs = tuner.suggest(n, without=without or ())
        known = reached(tuner.study, known_folder(study, folder))
    for suggested in runs:
        hours = run_gpu_hours(tuner.study, suggested, known)
        if as_json:
            told = {} if hours is None else {"gpu_hours": hours}
            show_json({**_run_record(suggested), **told})
        else:
            show_fields(_run_fields(suggested, tuner.study, hours))


def observe(
    study: StudyArgument,
    trial_id: Annotated[
        int, typer.Argument(metavar="ID", help="Id of the suggestion.", parser=trial_id)
    ],
    loss: Loss = None,
    diverged: Annotated[bool, typer.Option("--diverged", help="Training blew up.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="The run says nothing.")] = False,
    branch: Branch = None,
    as_json: AsJson = False,
) -> None:
    """Record how a suggested run ended; give one of --loss, --diverged and --failed."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.errors import InvalidTrialError

        if (loss is not None) + diverged + failed != 1:
            raise InvalidTrialError(
                f"{(loss is not None) + diverged + failed} outcomes arrived, expected one of "
                "--loss, --diverged and --failed; give exactly one"
            )
        tuner = HorizonTuner.open(study)
        before = tuner.study.trials
        remarks = tuner.observe(
            trial_id, loss=loss, diverged=diverged, failed=failed, branch=branch
        )
    remark(remarks)
    for trial in tuner.study.trials[: len(before)]:
        if trial_id in (trial.id, trial.trunk) and trial != before[trial.id]:
            _show_outcome(trial, as_json)


def recommend(
    study: StudyArgument,
    without: Without = None,
    target: OtherTarget = None,
    batch_tokens: AskedBatches = None,
    max_batch_cost: MaxBatchCost = USUAL_BATCH_COST,
    inputs: Inputs = None,
    figure: RecommendationFigure = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Say which learning rate to train the target with, how sure that is, and whether to go on.

    The cost is in GPU-hours too where scales say their tokens per second, or runs in the folder
    have shown it.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.cost import reached
        from horizon_bo.runs.folder import known_folder

        tuner = HorizonTuner.open(study)
        asked = (batch_tokens or (), max_batch_cost, inputs)
        known = reached(tuner.study, known_folder(study, folder))
        show_recommendation(tuner, known, without or (), figure, target, *asked, as_json=as_json)


def _show_outcome(trial: "Trial", as_json: bool) -> None:
    """Print how a run, or one branch of it, ended."""
    record = {"id": trial.id, "status": trial.status, "loss": trial.loss}
    at = ""
    if trial.trunk is not None:
        record |= {"run": trial.trunk, "branch": trial.tokens}
        at = f" at {trial.tokens:g} tokens"
    ending = f" with loss {trial.loss:g}" if trial.loss else ""
    show(record, f"trial {trial.id}{at} is {trial.status}{ending}", as_json=as_json)


def _run_record(run: "Suggestion") -> dict[str, Any]:
    record = {field.name: getattr(run, field.name) for field in fields(run)}
    del record["scale"], record["row"]
    inputs = record.pop("inputs")
    told = {"inputs": inputs} if inputs else {}
    return {**record, "settings": dict(run.scale.settings), **told}


def _run_fields(run: "Suggestion", study: "Study", hours: float | None) -> dict[str, str]:
    really = "" if hours is None else f", {hours:.3g} GPU-hours"
    batch = "as the target" if run.batch_tokens is None else f"{run.batch_tokens:g}"
    return {
        "trial": str(run.id),
        "learning rate": shown_rate(run.learning_rate),
        "parameters": f"{run.params:.3e}",
        "tokens": f"{run.tokens:.3e}",
        "batch tokens": batch,
        "schedule": f"{run.schedule}, averaging {run.averaging}",
        **_branch_fields(run),
        "cost": f"{run.flops:.2e} FLOP, {run.flops / study.budget:.1%} of the budget{really}",
        **{f"  {name}": str(value) for name, value in run.scale.settings.items()},
    }


def _branch_fields(run: "Suggestion") -> dict[str, str]:
    """How a run of schedule wsd cools down, where the study says so."""
    cooldown = {} if run.cooldown is None else {"cooldown": f"the last {run.cooldown:.1%}"}
    if not run.branches:
        return cooldown
    return {**cooldown, "read at": ", ".join(f"{tokens:.6g}" for tokens in run.branches)}
