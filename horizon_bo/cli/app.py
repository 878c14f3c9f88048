"""Command line: one command per `HorizonTuner` method, with its name and arguments.

A command loads, calls and prints. What is heavy is imported inside it, so that `--help` is quick.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli import backtest, demo, laws, replay, report, run, tables
from horizon_bo.cli.tables import By, ImportedTable, LastOf, Mapped, Repeats, checked_table
from horizon_bo.cli.terminal import (
    AsJson,
    StudyArgument,
    Without,
    any_number,
    errors_as_exit_codes,
    example,
    names,
    option,
    pair,
    positive_number,
    positive_numbers,
    remark,
    show,
    show_fields,
    show_json,
    target_runs,
    trial_id,
)
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from horizon_bo import (
        Horizon,
        HorizonTuner,
        Recommendation,
        Scale,
        SearchSpace,
        Study,
        Suggestion,
        Trial,
    )

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

TargetParams = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Non-embedding parameters of the target, a count, or a shape of the built-in trainer "
        "such as 128x2.",
    ),
]
TargetTokens = Annotated[
    float, option("--target-tokens", "D", "Training tokens of the target, a count.")
]
BatchTokens = Annotated[
    float | None, option("--batch-tokens", "B", "Tokens per optimizer step of the target.")
]
Scales = Annotated[
    str,
    typer.Option(
        metavar="N1,N2,…|FILE.json",
        help="Models for small runs: parameter counts, shapes of the built-in trainer such as "
        "32x2,64x2 (width x depth), or a JSON list of objects with params, flops_per_token (FLOP) "
        "and settings.",
    ),
]
# typer takes a tuple for two arguments, so a pair is declared as any value
Tokens = Annotated[Any, option("--tokens", "LO,HI", "Training tokens of small runs.", pair)]
LearningRate = Annotated[Any, option("--learning-rate", "LO,HI", "Peak learning rates.", pair)]
Budget = Annotated[
    float,
    option("--budget", "F", "Compute to spend in all, in target runs: 0.02 or 2%.", target_runs),
]
Parametrization = Annotated[str, typer.Option(help="standard or mup.")]
PriorCenter = Annotated[
    float | None, option("--prior-center", "X", "Guess of the target's best learning rate.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of every random choice.")]
TargetSchedule = Annotated[
    str,
    typer.Option(
        "--target-schedule", metavar="NAME", help="Schedule that the target is trained under."
    ),
]
TargetAveraging = Annotated[
    str,
    typer.Option(
        "--target-averaging", metavar="NAME", help="Weight averaging that the target is read with."
    ),
]
Schedules = Annotated[
    Sequence[str] | None,
    option("--schedules", "S1,S2,…", "Schedules of small runs; left out: the target's.", names),
]
Averagings = Annotated[
    Sequence[str] | None,
    option("--averagings", "A1,A2,…", "Averagings of small runs; left out: the target's.", names),
]
Cooldown = Annotated[
    float | None,
    option(
        "--cooldown",
        "C",
        "Share of a wsd run's tokens in its cooldown, e.g. 0.2: one trunk may then be read at "
        "several horizons. Left out: no branches.",
    ),
]
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
RecommendationFigure = Annotated[
    str | None,
    typer.Option(
        "--figure", metavar="F.png", help="Draw the loss (nats per token) against the rate."
    ),
]
RegretTolerance = Annotated[
    float | None,
    option("--regret-tolerance", "R", "Stop at this regret too, in loss units (nats per token)."),
]


@app.callback()
def main() -> None:
    """Choose the learning rate of one large training run from a few small ones."""


@app.command(
    epilog=example(
        "horizon-bo init runs.db --target-params 1.07e9 --target-tokens 1e11",
        "--batch-tokens 524288 --scales 6e7,1.2e8,2.1e8 --tokens 2e9,2e10",
        "--learning-rate 1e-4,2e-2 --budget 0.05",
    )
)
def init(
    study: StudyArgument,
    target_params: TargetParams,
    target_tokens: TargetTokens,
    scales: Scales,
    tokens: Tokens,
    learning_rate: LearningRate,
    budget: Budget,
    batch_tokens: BatchTokens = None,
    parametrization: Parametrization = "standard",
    prior_center: PriorCenter = None,
    seed: Seed = 0,
    regret_tolerance: RegretTolerance = None,
    schedule: TargetSchedule = "cosine",
    averaging: TargetAveraging = "none",
    schedules: Schedules = None,
    averagings: Averagings = None,
    cooldown: Cooldown = None,
    table: ImportedTable = None,
    mapped: Mapped = None,
    last_of: LastOf = None,
    by: By = None,
    repeats: Repeats = False,
    figure: RecommendationFigure = None,
    as_json: AsJson = False,
) -> None:
    """Start a study on disk: the target, the runs that may be made, the budget.

    With --import and --figure it recommends at once, from the runs that are there.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        given = {"last_of": last_of, "by": by, "repeats": repeats}
        logged = None if table is None else checked_table(table, mapped, **given)
        target = _target(target_params, target_tokens, batch_tokens, schedule, averaging)
        tuner = HorizonTuner(
            target=target,
            space=_space(learning_rate, scales, tokens, schedules, averagings, cooldown),
            budget=budget * target.flops,
            parametrization=parametrization,
            prior_center=prior_center,
            study=study,
            seed=seed,
            regret_tolerance=regret_tolerance,
        )
        remark(() if logged is None else tuner.import_runs(logged))
    _show_started(study, tuner.study, None if logged is None else len(logged.runs), as_json)
    if figure is not None:
        with errors_as_exit_codes():
            _recommend(tuner, (), figure, as_json=as_json)


