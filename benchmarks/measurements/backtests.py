"""Backtests: what would the tuner have bought, said and been right about on every public sweep?

    python -m benchmarks.measurements.backtests                 # hours; the same call goes on
    python -m benchmarks.measurements.backtests --only lion     # sweeps whose name holds this

Does for each table of `$HORIZON_BO_DATA/sweeps`, for Step Law's dense models and for the sweep that
ships what `horizon-bo backtest TABLE` does, and writes `benchmarks/backtest.md`.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.harness.cache import PACKED
from benchmarks.report.writing import write_page
from horizon_bo.errors import HorizonBOError
from horizon_bo.evaluation.backtest import AT_ITS_STOP, OWN_PRIOR, backtest
from horizon_bo.evaluation.backtest_view import records

RESULTS = PACKED.parent / "backtests.jsonl"
#: Most cells hidden of a sweep.
CELLS = 3

Line = dict[str, Any]


def sweeps() -> list[Path | str]:
    """Every public sweep that is here, cheap ones first."""
    beside = Path(os.environ["HORIZON_BO_DATA"])
    tables: list[Path] = [*(beside / "sweeps").glob("*.csv"), beside / "steplaw_dense.csv"]
    tables.sort(key=lambda path: path.stat().st_size)
    return [*tables, "stdlib_gpt.csv"]


def measured(table: Path | str, lines: Path) -> list[Line]:
    """What a backtest of a table says, a line each; of a table that is refused, why."""
    name = Path(table).stem
    try:
        found = backtest(table, cells=CELLS, out=lines)
    except HorizonBOError as error:
        return [{"sweep": name, "refused": str(error).replace(f"{Path(table).parent}/", "")}]
    return [{"sweep": name, **record} for record in records(found)]


def summary(lines: Sequence[Line]) -> str:
    """The tables and verdicts of all sweeps."""
    by_sweep: dict[str, list[Line]] = {}
    for line in lines:
        by_sweep.setdefault(line["sweep"], []).append(line)
    said, table, refused = [], [_HEAD], []
    for name, own in by_sweep.items():
        if "refused" in own[0]:
            refused.append(f"- `{name}`: {own[0]['refused']}")
            continue
        answers = [line for line in own if line.get("method") == AT_ITS_STOP]
        table += [_row(name, line) for line in answers]
        said += [f"### `{name}`", *(f"- {sentence}" for sentence in own[-1]["verdict"])]
        said += [f"- not hidden: {sentence}" for sentence in own[-1]["unused"][:_UNUSED]]
    parts = ["\n".join(table), "## Verdicts", "\n".join(said), "## Refused", "\n".join(refused)]
    return "\n\n".join(part for part in parts if part)


#: Cells that could not be hidden, named of each sweep.
_UNUSED = 3
_HEAD = (
    "| sweep | hidden cell | start | bought | spent | said | best | off, octaves | regret "
    "| expected | 90 % interval | overhead |\n" + "|---" * 12 + "|"
)


def _row(name: str, line: Line) -> str:
    start = line["start"] if line["start"] != OWN_PRIOR else "own prior"
    off = math.log2(line["learning_rate"] / line["best_rate"])
    return (
        f"| {name} | {line['cell']} | {start} | {line['runs']} | {line['spent']:.1%} "
        f"| {line['learning_rate']:.3g} | {line['best_rate']:.3g} | {off:+.2f} "
        f"| {1e3 * line['regret']:.1f} | {1e3 * (line['expected_regret'] or 0):.1f} "
        f"| {'held' if line['hit_90'] else 'missed'} | {line['overhead']:.1%} |"
    )


def main(
    only: Annotated[str, typer.Option(help="Sweeps whose name holds this.")] = "",
    out: Annotated[Path, typer.Option(help="Where replays are kept.")] = Path("build/backtests"),
) -> None:
    """Backtest the sweeps that have no result yet and write the page."""
    out.mkdir(parents=True, exist_ok=True)
    lines = _read()
    done = {line["sweep"] for line in lines}
    for table in sweeps():
        name = Path(table).stem
        if name not in done and only in name:
            lines += measured(table, out / f"{name}.jsonl")
            RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
            print(name, flush=True)
    todo = [f"`{Path(table).stem}`" for table in sweeps() if Path(table).stem not in _names(lines)]
    left = f"Not run yet: {', '.join(todo)}." if todo else ""
    write_page("backtest.md", {"backtests": summary(lines), "left": left})


def _names(lines: Sequence[Line]) -> set[str]:
    return {line["sweep"] for line in lines}


def _read() -> list[Line]:
    return (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )


if __name__ == "__main__":
    typer.run(main)
