"""Command line, status: which runs a study has, who makes them, and what is believed."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.run import Folder, default_folder
from horizon_bo.cli.terminal import AsJson, StudyArgument, errors_as_exit_codes, example, show_json
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from horizon_bo import HorizonTuner, Study
    from horizon_bo.runs.cost import Measured
    from horizon_bo.store.status import RunStatus

#: How often the study is looked at with --watch, in seconds.
_LOOK_S = 2.0

#: Columns of the table of runs.
_COLUMNS = (
    *("run", "state", "worker", "attempt", "for", "heard"),
    *("rate", "parameters", "tokens", "loss"),
)

Watching = Annotated[
    bool, typer.Option("--watch", help="Show it again whenever it has changed, until Ctrl-C.")
]


def register(app: typer.Typer) -> None:
    """Add the command `status` to a command line."""
    app.command(epilog=example("horizon-bo status runs.db"))(status)


def status(
    study: StudyArgument,
    watch: Watching = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show runs, workers, attempts and states, the spend, and what is believed.

    The spend is in FLOP, and in GPU-hours where scales say their tokens per second, or runs in
    the folder have shown it. With --json one object per run, and last one with spend and belief.
    """
    with errors_as_exit_codes(), suppress(KeyboardInterrupt):
        from horizon_bo import HorizonTuner
        from horizon_bo.runs.cost import gpu_hours
        from horizon_bo.runs.progress import seen_in
        from horizon_bo.store.opening import study_store
        from horizon_bo.store.status import run_statuses

        tuner, store = HorizonTuner.open(study), study_store(study)
        shown: list[RunStatus] | None = None
        while True:
            best = _summary(tuner)
            known = speeds(study, folder, tuner.study)
            cost = gpu_hours(tuner.study, known, best["expected_overhead"])
            best["gpu_hours"] = None if cost is None else asdict(cost)
            runs = run_statuses(store, tuner.refresh())  # the belief took its time
            if (root := _root(study, folder)) is not None:
                runs = seen_in(root, runs)
            if shown is None or _without_times(runs) != _without_times(shown):
                _show(runs, best, as_json=as_json)
            shown = runs
            if not watch:
                return
            time.sleep(_LOOK_S)


def speeds(study: str, folder: str | None, known: "Study") -> "tuple[Measured, ...]":
    """The speeds of a study's runs that ended, where their folder is known."""
    from horizon_bo.runs.cost import reached

    root = _root(study, folder)
    return () if root is None else reached(known, root)


def _root(study: str, folder: str | None) -> Path | None:
    """Where runs keep their folders, if that is known."""
    return None if folder is None and "://" in study else Path(folder or default_folder(study))


def _summary(tuner: "HorizonTuner") -> dict[str, Any]:
    """What is spent and believed, worked out again only once there is news."""
    best = tuner.recommend()
    record = {field.name: getattr(best, field.name) for field in fields(best)}
    return {**record, "budget": tuner.study.budget, "target_flops": tuner.study.target.flops}


def _without_times(runs: "Sequence[RunStatus]") -> list[dict[str, Any]]:
    return [{**asdict(run), "since_s": None, "heard_s": None} for run in runs]


def _show(runs: "Sequence[RunStatus]", best: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        for run in runs:
            show_json(asdict(run))
        show_json(best)
        return
    from horizon_bo.runs.cost import GpuHours
    from horizon_bo.runs.progress import cost_line

    rows = [_COLUMNS, *map(_row, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
    low, high = best["interval_90"]
    share, target = best["spent"] / best["budget"], best["spent"] / best["target_flops"]
    typer.echo(
        f"spent   {best['spent']:.3g} FLOP, {share:.0%} of the budget, {target:.2%} of a target run"
    )
    if best["gpu_hours"] is not None:
        typer.echo(cost_line(GpuHours(**best["gpu_hours"])))
    typer.echo(
        f"belief  rate {shown_rate(best['learning_rate'])}, 90 % sure {shown_rate(low)} to "
        f"{shown_rate(high)}, expected "
        f"regret {1e3 * best['expected_regret']:.1f} mnat"
    )
    typer.echo(f"advice  {'stop' if best['stop'] else 'go on'}: {best['reason']}")


def _row(run: "RunStatus") -> tuple[str, ...]:
    return (
        str(run.id),
        run.state,
        run.worker or "",
        "" if run.attempt is None else str(run.attempt),
        "" if run.since_s is None else f"{run.since_s:.0f} s",
        "" if run.heard_s is None else f"{run.heard_s:.0f} s ago",
        shown_rate(run.learning_rate),
        f"{run.params:.3g}",
        f"{run.tokens:.3g}",
        "" if run.loss is None else f"{run.loss:.4f}",
    )
