"""Status text: how are the runs of a study and what is believed written in a terminal?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from horizon_bo.report.numbers import lasting
from horizon_bo.study.quantities import shown_rate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from horizon_bo.store.status import RunStatus

#: Columns of the table of runs.
_COLUMNS = (
    *("run", "state", "worker", "attempt", "for", "done", "heard"),
    *("rate", "parameters", "tokens", "cost", "loss"),
)
#: Letters that columns take at least whose text grows and shrinks while one watches.
_LEAST = {"state": 9, "for": 6, "done": 4, "heard": 9, "cost": 13}
#: Columns that a narrow terminal does without, first the one that is missed least.
_SPARED = ("heard", "attempt", "tokens", "parameters", "cost", "for", "rate", "loss")
#: Lines of a terminal that the table leaves free: for what is believed, and one to type in.
_BELOW = 9


def run_lines(
    runs: "Sequence[RunStatus]", hours: Mapping[int, float], width: int | None
) -> list[str]:
    """A line for each run below one with the names of the columns.

    Args:
        runs: The runs.
        hours: What runs cost in GPU-hours by id, where that is known.
        width: Of the terminal; `None` shows every column.
    """
    rows = [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *(_row(run, hours) for run in runs)]
    widths = {name: max(len(row[name]) for row in rows) for name in _COLUMNS}
    if width is not None:
        widths = {name: max(needed, _LEAST.get(name, 0)) for name, needed in widths.items()}
    for name in _SPARED:
        if width is not None and sum(widths.values()) + 2 * (len(widths) - 1) > width:
            del widths[name]
    return ["  ".join(f"{row[n]:<{w}}" for n, w in widths.items()).rstrip() for row in rows]


def belief_lines(best: Mapping[str, Any]) -> list[str]:
    """What is spent and believed, by the fields of a recommendation."""
    from horizon_bo.runs.cost import GpuHours
    from horizon_bo.runs.progress import cost_line

    low, high = best["interval_90"]
    share, target = best["spent"] / best["budget"], best["spent"] / best["target_flops"]
    hours = best["gpu_hours"]
    return [
        f"spent   {best['spent']:.3g} FLOP, {share:.0%} of the budget, {target:.2%} of a target "
        "run",
        *([] if hours is None else [cost_line(GpuHours(**hours))]),
        f"belief  rate {shown_rate(best['learning_rate'])}, 90 % sure {shown_rate(low)} to "
        f"{shown_rate(high)}, expected regret {1e3 * best['expected_regret']:.1f} mnat",
        f"advice  {'stop' if best['stop'] else 'go on'}: {best['reason']}",
    ]


def asking_lines(askers: Sequence[str]) -> list[str]:
    """Who waits for a suggestion, if anybody."""
    wait = "waits" if len(askers) == 1 else "wait"
    return [f"asking  {len(askers)} {wait} for a suggestion: {', '.join(askers)}"] if askers else []


def picture(
    runs: "Sequence[RunStatus]",
    hours: Mapping[int, float],
    below: Sequence[str],
    width: int,
    height: int,
) -> "RenderableType":
    """All of it as large as a terminal: where there is no room, runs that ended long ago go.

    Args:
        runs: The runs.
        hours: What runs cost in GPU-hours by id, where that is known.
        below: Lines that stand below the runs.
        width: Of the terminal, in letters.
        height: Of the terminal, in lines.
    """
    from rich.console import Group
    from rich.text import Text

    kept, left_out = _fitting(runs, max(1, height - _BELOW))
    head, *lines = run_lines(kept, hours, width)
    counts = ", ".join(f"{n} {state}" for state, n in Counter(r.state for r in left_out).items())
    more = [f"        and {len(left_out)} more: {counts}"] if left_out else []
    return Group(
        Text(head, style="bold", no_wrap=True, overflow="ellipsis"),
        *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines),
        *(Text(line) for line in (*more, *below)),
    )


def _fitting(runs: "Sequence[RunStatus]", room: int) -> "tuple[list[RunStatus], list[RunStatus]]":
    """Runs to show, those under way and the last that ended, and those that have no room."""
    from horizon_bo.store.status import UNDER_WAY

    order = sorted(runs, key=lambda run: (run.state in UNDER_WAY, run.id), reverse=True)
    kept = {run.id for run in order[:room]}
    return [run for run in runs if run.id in kept], [run for run in runs if run.id not in kept]


def _row(run: "RunStatus", hours: Mapping[int, float]) -> dict[str, str]:
    cost = f"{hours[run.id]:.3g} GPU-h" if run.id in hours else f"{run.flops:.3g} FLOP"
    cells = (
        str(run.id),
        run.state,
        run.worker or "",
        "" if run.attempt is None else str(run.attempt),
        "" if run.since_s is None else lasting(run.since_s),
        "" if run.done is None else f"{run.done:.0%}",
        "" if run.heard_s is None else f"{lasting(run.heard_s)} ago",
        shown_rate(run.learning_rate),
        f"{run.params:.3g}",
        f"{run.tokens:.3g}",
        cost,
        "" if run.loss is None else f"{run.loss:.4f}",
    )
    return dict(zip(_COLUMNS, cells, strict=True))
