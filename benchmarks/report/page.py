"""Report: what did the replays and the single measurements give, as pages people read?

Reads JSON lines only and writes Markdown and figures, so that no figure is typed:

    python -m benchmarks.report.page "$HORIZON_BO_DATA/cases.json" build/*/cases.json

writes `benchmarks/replays.md`, `benchmarks/measured.md`, figures, and the table in the main README.
The page to read first is `front`'s.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import bench
from benchmarks.harness.ablations import ABLATIONS
from benchmarks.measurements import (
    averaging,
    batches,
    checks,
    exponents,
    for_real,
    inputs,
    paradigms,
    proof,
)
from benchmarks.problems.synthetic import KINDS
from benchmarks.report import crowd_view
from benchmarks.report import paradigms as paradigms_view
from benchmarks.report.standings import Replay, at_centers, load, twice
from benchmarks.report.standings_figures import draw_extrapolation, draw_regret
from benchmarks.report.standings_tables import (
    OURS,
    Cases,
    complete,
    detail_table,
    extrapolation_table,
    found_table,
    given_list,
    methods_of,
    of,
    overhead_table,
    paired_table,
    parallel_table,
    regret_table,
    short_table,
    worlds_table,
)
from benchmarks.report.writing import HERE, write_page
from horizon_bo.evaluation.cases import load_cases

SPEEDS = HERE / "results" / "trainer_speed.jsonl"
FIGURES = HERE / "figures"
MAIN_README = HERE.parent / "README.md"

#: Budgets of the tables of regret, in target runs: those replayed, and one read on the way.
BUDGETS = (0.01, *bench.BUDGETS)
#: Groups of synthetic cases.
WORLDS = ("ples", *KINDS)
#: Budget of the experiments on harder pools.
HARDER_BUDGET = 0.05


def speeds() -> str:
    """Lines of the table of training speeds."""
    lines = [json.loads(line) for line in SPEEDS.read_text().splitlines()]
    return "\n".join(
        f"| {line['params']:,} | {line['tokens_per_second']:,.0f} "
        f"| {line['plain_tokens_per_second']:,.0f} | {line['ratio']:.2f} |"
        for line in lines
    )


def standings(replays: Sequence[Replay], cases: Cases) -> dict[str, str]:
    """Every table of the comparison with rivals."""
    everyone = [r for r in of(replays, "main", "same") if r.method.split(" ")[0] not in ABLATIONS]
    rivals, partly = complete(everyone)
    shared = {r.case for r in partly}
    slow = [r for r in everyone if r.case in shared and r.method in {OURS, *methods_of(partly)}]
    ablated = [
        r for r in of(replays, "main", "same") if r.method in (OURS, "horizon-random", *ABLATIONS)
    ]
    tables = {
        "regret": regret_table(rivals, cases, BUDGETS),
        "overhead": overhead_table(rivals, cases, BUDGETS[1:]),
        "slow": regret_table(slow, cases, BUDGETS[1:4]),
        "slow_overhead": overhead_table(slow, cases, BUDGETS[1:4]),
        "detail": detail_table(everyone, cases, 0.10),
        "found": found_table(rivals, cases),
        "paired": paired_table(everyone, cases),
        "ablations": regret_table(ablated, cases, BUDGETS[:4]),
        "ablations_overhead": overhead_table(ablated, cases, (0.05, 0.10)),
        "ablations_detail": detail_table(ablated, cases, 0.10),
        "extrapolation": extrapolation_table(replays, cases, "same", HARDER_BUDGET),
        "parallel": parallel_table(replays, cases, "same"),
        "worlds": worlds_table(replays, cases, WORLDS),
        "given": given_list(replays),
    }
    others = sorted({r.group for r in replays if r.experiment == "main"} - {"same", *WORLDS})
    tables["groups"] = "\n\n".join(
        f"### `{group}`\n\n{_other_tables(of(replays, 'main', group), cases)}" for group in others
    )
    return tables


def _other_tables(replays: Sequence[Replay], cases: Cases) -> str:
    """Regret, overhead and calibration of one group of cases."""
    return "\n\n".join(
        (
            regret_table(replays, cases, BUDGETS[2:]),
            overhead_table(replays, cases, BUDGETS[2:]),
            detail_table(replays, cases, 0.10),
        )
    )


def between_marks(text: str, name: str, content: str) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}{found[2]}", text, flags=re.DOTALL)


def main(
    cases: Annotated[list[Path], typer.Argument(help="Files of cases that were replayed.")],
    results: Annotated[Path, typer.Option(help="Lines of `bench`.")] = HERE / "results" / "bench",
) -> None:
    """Write the page, its figures, and the table of the main README."""
    known = {case.name: case for file in cases for case in load_cases(file)}
    replays = [replay for replay in load(results) if replay.case in known]
    replays = list(at_centers(twice(replays)))
    parts = {
        **standings(replays, known),
        "proof": proof.table(),
        "real": for_real.table(),
        "paradigms": paradigms_view.table(
            paradigms.known(paradigms.RESULTS, paradigms.FULL), paradigms.FULL
        ),
        "pairs": batches.table(),
        "exponents": exponents.text(),
        "averaging": averaging.table(),
        "inputs": inputs.table(),
        "input_slopes": inputs.slopes(),
        "checks": checks.table(),
        "crowd": crowd_view.table(crowd_view.simulations()),
        "speeds": speeds(),
        "harder_budget": f"{HARDER_BUDGET:.0%}",
    }
    for name in ("replays.md", "measured.md"):
        write_page(name, parts)
    FIGURES.mkdir(exist_ok=True)
    everyone = of(replays, "main", "same")
    draw_regret(complete(everyone)[0], known, FIGURES / "regret.png")
    crowd_view.draw(crowd_view.simulations(), FIGURES / "crowd.png")
    draw_extrapolation(replays, known, "same", HARDER_BUDGET, FIGURES / "extrapolation.png")
    table = short_table(complete(everyone)[0], known)
    MAIN_README.write_text(between_marks(MAIN_README.read_text(), "standings", table))


if __name__ == "__main__":
    typer.run(main)
