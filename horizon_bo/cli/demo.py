"""Command line, demo: a real study from a guess to the check at the target, in minutes."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from horizon_bo.cli.terminal import AsJson, errors_as_exit_codes, example, show_json

if TYPE_CHECKING:
    from horizon_bo.examples.demo import Story

Figure = Annotated[
    Path | None, typer.Option(metavar="F.png", help="Draw what was trained and believed.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Keep study and runs, and go on there; left out: nothing is kept."
    ),
]
Parallel = Annotated[
    int | None, typer.Option(metavar="K", help="Runs at once; left out: one a core, two at most.")
]


def register(app: typer.Typer) -> None:
    """Add the command `demo` to a command line."""
    app.command(epilog=example("horizon-bo demo --figure demo.png"))(demo)


def demo(
    figure: Figure = None,
    folder: Folder = None,
    parallel: Parallel = None,
    as_json: AsJson = False,
) -> None:
    """Tune a small language model by training smaller ones, then check it at the target."""
    with errors_as_exit_codes():
        from horizon_bo.examples.demo import (
            Story,
            check_target,
            demo_tuner,
            draw_demo,
            ending,
            opening,
            tune,
        )
        from horizon_bo.runs.progress import watching

        kept = tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder))
        with kept as name:
            root = Path(name)
            tuner = demo_tuner(root)
            if not as_json:
                typer.echo(opening(tuner))
            with watching() as watch:
                report, beliefs = tune(tuner, root, _at_once(parallel), watch)
            with _target_progress() as told:
                rate = report.recommendation.learning_rate
                checked = check_target(tuner.study, rate, root / "target", told)
            flops = tuner.study.target.flops
            story = Story(report, tuner.study.trials, beliefs, checked, flops)
        if figure is not None:
            draw_demo(story, figure)
    if as_json:
        _show_json(story)
        return
    typer.echo(ending(story))
    if figure is not None:
        typer.echo(f"figure: {figure}")


def _show_json(story: "Story") -> None:
    names = ("id", "learning_rate", "params", "tokens", "flops", "status", "loss")
    for trial in story.trials:
        show_json({name: getattr(trial, name) for name in names})
    best = story.report.recommendation
    show_json(
        {
            "learning_rate": best.learning_rate,
            "interval_90": best.interval_90,
            "expected_regret": best.expected_regret,
            "spent": best.spent / story.target_flops,
            "checked": story.checked,
            "best_rate": story.best_rate,
            "regret": story.regret(best.learning_rate),
        }
    )


def _at_once(parallel: int | None) -> int:
    return min(2, os.cpu_count() or 1) if parallel is None else parallel


@contextmanager
def _target_progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar on standard error while the target trains, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    told_at = [0.0]
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bars.add_task("the target, trained at five rates at once", total=1.0)

    def told(progress: Mapping[str, Any]) -> None:
        share = progress["tokens"] / progress["of"]
        if console.is_terminal:
            bars.start()
            bars.update(task, completed=share)
        elif share - told_at[0] >= 0.25:
            told_at[0] = share
            typer.echo(f"target: {share:.0%} trained", err=True)

    try:
        yield told
    finally:
        bars.stop()
