"""Command line of backtests: how good would the tuner have been on a user's own sweep?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from horizon_bo.cli.replay import Jobs, show_progress
from horizon_bo.cli.tables import Mapped, checked_table
from horizon_bo.cli.terminal import (
    AsJson,
    errors_as_exit_codes,
    example,
    option,
    remark,
    show_json,
)

if TYPE_CHECKING:
    from horizon_bo.evaluation.backtest import Backtest

#: Lines about cells that cannot be hidden; the rest is in the output of --json.
_SHOWN_UNUSED = 20


Sweep = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="Table of logged runs: learning_rate, params, tokens, loss and, where known, "
        "batch_tokens, schedule, averaging, source, flops, diverged.",
    ),
]
Cells = Annotated[int, typer.Option(min=1, metavar="K", help="Most cells to hide.")]
Budget = Annotated[
    float, option("--budget", "F", "What may be spent on each, in runs of that cell.")
]
TargetParams = Annotated[
    float | None,
    option(
        "--target-params",
        "N",
        "Parameters of the run you plan, a count: as it is to your largest logged size, so is each "
        "hidden cell to the largest it may buy.",
    ),
]
TargetTokens = Annotated[
    float | None, option("--target-tokens", "D", "Its training tokens, a count, likewise.")
]
ParamsRatio = Annotated[
    float | None,
    option(
        "--params-ratio",
        "R",
        "Largest run to buy, relative to the hidden size. Left out: what --target-params implies, "
        "or 0.5.",
    ),
]
TokensRatio = Annotated[
    float | None,
    option("--tokens-ratio", "R", "Longest run to buy, relative to the hidden tokens."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="JSON lines of the replays; the same call goes on where they end."),
]
FigurePath = Annotated[
    Path | None, typer.Option(metavar="F.png", help="Draw calibration and regret against spend.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command(
        epilog=example(
            "horizon-bo backtest stdlib_gpt.csv --cells 1 --out backtest.jsonl",
            "--figure backtest.png",
        )
    )(backtest)


def backtest(
    sweep: Sweep,
    mapped: Mapped = None,
    cells: Cells = 4,
    budget: Budget = 0.1,
    target_params: TargetParams = None,
    target_tokens: TargetTokens = None,
    params_ratio: ParamsRatio = None,
    tokens_ratio: TokensRatio = None,
    jobs: Jobs = 1,
    out: Out = None,
    figure: FigurePath = None,
    as_json: AsJson = False,
) -> None:
    """Hide the largest cells of your sweep, tune on the rest, and see how good it would have been.

    A cell is one size, length, batch and recipe. Each is tuned from the library's own prior and
    from guesses three times too low and too high.
    """
    with errors_as_exit_codes():
        from horizon_bo.evaluation import backtest as backtests
        from horizon_bo.evaluation.backtest_view import draw_backtest

        result = backtests.backtest(
            sweep if mapped is None else checked_table(sweep, mapped).frame,
            cells=cells,
            budget=budget,
            target_params=target_params,
            target_tokens=target_tokens,
            params_ratio=params_ratio,
            tokens_ratio=tokens_ratio,
            out=out,
            jobs=jobs,
            watch=lambda fractions: show_progress(fractions, "replays"),
        )
        if figure is not None:
            draw_backtest(result, figure)
    _show(result, as_json)


def _show(result: "Backtest", as_json: bool) -> None:
    """Remarks on stderr, then tables and the verdict, or one object a line."""
    from rich.console import Console

    from horizon_bo.evaluation.backtest_view import print_backtest, records

    remark(result.remarks)
    remark(f"not hidden: {line}" for line in result.unused[:_SHOWN_UNUSED])
    more = len(result.unused) - _SHOWN_UNUSED
    if more > 0:
        remark([f"not hidden: {more} more cells, named by --json"])
    if as_json:
        for record in records(result):
            show_json(record)
        return
    console = Console()
    # a table cut to 80 columns in a file or pipe would lose its numbers
    print_backtest(result, console if console.is_terminal else Console(width=150))
