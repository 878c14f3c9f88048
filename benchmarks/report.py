"""Report: the scores of a benchmark as the page people read.

Reads what `horizon-bo score --json` prints and writes Markdown, so that no figure is typed:

    horizon-bo score benchmarks/results/steplaw.jsonl --cases CASES.json --json > scores.jsonl
    python -m benchmarks.report < scores.jsonl > benchmarks/README.md
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import averaging, exponents, proof

TEMPLATE = Path(__file__).with_name("page.md")
SPEEDS = Path(__file__).parent / "results" / "trainer_speed.jsonl"


def row(score: Mapping[str, Any]) -> str:
    """One line of the table; a method that claims nothing has dashes."""
    budget = score["budget"]
    cells = [
        score["group"],
        score["method"],
        budget if isinstance(budget, str) else f"{budget:.0%}",
        f"{score['regret_mean']:.1f}",
        f"{score['regret_p90']:.1f}",
        f"{score['overhead']:.1%}",
        _shown(score["hit_90"], ".0%"),
        _shown(score["hit_90_p"], ".2f"),
        _shown(score["width_90"], ".1f"),
        _shown(score["claimed_ratio"], ".1f"),
    ]
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def speeds() -> str:
    """Lines of the table of training speeds."""
    lines = [json.loads(line) for line in SPEEDS.read_text().splitlines()]
    return "\n".join(
        f"| {line['params']:,} | {line['tokens_per_second']:,.0f} "
        f"| {line['plain_tokens_per_second']:,.0f} | {line['ratio']:.2f} |"
        for line in lines
    )


def page(scores: Iterable[Mapping[str, Any]]) -> str:
    """The whole page, from scores over all prior centres."""
    rows = [row(score) for score in scores if score["prior_center"] == "all"]
    parts = {
        "table": "\n".join(rows),
        "proof": proof.table(),
        "exponents": exponents.text(),
        "averaging": averaging.table(),
        "speeds": speeds(),
    }
    text = TEMPLATE.read_text()
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part.rstrip("\n"))
    return text


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(line) for line in sys.stdin))
