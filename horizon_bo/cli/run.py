"""Command line, run: train the small runs themselves until the budget or the stop rule ends it."""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    StudyArgument,
    Without,
    errors_as_exit_codes,
    example,
    names,
    option,
    remark,
    show_json,
)

if TYPE_CHECKING:
    from horizon_bo import HorizonTuner
    from horizon_bo.runs.commands import Command
    from horizon_bo.runs.jobs import RunEvent, Watch, WatchedState
    from horizon_bo.runs.plan import RunReport

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: Exit code of a program ended by Ctrl-C.
_INTERRUPTED = 130

CommandOption = Annotated[
    str | None,
    typer.Option(
        "--command",
        metavar="TEMPLATE",
        help="Training command, never passed through a shell. Filled in: {learning_rate} {params} "
        "{tokens} {batch_tokens} {flops} {schedule} {averaging} {branches} {cooldown} {id} {seed} "
        "{folder} and the scale's settings by name. It writes {folder}/result.json with the loss "
        "(nats per token), or prints it as its last line, alone or as loss=2.91.",
    ),
]
Builtin = Annotated[
    bool,
    typer.Option("--builtin", help="Train with the built-in trainer; scales are shapes (32x2)."),
]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="FILE",
        help="Text for the built-in trainer, given once a file: plain, .bz2, or nanoGPT's "
        "train.bin and val.bin. Left out: Python's standard library.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="JSON", help="Built-in trainer: optimizer, weight_decay, warmup, …"
    ),
]
Parallel = Annotated[
    int | None, typer.Option(metavar="K", help="Runs at once; left out: one, or one a GPU.")
]
Gpus = Annotated[
    Sequence[str] | None,
    option("--gpus", "0,1", "GPUs to share, as CUDA_VISIBLE_DEVICES has them.", names),
]
Timeout = Annotated[float | None, option("--timeout", "S", "Longest time of an attempt, seconds.")]
Retries = Annotated[
    int,
    typer.Option(
        metavar="R", help="Further attempts after a kill, a time-out, no memory, a lost GPU."
    ),
]
MaxRuns = Annotated[int | None, typer.Option(metavar="M", help="Runs to start at most.")]
UntilBudget = Annotated[bool, typer.Option("--until-budget", help="Ignore the advice to stop.")]
TrainTarget = Annotated[
    bool,
    typer.Option(
        "--train-target", help="At the end train the target once; not part of the budget."
    ),
]
TargetSettings = Annotated[
    str | None, typer.Option(metavar="JSON", help="Settings of the target, as a scale has them.")
]
On = Annotated[
    str,
    typer.Option(
        "--on", metavar="ENGINE", help="What trains the runs: local (this machine), slurm, ray."
    ),
]
Resources = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=VALUE,…",
        help="What a run needs of a cluster's machine unless its scale's settings say it: nodes, "
        "gpus, cpus (counts), memory (16G), time (HH:MM:SS), partition, and options by the "
        "engine's own names.",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Wall-clock time for all of it, as 45m, 12h or 2d: runs that would end later, by the "
        "speed of those that ended, are not started.",
    ),
]
Cancel = Annotated[
    bool,
    typer.Option("--cancel", help="End what an earlier loop left on a cluster, and start nothing."),
]


def register(app: typer.Typer) -> None:
    """Add the command `run` to a command line."""
    lines = (
        "horizon-bo run runs.db --parallel 2 --max-runs 2 --command",
        "  'python train.py --lr {learning_rate} --params {params} --tokens {tokens}'",
    )
    app.command(epilog=example(*lines))(run)


