"""Command line, answer: how is a recommendation printed and drawn?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import (
    active_and_all,
    option,
    positive_number,
    positive_numbers,
    remark,
    show_fields,
    show_json,
    target_runs,
)
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.horizons import USUAL_BATCH_COST, training_flops
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from horizon_bo import Horizon, HorizonTuner, Recommendation
    from horizon_bo.core.batch.choice import BatchDecision
    from horizon_bo.runs.cost import GpuHours, Measured


RecommendationFigure = Annotated[
    str | None,
    typer.Option(
        "--figure", metavar="F.png", help="Draw the loss (nats per token) against the rate."
    ),
]


OtherTarget = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="N,D[,B]",
        help="Another target: parameters or a shape of the built-in trainer, training tokens "
        "(counts, as 7B,200B) and perhaps tokens per step.",
    ),
]


AskedBatches = Annotated[
    Sequence[float] | None,
    option(
        "--batch-tokens",
        "B1,B2,…",
        "Batches to choose among, in tokens per step: a rate for each, the best pair, and the "
        "largest batch that costs little.",
        positive_numbers,
    ),
]
MaxBatchCost = Annotated[
    float,
    option(
        "--max-batch-cost",
        "F",
        "What that largest batch may cost above the best, in target runs: 0.02 or 2%.",
        target_runs,
    ),
]


def other_target(target: "Horizon", text: str) -> "Horizon":
    """A target of the sizes that `--target` gives, in all else the study's own."""
    from horizon_bo.runs.builtin import is_shape, shaped_horizon

    size, *counts = text.split(",")
    if len(counts) not in (1, 2):
        raise InvalidSpaceError(
            f"--target has {len(counts) + 1} numbers, expected N,D or N,D,B; give parameters and "
            "tokens"
        )
    tokens, *batch = (positive_number(count, "--target") for count in counts)
    recipe: dict[str, Any] = {"schedule": target.schedule, "averaging": target.averaging}
    recipe["inputs"] = target.inputs
    recipe["batch_tokens"] = batch[0] if batch else target.batch_tokens
    if is_shape(size):
        return shaped_horizon(size, tokens, **recipe)
    params, sparse = active_and_all(size, "--target")
    recipe["inputs"] = {**target.inputs, **sparse}
    as_planned = target.flops / training_flops(target.params, target.tokens)
    flops = training_flops(params, tokens) * as_planned
    return replace(target, params=params, tokens=tokens, flops=flops, **recipe)


def show_recommendation(
    tuner: "HorizonTuner",
    known: "Sequence[Measured]",
    without: Sequence[float],
    figure: str | None,
    target: str | None = None,
    batches: Sequence[float] = (),
    max_batch_cost: float = USUAL_BATCH_COST,
    inputs: Mapping[str, float] | None = None,
    *,
    as_json: bool,
) -> None:
    """Recommend, draw the figure where one was asked for, and print what was found.

    What is known of the speed of runs says what all of it costs in GPU-hours.
    """
    from horizon_bo.runs.cost import gpu_hours
    from horizon_bo.study.extension import for_target

    if figure is not None and (target is not None or inputs):
        raise _other_figure("--inputs" if target is None else "--target")
    meant = tuner.study.target if target is None else other_target(tuner.study.target, target)
    best = tuner.recommend(
        target=meant,
        batch_tokens=batches,
        max_batch_cost=max_batch_cost,
        inputs=inputs,
        without=without,
    )
    if figure is not None:
        _draw(tuner, batches, Path(figure))
    asked = tuner.study if target is None else for_target(tuner.study, meant)
    hours = gpu_hours(asked, known, best.expected_overhead)
    if as_json:
        record = {field.name: getattr(best, field.name) for field in fields(best)}
        show_json({**record, "gpu_hours": None if hours is None else asdict(hours)})
        return
    show_fields(_recommendation_fields(best, meant.flops, inputs or {}, hours))
    if best.batches is not None:
        show_batches(best.batches)
    remark(best.warnings)


def _draw(tuner: "HorizonTuner", batches: Sequence[float], figure: Path) -> None:
    """Draw the loss against the rate, or against rate and batch where there are several."""
    from horizon_bo import plots
    from horizon_bo.report.style import save_figure

    drawn = (plots.batches(tuner, batches) if batches else plots.bowl(tuner)).get_figure(root=True)
    assert drawn is not None
    save_figure(drawn, figure)


def _other_figure(flag: str) -> InvalidSpaceError:
    return InvalidSpaceError(
        f"--figure came with {flag}, expected one, since the figure is of the study's own "
        "target; extend the study to draw another"
    )


def show_batches(found: "BatchDecision") -> None:
    """Print each batch with its rate, and the largest one that costs little."""
    rows = [("batch tokens", "learning rate", "90 % interval", "loss", "costs", "runs")]
    for choice in found.choices:
        low, high = (shown_rate(end) for end in choice.interval_90)
        rows.append(
            (
                f"{choice.batch_tokens:.12g}",
                shown_rate(choice.learning_rate),
                f"{low} to {high}",
                f"{choice.expected_loss:.4f}",
                "best" if choice is found.best else f"{choice.cost:.1%}",
                str(choice.runs),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    typer.echo("")
    for row in rows:
        typer.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    largest = found.largest
    typer.echo(
        f"largest batch for at most {found.max_cost:.3g} target runs more than the best: "
        f"{largest.batch_tokens:.12g} at {shown_rate(largest.learning_rate)}"
    )


def _recommendation_fields(
    best: "Recommendation",
    target_flops: float,
    inputs: Mapping[str, float],
    hours: "GpuHours | None",
) -> dict[str, str]:
    half, most = best.interval_50, best.interval_90
    at = ", ".join(f"{name} {value:g}" for name, value in inputs.items())
    spent = overhead = ""
    if hours is not None:
        spent = f", {hours.spent:.3g} of about {hours.budget:.3g} GPU-hours"
        overhead = f", about {hours.overhead:.3g} GPU-hours"
    return {
        **({"inputs": at} if inputs else {}),
        "learning rate": shown_rate(best.learning_rate),
        **({} if best.batches is None else {"batch tokens": f"{best.batch_tokens:.12g}"}),
        "50 % interval": f"{shown_rate(half[0])} to {shown_rate(half[1])}",
        "90 % interval": f"{shown_rate(most[0])} to {shown_rate(most[1])}",
        "expected regret": f"{1e3 * best.expected_regret:.2f} thousandths of the loss unit",
        "predicted loss": f"{best.predicted_loss:.4f}",
        "divergence": f"{best.divergence_probability:.1%} likely at that rate",
        "spent": f"{best.spent:.3g} FLOP, {best.spent / target_flops:.2%} of a target run{spent}",
        "overhead": f"{best.expected_overhead:.2%} of a target run{overhead}: spend plus regret in "
        "compute",
        "next run": f"lowers expected regret by {1e3 * best.value_of_next_run:.2f} thousandths",
        "advice": f"{'stop' if best.stop else 'go on'}: {best.reason}",
    }
