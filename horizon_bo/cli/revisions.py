"""Command line, revisions: mistakes are corrected, minds changed, and all trials shown."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.answer import OtherTarget, other_target
from horizon_bo.cli.start import (
    SCALES,
    TARGET_AVERAGING,
    TARGET_SCHEDULE,
    Averagings,
    Batches,
    Cooldown,
    LearningRate,
    PriorCenter,
    Schedules,
    Tokens,
    budget_flops,
    space_options,
)
from horizon_bo.cli.terminal import (
    AsJson,
    Inputs,
    StudyArgument,
    any_number,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show,
    show_json,
    target_runs_or_hours,
    trial_id,
)
from horizon_bo.study.quantities import shown_count, shown_rate

if TYPE_CHECKING:
    from horizon_bo import Study, Trial
    from horizon_bo.runs.cost import Measured

Id = Annotated[int, typer.Argument(metavar="ID", help="Id of the trial.", parser=trial_id)]
Ids = Annotated[
    list[int], typer.Argument(metavar="ID…", help="Ids of the trials.", parser=trial_id)
]
Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Why, in your words; it stays in the history.")
]
CorrectLoss = Annotated[
    float | None,
    option("--loss", "L", "Final loss (nats per token); nan or inf means diverged.", any_number),
]
Diverged = Annotated[bool, typer.Option("--diverged", help="Training blew up.")]
Failed = Annotated[bool, typer.Option("--failed", help="The run says nothing.")]
Flops = Annotated[float | None, option("--flops", "C", "Compute it really took, FLOP.")]
Refund = Annotated[bool, typer.Option("--refund", help="Charge their compute no longer.")]
RunRate = Annotated[float, option("--learning-rate", "X", "Peak learning rate.")]
Params = Annotated[float, option("--params", "N", "Non-embedding parameters, a count.")]
RunTokens = Annotated[float, option("--tokens", "D", "Training tokens, a count.")]
BatchTokens = Annotated[
    float | None, option("--batch-tokens", "B", "Tokens per step; left out: the target's.")
]
Schedule = Annotated[
    str | None, typer.Option(metavar="NAME", help="Schedule; left out: the target's.")
]
Averaging = Annotated[
    str | None, typer.Option(metavar="NAME", help="Weight averaging; left out: the target's.")
]
Settings = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="For the command, beside those of the scale of that size."),
]
Budget = Annotated[
    Any,
    option(
        "--budget",
        "F",
        "Compute to spend in all, in target runs: 0.02 or 2%; or in GPU-hours: 200gpu-hours. What "
        "is spent is part of it.",
        target_runs_or_hours,
    ),
]


def register(app: typer.Typer) -> None:
    """Add what changes a study to a command line, and `trials`."""
    app.command(epilog=example("horizon-bo correct runs.db 0 --loss 3.52 --reason typo"))(correct)
    app.command(epilog=example("horizon-bo forget runs.db 0 --reason 'wrong data'"))(forget)
    app.command(epilog=example("horizon-bo withdraw runs.db 1"))(withdraw)
    lines = ("horizon-bo enqueue runs.db --learning-rate 1e-3 --params 6e7 --tokens 2e9",)
    app.command(epilog=example(*lines))(enqueue)
    app.command(epilog=example("horizon-bo extend runs.db --target 2e9,2e11 --budget 3%"))(extend)
    app.command(epilog=example("horizon-bo trials runs.db"))(trials)


def correct(
    study: StudyArgument,
    trial: Id,
    loss: CorrectLoss = None,
    diverged: Diverged = False,
    failed: Failed = False,
    flops: Flops = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Say again how a run ended, or what it took; the old value stays in the history."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        remarks = tuner.correct(
            trial, loss=loss, diverged=diverged, failed=failed, flops=flops, reason=reason
        )
    remark(remarks)
    _show_trial(tuner.study.trials[trial], as_json)


def forget(
    study: StudyArgument,
    trials: Ids,
    reason: Reason = None,
    refund: Refund = False,
    as_json: AsJson = False,
) -> None:
    """Believe as if runs that have ended had said nothing; their compute stays charged."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        tuner.forget(trials, reason=reason, refund=refund)
    for trial in trials:
        _show_trial(tuner.study.trials[trial], as_json)


def withdraw(study: StudyArgument, run: Id, reason: Reason = None, as_json: AsJson = False) -> None:
    """Take back a pending run that will not be made: it costs nothing."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        tuner.withdraw(run, reason=reason)
    _show_trial(tuner.study.trials[run], as_json)


def enqueue(
    study: StudyArgument,
    learning_rate: RunRate,
    params: Params,
    tokens: RunTokens,
    batch_tokens: BatchTokens = None,
    schedule: Schedule = None,
    averaging: Averaging = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a run of your own, which suggest, run or a worker hands out next."""
    recipe: dict[str, Any] = {"schedule": schedule, "averaging": averaging}
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        run = tuner.enqueue(
            learning_rate=learning_rate,
            params=params,
            tokens=tokens,
            batch_tokens=batch_tokens,
            settings=_settings(settings),
            **recipe,
        )
    if run.params not in [scale.params for scale in tuner.study.space.scales]:
        remark([f"no scale of the study has {shown_count(run.params)} parameters"])
    _show_trial(tuner.study.trials[run.id], as_json)


