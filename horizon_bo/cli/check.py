"""Command line, check: does the extrapolation hold, before the large run is started?"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    StudyArgument,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show_fields,
    show_json,
    target_runs,
)
from horizon_bo.study.quantities import shown_count, shown_rate

if TYPE_CHECKING:
    from horizon_bo.core.checks.rehearsal import Check

MaxCost = Annotated[
    float,
    option(
        "--max-cost",
        "F",
        "What a new check may cost in all, in target runs; an answer that is expected to lose "
        "more is to be tuned again.",
        target_runs,
    ),
]
Figure = Annotated[
    str | None,
    typer.Option(
        "--figure",
        metavar="F.png",
        help="Draw the losses (nats per token) that were expected and those that came.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command `check` to a command line."""
    app.command(epilog=example("horizon-bo check runs.db --max-cost 0.1"))(check)


def check(
    study: StudyArgument,
    max_cost: MaxCost = 0.1,  # type: ignore[assignment]  # read by the option's parser
    figure: Figure = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse the large run: a few runs larger than all so far, foretold before they are made.

    The first call makes two or three runs pending and writes down what is expected of them, which
    cannot be changed afterwards. Once they are observed the same call says holds, widen or tune
    again.
    """
    with errors_as_exit_codes():
        from horizon_bo import HorizonTuner

        tuner = HorizonTuner.open(study)
        found = tuner.check(max_cost)
        if figure is not None:
            from horizon_bo import plots
            from horizon_bo.report.style import save_figure

            drawn = plots.check(found).get_figure(root=True)
            assert drawn is not None
            save_figure(drawn, Path(figure))
    if as_json:
        show_json(_record(found))
        return
    _show(found, open_batch=tuner.study.target.batch_tokens is None)


def _record(found: "Check") -> dict[str, Any]:
    told = asdict(found.expected)
    del told["losses"], told["bowls"]
    spreads = [found.expected.spread(k) for k in range(len(found.outcomes))]
    said = None if found.verdict is None else asdict(found.verdict)
    return {
        **told,
        "expected": spreads,
        "outcomes": found.outcomes,
        "pending": found.pending,
        "verdict": said,
    }


def _show(found: "Check", *, open_batch: bool) -> None:
    told, said = found.expected, found.verdict
    batch = told.batch_tokens if open_batch else None
    batches = f" in batches of {shown_count(batch)}" if batch else ""
    low, _, high = told.best_rate
    typer.echo(
        f"rung  {shown_count(told.params)} parameters, {shown_count(told.tokens)} tokens{batches}; "
        f"its best rate is expected at {shown_rate(low)} to {shown_rate(high)}"
    )
    for k, trial in enumerate(told.trials):
        low, _, high = told.spread(k)
        typer.echo(
            f"run {trial}  rate {shown_rate(told.learning_rates[k])}, loss expected {low:.4f} to "
            f"{high:.4f}{_outcome(found, k)}"
        )
    if said is None:
        waiting = ", ".join(map(str, found.pending))
        typer.echo(f"make runs {waiting}, observe each, then check again")
        return
    low, high = said.interval_90
    show_fields(
        {
            "verdict": f"{said.word}: {said.reason}",
            "90 % interval": f"{shown_rate(low)} to {shown_rate(high)}",
        }
    )
    remark(said.warnings)


def _outcome(found: "Check", run: int) -> str:
    """What came of a run, as the end of its line."""
    if found.expected.trials[run] in found.pending:
        return ""
    loss = found.outcomes[run]
    if loss is None:
        return ", diverged"
    return ", failed" if math.isnan(loss) else f", was {loss:.4f}"
