"""Command line, status: which runs a study has, who makes them, and what is believed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    StudyArgument,
    errors_as_exit_codes,
    example,
    show_json,
)
from horizon_bo.report.status_text import asking_lines, belief_lines, picture, run_lines

if TYPE_CHECKING:
    from rich.console import Console

    from horizon_bo import HorizonTuner, Study
    from horizon_bo.runs.cost import Measured
    from horizon_bo.store.events import StudyStore
    from horizon_bo.store.status import RunStatus

#: How often the study is looked at with --watch, in seconds.
_LOOK_S = 2.0

Watching = Annotated[
    bool,
    typer.Option("--watch", help="Keep it up to date until Ctrl-C; in a pipe, print each change."),
]


@dataclass(frozen=True)
class _Belief:
    """What is spent and believed.

    Args:
        study: The study that it is about.
        best: Fields of the recommendation, budget, target and cost in all.
        speeds: What the runs that ended reached.
    """

    study: "Study"
    best: dict[str, Any]
    speeds: "tuple[Measured, ...]"


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
        from rich.console import Console

        from horizon_bo import HorizonTuner
        from horizon_bo.runs.folder import known_folder
        from horizon_bo.store.opening import study_store

        tuner, store = HorizonTuner.open(study), study_store(study)
        root, console = known_folder(study, folder), Console(highlight=False)
        if watch and console.is_terminal and not as_json:
            _keep_drawn(tuner, store, root, console)
        shown: list[RunStatus] | None = None
        while True:
            belief = _believed(tuner, root)
            runs = _runs(store, tuner.refresh(), root)  # the belief took its time
            if shown is None or _without_times(runs) != _without_times(shown):
                _show(store, runs, belief, as_json=as_json)
            shown = runs
            if not watch:
                return
            time.sleep(_LOOK_S)


def _keep_drawn(
    tuner: "HorizonTuner", store: "StudyStore", root: Path | None, console: "Console"
) -> None:
    """Draw one picture again and again; what is believed is worked out meanwhile."""
    from rich.live import Live

    from horizon_bo.runs.cost import each_gpu_hours
    from horizon_bo.store.status import askers

    known, belief = store.read(), None
    thinking = _apart(lambda: _believed(tuner, root))
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            known = store.read(known)
            if thinking.done():
                belief = thinking.result()
                if belief.study != known.study:
                    thinking = _apart(lambda: _believed(tuner, root))
            below = asking_lines(askers(store))
            below += ["belief  being worked out"] if belief is None else belief_lines(belief.best)
            hours = each_gpu_hours(known.study, () if belief is None else belief.speeds)
            runs = _runs(store, known.study, root)
            live.update(picture(runs, hours, below, *console.size), refresh=True)
            time.sleep(_LOOK_S)


def _apart(work: Callable[[], _Belief]) -> "Future[_Belief]":
    """What a thread finds out that no exit waits for."""
    found: Future[_Belief] = Future()

    def think() -> None:
        try:
            found.set_result(work())
        except Exception as error:
            found.set_exception(error)

    Thread(target=think, daemon=True).start()
    return found


def _believed(tuner: "HorizonTuner", root: Path | None) -> _Belief:
    """What is spent and believed, worked out again only once there is news."""
    from horizon_bo.runs.cost import gpu_hours, reached

    best, study = tuner.recommend(), tuner.study
    known = reached(study, root)
    cost = gpu_hours(study, known, best.expected_overhead)
    record = {field.name: getattr(best, field.name) for field in fields(best)}
    record |= {"budget": study.budget, "target_flops": study.target.flops}
    record |= {"gpu_hours": None if cost is None else asdict(cost)}
    return _Belief(study, record, known)


def _runs(store: "StudyStore", study: "Study", root: Path | None) -> "list[RunStatus]":
    """Where the runs of a study stand."""
    from horizon_bo.runs.progress import seen_in
    from horizon_bo.store.status import run_statuses

    runs = run_statuses(store, study)
    return runs if root is None else seen_in(root, runs)


def _without_times(runs: "Sequence[RunStatus]") -> "list[RunStatus]":
    return [replace(run, since_s=None, heard_s=None, done=None) for run in runs]


def _show(
    store: "StudyStore", runs: "Sequence[RunStatus]", belief: _Belief, *, as_json: bool
) -> None:
    from horizon_bo.runs.cost import each_gpu_hours
    from horizon_bo.store.status import askers

    waiting, hours = askers(store), each_gpu_hours(belief.study, belief.speeds)
    if as_json:
        for run in runs:
            show_json({**asdict(run), "gpu_hours": hours.get(run.id)})
        show_json({**belief.best, "asking": waiting})
        return
    for line in (*run_lines(runs, hours, None), *asking_lines(waiting)):
        typer.echo(line)
    for line in belief_lines(belief.best):
        typer.echo(line)