def run(
    study: StudyArgument,
    command: CommandOption = None,
    builtin: Builtin = False,
    text: Texts = None,
    recipe: RecipeOption = None,
    folder: Folder = None,
    parallel: Parallel = None,
    gpus: Gpus = None,
    timeout: Timeout = None,
    retries: Retries = 1,
    max_runs: MaxRuns = None,
    until_budget: UntilBudget = False,
    without: Without = None,
    train_target: TrainTarget = False,
    target_settings: TargetSettings = None,
    on: On = "local",
    resources: Resources = None,
    deadline: Deadline = None,
    cancel: Cancel = False,
    as_json: AsJson = False,
) -> None:
    """Suggest, train and observe until the budget or the advice to stop ends it.

    Ended at any point, the same command goes on where it was. Jobs of a cluster go on meanwhile,
    and are taken over.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.folder import default_folder

        tuner = HorizonTuner.open(study)
        place = Path(folder or default_folder(study))
        if cancel:
            _cancelled(tuner, place, on)
        report = _looped(
            tuner,
            objective_of(tuner, command, text or [], recipe, builtin=builtin),
            place,
            as_json=as_json,
            **_places(on, resources, parallel, gpus),
            **_limits(timeout, retries, max_runs, until_budget, without, deadline),
            **_target(train_target, target_settings),
        )
    _show_report(report, as_json=as_json)


def _looped(
    tuner: "HorizonTuner", objective: "str | Command", folder: Path, *, as_json: bool, **plan: Any
) -> "RunReport":
    """What `HorizonTuner.run` reports, shown as it goes on."""
    from horizon_bo.runs.progress import watching

    with _interruptible(tuner, plan["on"]), watching() as seen:
        watch = _with_json(seen) if as_json else seen
        return tuner.run(objective, folder=folder, watch=watch, **plan)


def _places(
    on: str, resources: str | None, parallel: int | None, gpus: Sequence[str] | None
) -> dict[str, Any]:
    """Where runs train, with what each, and how many at once."""
    devices = gpus or []
    return {
        "on": on,
        "resources": _resources(resources),
        "parallel": max(1, len(devices)) if parallel is None else parallel,
        "gpus": devices,
    }


def _limits(
    timeout: float | None,
    retries: int,
    max_runs: int | None,
    until_budget: bool,
    without: Sequence[float] | None,
    deadline: str | None,
) -> dict[str, Any]:
    """How long, how often and how far."""
    return {
        "timeout_s": timeout,
        "retries": retries,
        "max_runs": max_runs,
        "until_budget": until_budget,
        "without": without or (),
        "deadline_s": _duration_s(deadline),
    }


def _target(train_target: bool, settings: str | None) -> dict[str, Any]:
    """Whether the target itself is trained, and how."""
    given = _json_object(settings, "--target-settings")
    return {"train_target": train_target, "target_settings": given}


def _cancelled(tuner: "HorizonTuner", folder: Path, on: str) -> NoReturn:
    """End what an earlier loop left on a cluster, say which runs that were, and exit."""
    from horizon_bo.runs.leftover import cancel_left_over
    from horizon_bo.runs.plan import RunPlan

    names = cancel_left_over(tuner.study, folder, RunPlan(on=on))
    which = f" ({', '.join(names)})" if names else ""
    typer.echo(f"{len(names)} runs were under way and are ended{which}; they stay pending")
    raise typer.Exit


def _resources(text: str | None) -> dict[str, str]:
    """Names and values of what a run needs of a machine."""
    from horizon_bo.errors import InvalidObjectiveError

    pairs = [part.partition("=") for part in text.split(",")] if text else []
    if not all(name.strip() and value.strip() for name, _, value in pairs):
        raise InvalidObjectiveError(
            f"--resources is {text!r}, expected NAME=VALUE,… such as gpus=8,time=12:00:00; "
            "correct it"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _duration_s(text: str | None) -> float | None:
    """A duration in seconds from a number and its unit."""
    from horizon_bo.errors import InvalidObjectiveError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text or "0s")
    if match is None:
        raise InvalidObjectiveError(
            f"--deadline is {text!r}, expected a number and s, m, h or d, such as 12h; correct it"
        )
    return None if text is None else float(match[1]) * _SECONDS[match[2]]


@contextmanager
def _interruptible(tuner: "HorizonTuner", on: str) -> Iterator[None]:
    """On Ctrl-C say what is left and how to go on, and exit as programs do then."""
    try:
        yield
    except KeyboardInterrupt:
        from horizon_bo.store.address import masked

        waiting = sum(trial.status == "pending" for trial in tuner.study.trials)
        again = masked(shlex.join(["horizon-bo", *sys.argv[1:]]))
        jobs = "" if on == "local" else " and their jobs go on, unless ended by --cancel"
        remark([f"interrupted, {waiting} runs stay pending{jobs}; go on with: {again}"])
        raise typer.Exit(code=_INTERRUPTED) from None


def objective_of(
    tuner: "HorizonTuner",
    command: str | None,
    text: list[str],
    recipe: str | None,
    *,
    builtin: bool,
) -> "str | Command":
    """The training command that the options mean: a template, or the built-in trainer."""
    from horizon_bo.errors import InvalidObjectiveError

    if builtin == (command is not None):
        raise InvalidObjectiveError(
            f"{'both' if builtin else 'neither'} of --command and --builtin arrived, expected one; "
            "say how to train"
        )
    if command is not None:
        if text or recipe:
            raise InvalidObjectiveError(
                "--text and --recipe came with --command, expected --builtin; put them into the "
                "command"
            )
        return command
    from horizon_bo.runs.builtin import builtin_command

    given = _json_object(recipe, "--recipe")
    return builtin_command(tuner.study, text=text, recipe=given)


def _json_object(text: str | None, flag: str) -> dict[str, Any]:
    from horizon_bo.errors import InvalidObjectiveError

    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidObjectiveError(
            f'{flag} is {text!r}, expected a JSON object such as {{"width": 512}}; correct it'
        )
    return given


def _with_json(seen: "Watch") -> "Watch":
    """A watch that also prints one JSON object per run that ended."""
    from horizon_bo.runs.cost import run_gpu_hours

    def watch(state: "WatchedState", event: "RunEvent | None") -> None:
        seen(state, event)
        if event is not None and event.outcome is not None:
            trial, outcome = state.study.trials[event.run.id], event.outcome
            hours = run_gpu_hours(state.study, event.run, state.measured)
            kept = ("learning_rate", "params", "tokens", "batch_tokens", "flops", "status", "loss")
            show_json(
                {
                    "id": trial.id,
                    **{name: getattr(trial, name) for name in kept},
                    "cause": outcome.cause,
                    "detail": outcome.detail,
                    "elapsed_s": outcome.elapsed_s,
                    "gpu_hours": hours,
                    "folder": str(event.folder),
                }
            )

    return watch


def _show_report(report: "RunReport", *, as_json: bool) -> None:
    best, target = report.recommendation, report.target
    if as_json:
        record = {field.name: getattr(best, field.name) for field in fields(best)}
        check = None
        if target is not None:
            check = {
                "learning_rate": target.learning_rate,
                "predicted_loss": target.predicted_loss,
                "status": target.outcome.status,
                "loss": target.outcome.loss,
                "cause": target.outcome.cause,
                "detail": target.outcome.detail,
            }
        hours = None if report.gpu_hours is None else asdict(report.gpu_hours)
        show_json({**record, "ended": report.reason, "target": check, "gpu_hours": hours})
        return
    from horizon_bo.runs.progress import belief_line, cost_line

    typer.echo(f"{len(report.observed)} runs ended; no more: {report.reason}")
    typer.echo(belief_line(best))
    if report.gpu_hours is not None:
        typer.echo(cost_line(report.gpu_hours))
    if target is not None:
        typer.echo(_target_line(report))
    remark(best.warnings)


def _target_line(report: "RunReport") -> str:
    target = report.target
    assert target is not None
    outcome = target.outcome
    if outcome.loss is None:
        return f"target  {outcome.status} at rate {target.learning_rate:.3g}: {outcome.detail}"
    miss = outcome.loss - target.predicted_loss
    return (
        f"target  loss {outcome.loss:.4f} at rate {target.learning_rate:.3g}, predicted "
        f"{target.predicted_loss:.4f} ({1e3 * miss:+.1f} thousandths)"
    )
