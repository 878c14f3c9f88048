"""Command line, start: a target, the runs that may be made and a budget become a study on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.answer import RecommendationFigure, show_recommendation
from horizon_bo.cli.tables import By, ImportedTable, LastOf, Mapped, Repeats, checked_table
from horizon_bo.cli.terminal import (
    AsJson,
    Experts,
    Hours,
    Inputs,
    Optimizer,
    Parametrization,
    StudyArgument,
    active_and_all,
    errors_as_exit_codes,
    example,
    names,
    option,
    pair,
    positive_numbers,
    remark,
    show,
    target_runs_or_hours,
)
from horizon_bo.errors import InvalidSpaceError

if TYPE_CHECKING:
    from horizon_bo import Horizon, Scale, SearchSpace, Study
    from horizon_bo.runs.cost import Measured
    from horizon_bo.tables.logged import LoggedTable

TargetParams = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Non-embedding parameters of the target, a count; of a mixture of experts the active "
        "ones, or active over all: 3B/30B; or a shape of the built-in trainer such as 128x2.",
    ),
]
Vocabulary = Annotated[
    float | None,
    option(
        "--vocabulary",
        "V",
        "Tokens whose embedding is in all parameter counts, once where input and output share it, "
        "twice where not. Left out: counts leave embeddings out.",
    ),
]
TargetTokens = Annotated[
    float, option("--target-tokens", "D", "Training tokens of the target, a count.")
]
BatchTokens = Annotated[
    float | None, option("--batch-tokens", "B", "Tokens per optimizer step of the target.")
]
SCALES = typer.Option(
    metavar="N1,N2,…|FILE.json",
    help="Models for small runs: parameter counts, of experts also active over all, 60M/480M; "
    "shapes of the built-in trainer such as 32x2,64x2 (width x depth); or a JSON list of objects "
    "with params, sparsity, flops_per_token (FLOP) and settings.",
)
# typer takes a tuple for two arguments, so a pair is declared as any value
Tokens = Annotated[Any, option("--tokens", "LO,HI", "Training tokens of small runs.", pair)]
LearningRate = Annotated[Any, option("--learning-rate", "LO,HI", "Peak learning rates.", pair)]
Budget = Annotated[
    Any,
    option(
        "--budget",
        "F",
        "Compute to spend in all, in target runs: 0.02 or 2%; or in GPU-hours: 200gpu-hours.",
        target_runs_or_hours,
    ),
]
Prior = Annotated[
    Path | None,
    typer.Option(metavar="OURS.json", help="What `horizon-bo prior learn` wrote."),
]
PriorCenter = Annotated[
    float | None, option("--prior-center", "X", "Guess of the target's best learning rate.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of every random choice.")]
TARGET_SCHEDULE = typer.Option(
    "--target-schedule", metavar="NAME", help="Schedule that the target is trained under."
)
TARGET_AVERAGING = typer.Option(
    "--target-averaging", metavar="NAME", help="Weight averaging that the target is read with."
)
Batches = Annotated[
    Sequence[float] | None,
    option(
        "--batches",
        "B1,B2,…",
        "Tokens per optimizer step of small runs; left out: the target's.",
        positive_numbers,
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
RegretTolerance = Annotated[
    float | None,
    option("--regret-tolerance", "R", "Stop at this regret too, in loss units (nats per token)."),
]


def register(app: typer.Typer) -> None:
    """Add the command `init` to a command line."""
    lines = (
        "horizon-bo init runs.db --target-params 1.07e9 --target-tokens 1e11",
        "--batch-tokens 524288 --scales 6e7,1.2e8,2.1e8 --tokens 2e9,2e10",
        "--learning-rate 1e-4,2e-2 --budget 0.05",
    )
    app.command(epilog=example(*lines))(init)


def init(
    study: StudyArgument,
    target_params: TargetParams,
    target_tokens: TargetTokens,
    scales: Annotated[str, SCALES],
    tokens: Tokens,
    learning_rate: LearningRate,
    budget: Budget,
    batch_tokens: BatchTokens = None,
    vocabulary: Vocabulary = None,
    parametrization: Parametrization = "standard",
    optimizer: Optimizer = "adamw",
    experts: Experts = False,
    prior: Prior = None,
    prior_center: PriorCenter = None,
    seed: Seed = 0,
    regret_tolerance: RegretTolerance = None,
    schedule: Annotated[str, TARGET_SCHEDULE] = "cosine",
    averaging: Annotated[str, TARGET_AVERAGING] = "none",
    inputs: Inputs = None,
    batches: Batches = None,
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
    """Start a study on disk; with --import and --figure it recommends at once from those runs."""
    about: dict[str, Any] = {"study": study, "optimizer": optimizer, "experts": experts}
    about |= {"parametrization": parametrization, "prior": prior, "prior_center": prior_center}
    about |= {"budget": budget, "regret_tolerance": regret_tolerance, "seed": seed}
    recipe = (batch_tokens, schedule, averaging, inputs or {}, vocabulary)
    small = (scales, tokens, learning_rate, batches, schedules, averagings, cooldown)
    with errors_as_exit_codes():
        about |= {"target": _target(target_params, target_tokens, *recipe), "space": _space(*small)}
        _start(_logged(table, mapped, last_of, by, repeats), about, figure, as_json=as_json)


def _logged(
    table: ImportedTable, mapped: Mapped, last_of: LastOf, by: By, repeats: bool
) -> "LoggedTable | None":
    if table is None:
        return None
    return checked_table(table, mapped, last_of=last_of, by=by, repeats=repeats)


def _start(
    logged: "LoggedTable | None",
    about: dict[str, Any],
    figure: RecommendationFigure,
    *,
    as_json: bool,
) -> None:
    from horizon_bo import HorizonTuner
    from horizon_bo.study.horizons import unlikely_batches

    about |= {"budget": budget_flops(about["budget"], about["target"], about["space"])}
    tuner = HorizonTuner(**about)
    remark(unlikely_batches(tuner.study.target, tuner.study.space))
    remark(() if logged is None else tuner.import_runs(logged))
    runs = None if logged is None else len(logged.runs)
    _show_started(about["study"], tuner.study, runs, as_json)
    if figure is not None:
        show_recommendation(tuner, (), (), figure, as_json=as_json)


def _target(
    size: str,
    tokens: float,
    batch_tokens: float | None,
    schedule: str,
    averaging: str,
    inputs: Mapping[str, float],
    vocabulary: float | None,
) -> "Horizon":
    from horizon_bo import Horizon
    from horizon_bo.runs.builtin import is_shape, shaped_horizon

    given: dict[str, Any] = {"batch_tokens": batch_tokens, "vocabulary": vocabulary}
    given |= {"schedule": schedule, "averaging": averaging}
    if is_shape(size):
        return shaped_horizon(size, tokens, inputs=inputs, **given)
    params, sparse = active_and_all(size, "--target-params")
    for name in sparse.keys() & inputs.keys():
        if sparse[name] != inputs[name]:
            raise InvalidSpaceError(
                f"--target-params {size} has a {name} of {sparse[name]:g} and --inputs says "
                f"{inputs[name]:g}, expected one of them; leave either out"
            )
    return Horizon(params=params, tokens=tokens, inputs={**inputs, **sparse}, **given)


def budget_flops(
    budget: float | Hours,
    target: "Horizon",
    space: "SearchSpace",
    study: "Study | None" = None,
    known: "Sequence[Measured]" = (),
) -> float:
    """A budget in FLOP that was given in target runs or GPU-hours.

    Args:
        budget: The budget.
        target: The target.
        space: The runs that may be made.
        study: The study that it is for; `None` for one without runs.
        known: Speeds of the runs that ended.
    """
    from horizon_bo.runs.cost import flops_of_hours

    if isinstance(budget, Hours):
        return flops_of_hours(budget.value, space, study, known)
    return budget * target.flops


def _space(*small: Any) -> "SearchSpace":
    from horizon_bo import SearchSpace

    return SearchSpace(**space_options(*small))


def space_options(
    scales: str | None,
    tokens: tuple[float, float] | None,
    learning_rate: tuple[float, float] | None,
    batches: Sequence[float] | None,
    schedules: Sequence[str] | None,
    averagings: Sequence[str] | None,
    cooldown: float | None,
) -> dict[str, Any]:
    """What options say of the runs that may be made, as fields of a `SearchSpace`."""
    given: dict[str, Any] = {"tokens": tokens, "learning_rate": learning_rate}
    given |= {"batch_tokens": batches, "schedules": schedules, "averagings": averagings}
    given |= {"scales": None if scales is None else _scales(scales), "cooldown": cooldown}
    return {name: value for name, value in given.items() if value is not None}


def _scales(text: str) -> "list[Scale]":
    """The models that `--scales` names."""
    from horizon_bo import Scale
    from horizon_bo.runs.builtin import is_shape, shaped_scale

    if all(is_shape(part) for part in text.split(",")):
        return [shaped_scale(part) for part in text.split(",")]
    if not text.endswith(".json"):
        counts = [active_and_all(part, "--scales") for part in text.split(",")]
        return [Scale(params=params, sparsity=own.get("sparsity")) for params, own in counts]
    try:
        entries = json.loads(Path(text).read_text())
        return [Scale(**e) if isinstance(e, Mapping) else Scale(params=e) for e in entries]
    except (OSError, TypeError, ValueError) as error:
        raise InvalidSpaceError(
            f"--scales {text} cannot be used ({error}), expected a JSON list of objects with "
            "params and, where known, sparsity, flops_per_token and settings; correct it"
        ) from error


def _show_started(study: str, values: "Study", imported: int | None, as_json: bool) -> None:
    """Print what a new study may spend, and how many runs it starts from."""
    from horizon_bo.runs.cost import gpu_hours
    from horizon_bo.store.address import address_of

    share = values.budget / values.target.flops
    shown = address_of(study).shown
    record = {"study": shown, "budget_flops": values.budget, "target_flops": values.target.flops}
    record |= {} if imported is None else {"imported": imported}
    cost = gpu_hours(values, (), 0.0)
    record["gpu_hours"] = None if cost is None else asdict(cost)
    said = f"study {shown}: {values.budget:.3g} FLOP to spend, {share:g} target runs"
    said += "" if cost is None else f", about {cost.budget:.3g} GPU-hours"
    said += "" if imported is None else f", {imported} runs imported"
    show(record, said, as_json=as_json)
