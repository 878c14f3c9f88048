"""Hidden cases: what can be replayed on any logged sweep?

    python -m benchmarks.problems.hidden_cases horizon_bo/data/stdlib_gpt.csv build/stdlib
    python -m benchmarks.problems.sweeps get steplaw-moe --folder build/moe
    python -m benchmarks.problems.hidden_cases build/moe/steplaw-moe.csv build/moe --experts

Writes one case for each of the sweep's largest cells that can be hidden, its truth smoothed as in
`horizon-bo backtest`, for `python -m benchmarks.harness.bench --cases`.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from horizon_bo.evaluation.cases import Case
from horizon_bo.evaluation.hiding import Terms, hidden_cells
from horizon_bo.tables.logged import logged_table


def cases_of(sweep: Path, terms: Terms, *, experts: bool = False) -> list[Case]:
    """The cases of a sweep, named after it and the hidden cell.

    Args:
        sweep: A table of runs.
        terms: What is hidden, and what may be bought.
        experts: Whether its sizes are the active ones of mixtures of experts.
    """
    cells = hidden_cells(sweep, logged_table(sweep, repeats=True).runs, terms).cells
    return [
        replace(
            cell.case,
            name=f"{sweep.stem}-{cell.case.target_params:.4g}-{cell.case.target_tokens:.4g}",
            sweep=str(sweep.resolve()),
            experts=experts,
        )
        for cell in cells
    ]


def main(
    sweep: Path,
    folder: Path,
    cells: Annotated[int, typer.Option(min=1, help="Most cells to hide.")] = 6,
    budget: Annotated[float, typer.Option(help="Budget of the replays, in target runs.")] = 0.25,
    ratio: Annotated[float, typer.Option(help="Largest run, of the hidden size and tokens.")] = 0.5,
    experts: Annotated[bool, typer.Option(help="Sizes are the active ones of experts.")] = False,
) -> None:
    """Write FOLDER/cases.json."""
    terms = Terms(cells=cells, budget=budget, params_ratio=ratio, tokens_ratio=ratio)
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {**asdict(replace(case, truth=None)), "truth": dict(case.truth or {})}
        for case in cases_of(sweep, terms, experts=experts)
    ]
    (folder / "cases.json").write_text(json.dumps(records))


if __name__ == "__main__":
    typer.run(main)
