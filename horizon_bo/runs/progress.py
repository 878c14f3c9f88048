"""Run view: what does somebody who watches a run loop see?

On a terminal a live picture on standard error: budget, runs in flight, belief, what ended last.
Elsewhere one plain line per event. From another program, what the folders of its runs tell.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from horizon_bo.core.policy import Recommendation
from horizon_bo.runs.cost import GpuHours, gpu_hours, run_gpu_hours
from horizon_bo.runs.engines.protocol import stored_exit
from horizon_bo.runs.folder import last_progress, read_json, stored_run
from horizon_bo.runs.jobs import Flight, RunEvent, Watch, WatchedState
from horizon_bo.store.status import RunStatus
from horizon_bo.study.quantities import shown_rate

#: How many of the last events the live picture keeps.
_KEPT_LINES = 5
#: Least time between two pictures, in seconds.
_REFRESH_S = 0.25


@contextmanager
def watching(watch: Watch | None = None) -> Iterator[Watch]:
    """The watch that was given, or the one that suits standard error."""
    if watch is not None:
        yield watch
    elif sys.stderr.isatty():
        with live_view(Console(stderr=True)) as live:
            yield live
    else:
        yield plain_view


def plain_view(state: WatchedState, event: RunEvent | None) -> None:
    """Print one line per event on standard error."""
    if event is not None:
        sys.stderr.write(event_line(state, event) + "\n")
        sys.stderr.flush()


@contextmanager
def live_view(console: Console) -> Iterator[Watch]:
    """A watch that keeps one picture up to date."""
    lines: list[str] = []
    drawn_s = [-_REFRESH_S]

    # what is printed goes above the picture, but never from a pipe to the terminal
    printed = sys.stdout.isatty()
    with Live(console=console, auto_refresh=False, redirect_stdout=printed) as live:

        def watch(state: WatchedState, event: RunEvent | None) -> None:
            if event is not None and event.kind != "started":
                lines[:] = [*lines, event_line(state, event)][-_KEPT_LINES:]
            now_s = time.monotonic()
            if event is not None or now_s - drawn_s[0] >= _REFRESH_S:
                drawn_s[0] = now_s
                live.update(picture(state, lines, now_s), refresh=True)

        yield watch


def event_line(state: WatchedState, event: RunEvent) -> str:
    """An event in one line: which run, what happened, how much is spent."""
    run = event.run
    share = state.study.spent / state.study.budget
    where = "" if event.kind == "started" else f"; {event.folder}"
    hours = run_gpu_hours(state.study, run, state.measured)
    price = "" if hours is None else f"{hours:.3g} GPU-hours, "
    return (
        f"run {event.folder.name}: {event.line} (rate {shown_rate(run.learning_rate)}, "
        f"{run.params:.3g} "
        f"parameters, {run.tokens:.3g} tokens, {price}{share:.0%} of the budget spent"
        f"{where})"
    )


def picture(state: WatchedState, lines: list[str], now_s: float) -> RenderableType:
    """Budget, runs in flight, belief and last events, as rich draws them."""
    study = state.study
    budget = Table.grid(padding=(0, 1))
    share = study.spent / study.budget
    target = study.spent / study.target.flops
    budget.add_row(
        "budget",
        ProgressBar(total=1.0, completed=min(1.0, share), width=40),
        f"{share:.0%} spent or under way, {target:.2%} of a target run{_hours(state)}",
    )
    # a worker leaves it to whoever works out suggestions
    belief = [] if state.best is None else [Text(belief_line(state.best))]
    said = [Text(line) for line in lines]  # may quote brackets, which are markup in a string
    return Group(budget, *belief, _flights_table(state.flights, now_s), *said)


def _hours(state: WatchedState) -> str:
    """What is spent in GPU-hours, as far as the speed of runs is known."""
    overhead = 0.0 if state.best is None else state.best.expected_overhead
    hours = gpu_hours(state.study, state.measured, overhead)
    return "" if hours is None else f", {hours.spent:.3g} of about {hours.budget:.3g} GPU-hours"


def cost_line(hours: GpuHours) -> str:
    """What runs really cost, in one line."""
    return (
        f"cost    {hours.spent:.3g} of about {hours.budget:.3g} GPU-hours spent, expected overhead "
        f"{hours.overhead:.3g}, a target run about {hours.target:.3g}"
    )


def belief_line(best: Recommendation) -> str:
    """What is believed about the target's rate, in one line; regret in thousandths."""
    low, high = best.interval_90
    return (
        f"belief  rate {shown_rate(best.learning_rate)}, 90 % sure {shown_rate(low)} to "
        f"{shown_rate(high)}, expected "
        f"regret {1e3 * best.expected_regret:.1f} mnat, overhead {best.expected_overhead:.1%}"
    )


def _flights_table(flights: tuple[Flight, ...], now_s: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("run", "where", "rate", "parameters", "tokens", "done", "loss", "elapsed"):
        table.add_column(name, justify="right" if name != "where" else "left")
    for flight in flights:
        run, progress = flight.run, last_progress(flight.folder)
        done, loss = progress.get("tokens"), progress.get("loss")
        table.add_row(
            flight.folder.name,
            flight.where,
            shown_rate(run.learning_rate),
            f"{run.params:.3g}",
            f"{run.tokens:.3g}",
            "" if done is None else f"{done / run.tokens:.0%}",
            "" if loss is None else f"{loss:.3f}",
            f"{now_s - flight.began_s:.0f} s",
        )
    return table


def seen_in(root: Path, runs: Sequence[RunStatus]) -> list[RunStatus]:
    """Where runs stand, those of a loop by their folders.

    A worker tells the study; a loop is alone with it, and the guards of its runs leave word in
    their folders, on whichever machine they are. How far a run is, its trainer says there.
    """
    seen = [_seen(root / str(run.id), run) if run.state == "handed out" else run for run in runs]
    return [_with_progress(root / str(run.id), run) for run in seen]


def _with_progress(folder: Path, run: RunStatus) -> RunStatus:
    if run.state != "running" or (tokens := last_progress(folder).get("tokens")) is None:
        return run
    return replace(run, done=tokens / run.tokens)


def _seen(folder: Path, run: RunStatus) -> RunStatus:
    made, begun = stored_run(folder), read_json(folder / "run.json")
    holder = read_json(folder / "holder.json")
    if made is None or begun is None or holder is None or holder["attempt"] != begun["attempt"]:
        return run  # not begun: a scheduler may have it
    if (made.learning_rate, made.tokens) != (run.learning_rate, run.tokens):
        return run  # another study's
    where = {"worker": f"{holder['host']}:{holder['pid']}", "attempt": holder["attempt"]}
    if stored_exit(folder, holder["attempt"]) is not None:
        return replace(run, state="trained", **where)
    if holder["host"] == os.uname().nodename and _gone(holder["pid"]):
        return run  # killed along with its loop
    return replace(run, state="running", since_s=time.time() - holder["began_s"], **where)


def _gone(pid: int) -> bool:
    return Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists()