def extend(
    study: StudyArgument,
    budget: Budget = None,
    target: OtherTarget = None,
    target_schedule: Annotated[str | None, TARGET_SCHEDULE] = None,
    target_averaging: Annotated[str | None, TARGET_AVERAGING] = None,
    inputs: Inputs = None,
    scales: Annotated[str | None, SCALES] = None,
    tokens: Tokens = None,
    learning_rate: LearningRate = None,
    batches: Batches = None,
    schedules: Schedules = None,
    averagings: Averagings = None,
    cooldown: Cooldown = None,
    prior_center: PriorCenter = None,
    as_json: AsJson = False,
) -> None:
    """Change what a study asks: more budget, a larger target, other small runs, another guess.

    Its runs stay, and all that is believed is worked out anew from them. What is left out stays.
    """
    recipe: dict[str, Any] = {"schedule": target_schedule, "averaging": target_averaging}
    recipe = {name: value for name, value in recipe.items() if value is not None}
    space = (scales, tokens, learning_rate, batches, schedules, averagings, cooldown)
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.cost import reached
        from horizon_bo.runs.folder import known_folder

        tuner = HorizonTuner.open(study)
        before = tuner.study
        other = before.target if target is None else other_target(before.target, target)
        recipe |= {"inputs": {**other.inputs, **inputs}} if inputs else {}
        other = replace(other, **recipe)
        changed, known = space_options(*space), reached(before, known_folder(study, None))
        after = replace(before.space, **changed)
        tuner.extend(
            budget=None if budget is None else budget_flops(budget, other, after, before, known),
            target=other if target is not None or recipe else None,
            space=after if changed else None,
            prior_center=prior_center,
        )
    _show_extended(tuner.study, known, as_json)


def trials(study: StudyArgument, as_json: AsJson = False) -> None:
    """Show every trial: what it was, how it ended, what it cost, and what was changed since."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        frame = tuner.trials
    if as_json:
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            show_json({str(name): value for name, value in row.items()})
        return
    _show_table(tuner.study)
    for number, history in zip(frame["id"], frame["history"], strict=True):
        if history:
            typer.echo(f"trial {number}: {history}")


def _show_table(study: "Study") -> None:
    """Print a line for each trial, as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    recipes = [
        name
        for name in ("schedule", "averaging", "source")
        if len({getattr(t, name) for t in study.trials}) > 1
    ]
    inputs = [n for n in study.inputs if len({t.inputs.get(n) for t in study.trials}) > 1]
    names = ("id", "state", "rate", "parameters", "tokens", "loss", "FLOP", *inputs, *recipes)
    for name in names:
        table.add_column(name, justify="left" if name in ("state", *recipes) else "right")
    for trial in study.trials:
        cost = f"{trial.flops:.3g}" if trial.charged else "0"
        loss = "" if trial.loss is None else f"{trial.loss:.4f}"
        what = (shown_count(trial.params), shown_count(trial.tokens), loss, cost)
        recipe = [f"{trial.inputs[n]:g}" if n in trial.inputs else "" for n in inputs]
        recipe += [getattr(trial, name) for name in recipes]
        rate = shown_rate(trial.learning_rate)
        table.add_row(str(trial.id), trial.state, rate, *what, *recipe)
    Console(highlight=False).print(table)


def _show_trial(trial: "Trial", as_json: bool) -> None:
    """Print how a trial stands now."""
    kept = ("id", "state", "learning_rate", "params", "tokens", "loss", "flops", "charged")
    record = {name: getattr(trial, name) for name in kept}
    loss = "" if trial.loss is None else f" with loss {trial.loss:g}"
    said = f"trial {trial.id} is {trial.state}{loss}: rate {shown_rate(trial.learning_rate)}, "
    said += f"{shown_count(trial.params)} parameters, {shown_count(trial.tokens)} tokens, "
    said += f"{trial.flops:.3g} FLOP " + ("charged" if trial.charged else "not charged")
    show(record, said, as_json=as_json)


def _show_extended(study: "Study", known: "tuple[Measured, ...]", as_json: bool) -> None:
    from horizon_bo.runs.cost import gpu_hours
    from horizon_bo.study.extension import summary

    cost = gpu_hours(study, known, 0.0)
    record = {"budget_flops": study.budget, "target_flops": study.target.flops}
    record |= {"spent": study.spent, "gpu_hours": None if cost is None else asdict(cost)}
    said = f", {cost.spent:.3g} of about {cost.budget:.3g} GPU-hours spent" if cost else ""
    show(record, summary(study) + said, as_json=as_json)


def _settings(text: str | None) -> dict[str, Any]:
    from horizon_bo.errors import InvalidTrialError

    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidTrialError(
            f'--settings is {text!r}, expected a JSON object such as {{"width": 512}}; correct it'
        )
    return given