@app.command(epilog=example("horizon-bo suggest runs.db -n 2"))
def suggest(
    study: StudyArgument,
    n: Annotated[int, typer.Option("-n", metavar="K", help="Runs to make at once.")] = 1,
    without: Without = None,
    as_json: AsJson = False,
) -> None:
    """Name the next runs worth making; they are pending until observed."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        runs = tuner.suggest(n, without=without or ())
    for suggested in runs:
        if as_json:
            show_json(_run_record(suggested))
        else:
            show_fields(_run_fields(suggested, tuner.study.budget))


@app.command(epilog=example("horizon-bo observe runs.db 0 --loss 2.91"))
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


@app.command(epilog=example("horizon-bo recommend runs.db"))
def recommend(
    study: StudyArgument,
    without: Without = None,
    figure: RecommendationFigure = None,
    as_json: AsJson = False,
) -> None:
    """Say which learning rate to train the target with, how sure that is, and whether to go on."""
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        _recommend(HorizonTuner.open(study), without or (), figure, as_json=as_json)


def _recommend(
    tuner: "HorizonTuner", without: Sequence[float], figure: str | None, *, as_json: bool
) -> None:
    best = tuner.recommend(without=without)
    if figure is not None:
        from horizon_bo import plots
        from horizon_bo.report.style import save_figure

        drawn = plots.bowl(tuner).get_figure(root=True)
        assert drawn is not None
        save_figure(drawn, Path(figure))
    if as_json:
        show_json({field.name: getattr(best, field.name) for field in fields(best)})
        return
    show_fields(_recommendation_fields(best, tuner.study.target.flops))
    remark(best.warnings)


def _target(
    size: str, tokens: float, batch_tokens: float | None, schedule: str, averaging: str
) -> "Horizon":
    from horizon_bo import Horizon
    from horizon_bo.runs.builtin import is_shape, shaped_horizon

    given: dict[str, Any] = {
        "batch_tokens": batch_tokens,
        "schedule": schedule,
        "averaging": averaging,
    }
    if is_shape(size):
        return shaped_horizon(size, tokens, **given)
    return Horizon(params=positive_number(size, "--target-params"), tokens=tokens, **given)


def _space(
    learning_rate: tuple[float, float],
    scales: str,
    tokens: tuple[float, float],
    schedules: Sequence[str] | None,
    averagings: Sequence[str] | None,
    cooldown: float | None,
) -> "SearchSpace":
    from horizon_bo import SearchSpace

    return SearchSpace(
        learning_rate=learning_rate,
        scales=_scales(scales),
        tokens=tokens,
        schedules=schedules,
        averagings=averagings,
        cooldown=cooldown,
    )


def _scales(text: str) -> "list[Scale]":
    from horizon_bo import Scale
    from horizon_bo.errors import InvalidSpaceError
    from horizon_bo.runs.builtin import is_shape, shaped_scale

    if all(is_shape(part) for part in text.split(",")):
        return [shaped_scale(part) for part in text.split(",")]
    if not text.endswith(".json"):
        return [Scale(params=params) for params in positive_numbers(text, "--scales")]
    try:
        entries = json.loads(Path(text).read_text())
        return [Scale(**e) if isinstance(e, Mapping) else Scale(params=e) for e in entries]
    except (OSError, TypeError, ValueError) as error:
        raise InvalidSpaceError(
            f"--scales {text} cannot be used ({error}), expected a JSON list of objects with "
            "params and, where known, flops_per_token and settings; correct it"
        ) from error


def _show_started(study: str, values: "Study", imported: int | None, as_json: bool) -> None:
    """Print what a new study may spend, and how many runs it starts from."""
    share = values.budget / values.target.flops
    record = {"study": study, "budget_flops": values.budget, "target_flops": values.target.flops}
    record |= {} if imported is None else {"imported": imported}
    said = f"study {study}: {values.budget:.3g} FLOP to spend, {share:g} target runs"
    said += "" if imported is None else f", {imported} runs imported"
    show(record, said, as_json=as_json)


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
    return {**record, "settings": dict(run.scale.settings)}


def _run_fields(run: "Suggestion", budget: float) -> dict[str, str]:
    batch = "as the target" if run.batch_tokens is None else f"{run.batch_tokens:g}"
    return {
        "trial": str(run.id),
        "learning rate": shown_rate(run.learning_rate),
        "parameters": f"{run.params:.3e}",
        "tokens": f"{run.tokens:.3e}",
        "batch tokens": batch,
        "schedule": f"{run.schedule}, averaging {run.averaging}",
        **_branch_fields(run),
        "cost": f"{run.flops:.2e} FLOP, {run.flops / budget:.1%} of the budget",
        **{f"  {name}": str(value) for name, value in run.scale.settings.items()},
    }


def _branch_fields(run: "Suggestion") -> dict[str, str]:
    """How a run of schedule wsd cools down, where the study says so."""
    cooldown = {} if run.cooldown is None else {"cooldown": f"the last {run.cooldown:.1%}"}
    if not run.branches:
        return cooldown
    return {**cooldown, "read at": ", ".join(f"{tokens:.6g}" for tokens in run.branches)}


def _recommendation_fields(best: "Recommendation", target_flops: float) -> dict[str, str]:
    half, most = best.interval_50, best.interval_90
    return {
        "learning rate": shown_rate(best.learning_rate),
        "50 % interval": f"{half[0]:.3g} to {half[1]:.3g}",
        "90 % interval": f"{most[0]:.3g} to {most[1]:.3g}",
        "expected regret": f"{1e3 * best.expected_regret:.2f} thousandths of the loss unit",
        "predicted loss": f"{best.predicted_loss:.4f}",
        "divergence": f"{best.divergence_probability:.1%} likely at that rate",
        "spent": f"{best.spent:.3g} FLOP, {best.spent / target_flops:.2%} of a target run",
        "overhead": f"{best.expected_overhead:.2%} of a target run: spend plus regret in compute",
        "next run": f"lowers expected regret by {1e3 * best.value_of_next_run:.2f} thousandths",
        "advice": f"{'stop' if best.stop else 'go on'}: {best.reason}",
    }


tables.register(app)
run.register(app)
report.register(app)
replay.register(app)
backtest.register(app)
demo.register(app)
laws.register(app)
