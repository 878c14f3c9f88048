"""Command line of backtests: how good would the tuner have been on a user's own sweep?"""

from pathlib import Path
from typing import Annotated

import typer

from horizon_bo.adapters.cli_replay import Jobs, show_progress
from horizon_bo.adapters.cli_trackers import Mapped, checked_table
from horizon_bo.adapters.terminal import (
    AsJson,
    errors_as_exit_codes,
    example,
    optional,
    positive_number,
    remark,
    show_json,
)

#: Lines about cells that cannot be hidden; the rest is in the output of --json.
_SHOWN_UNUSED = 20


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command(
        epilog=example(
            "horizon-bo backtest stdlib_gpt.csv --cells 1 --budget 0.1 --out backtest.jsonl",
            "--figure backtest.png",
        )
    )(backtest)


def backtest(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP",
            help="Table of logged runs: learning_rate, params, tokens, loss and, where known, "
            "batch_tokens, schedule, averaging, source, flops, diverged.",
        ),
    ],
    mapped: Mapped = None,
    cells: Annotated[int, typer.Option(min=1, metavar="K", help="Most cells to hide.")] = 4,
    budget: Annotated[
        str, typer.Option(metavar="F", help="What may be spent on each, in runs of that cell.")
    ] = "0.1",
    target_params: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Parameters of the run you plan, a count: as it is to your largest logged size, "
            "so is each hidden cell to the largest it may buy.",
        ),
    ] = None,
    target_tokens: Annotated[
        str | None, typer.Option(metavar="D", help="Its training tokens, a count, likewise.")
    ] = None,
    params_ratio: Annotated[
        str | None,
        typer.Option(
            metavar="R",
            help="Largest run to buy, relative to the hidden size. Left out: what --target-params "
            "implies, or 0.5.",
        ),
    ] = None,
    tokens_ratio: Annotated[
        str | None,
        typer.Option(metavar="R", help="Longest run to buy, relative to the hidden tokens."),
    ] = None,
    jobs: Jobs = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON lines of the replays; the same call goes on where they end."),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="F.png", help="Draw calibration and regret against spend."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hide the largest cells of your sweep, tune on the rest, and see how good it would have been.

    A cell is one size, length, batch and recipe. Each is tuned from the library's own prior and
    from guesses three times too low and too high.
    """
    with errors_as_exit_codes():
        from rich.console import Console

        from horizon_bo.adapters import backtest as backtests
        from horizon_bo.adapters.backtest_view import draw_backtest, print_backtest, records

        result = backtests.backtest(
            sweep if mapped is None else checked_table(sweep, mapped).frame,
            cells=cells,
            budget=positive_number(budget, "--budget"),
            params_ratio=optional(params_ratio, "--params-ratio"),
            tokens_ratio=optional(tokens_ratio, "--tokens-ratio"),
            target_params=optional(target_params, "--target-params"),
            target_tokens=optional(target_tokens, "--target-tokens"),
            out=out,
            jobs=jobs,
            watch=lambda fractions: show_progress(fractions, "replays"),
        )
        if figure is not None:
            draw_backtest(result, figure)
    more = len(result.unused) - _SHOWN_UNUSED
    remark(result.remarks)
    remark(f"not hidden: {line}" for line in result.unused[:_SHOWN_UNUSED])
    if more > 0:
        remark([f"not hidden: {more} more cells, named by --json"])
    if as_json:
        for record in records(result):
            show_json(record)
        return
    console = Console()
    # a table cut to 80 columns in a file or pipe would lose its numbers
    print_backtest(result, console if console.is_terminal else Console(width=150))
