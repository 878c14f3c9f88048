"""Front: what does somebody need to see of the benchmark who reads one page?

    python -m benchmarks.report.front "$HORIZON_BO_DATA/cases.json" --races build/open

Without `--races` it reads what is packed; with it, those lines are packed first.

Writes `benchmarks/README.md`, the page of the open races, and the figure of ranks.
"""

import gzip
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.emulators.__main__ import table as emulator_table
from benchmarks.harness.ablations import ABLATIONS
from benchmarks.harness.open_race import OURS
from benchmarks.report.open_standings import (
    AT_STOP,
    Race,
    agreement,
    ahead_table,
    draw_ranks,
    load,
    mean_ranks,
    shared,
    table,
)
from benchmarks.report.open_words import (
    by_recipe,
    fitted_here,
    found_sentence,
    losses,
    means,
    verdict,
)
from benchmarks.report.standings import Replay, at_centers, results, twice
from benchmarks.report.standings import load as load_replays
from benchmarks.report.standings_tables import Cases, by_method, of, paired_table
from benchmarks.report.writing import HERE, write_page
from horizon_bo.evaluation.cases import load_cases

#: All races, one line per state.
PACKED = HERE / "results" / "races.jsonl.gz"
#: Budget of the replays whose order is compared with that of the races.
_REPLAYED = 0.10
_SHORT = 8


def pack(folder: Path) -> None:
    """Put the lines of a folder into the packed file; the same lines give the same bytes."""
    text = "".join(file.read_text() for file in sorted(folder.rglob("*.jsonl")))
    PACKED.write_bytes(gzip.compress(text.encode(), mtime=0))


def agreed(races: list[Race], replays: list[Replay], cases: Cases) -> str:
    """Whether replays on rows and races on the emulator of the same sweep rank methods alike."""
    raced = mean_ranks(
        [race for race in races if race.case.startswith("steplaw-dense")],
        lambda race: race.overhead(AT_STOP),
    )
    at = by_method(results([r for r in replays if r.budget == _REPLAYED], cases, AT_STOP))
    replayed = {
        name: sum(r.outcome.overhead for r in found) / len(found) for name, found in at.items()
    }
    correlation, methods = agreement(replayed, raced)
    return (
        f"Of the {methods} methods that did both on Step Law's dense models, by overhead at their "
        f"own ends, the rank correlation (Spearman) is {correlation:.2f}."
    )


def not_beaten(replays: list[Replay], cases: Cases) -> str:
    """Methods whose overhead in the replays is above ours by less than the interval."""
    rows = [row.strip("| ").split(" | ") for row in paired_table(replays, cases).splitlines()[2:]]
    near = [f"`{name}` {more}" for name, more, *_ in rows if "(-" in more]
    return ", ".join(near) or "none"


def short_table(races: list[Race]) -> str:
    """The rows of the full table for ours and the best others."""
    head, rule, *rows = table(races).splitlines()
    first = [row for row in rows if f"| {OURS} |" in row or row.startswith(f"| {OURS},")]
    return "\n".join([head, rule, *dict.fromkeys([*rows[:_SHORT], *first])])


def parts(races: list[Race], cases: Cases) -> dict[str, str]:
    """What the templates of both pages are filled with."""
    fitted = sorted(name for name in means(races) if fitted_here(name, races))
    failed = sorted({race.method for race in races if race.error})
    replays = list(at_centers(twice(load_replays(HERE / "results" / "bench"))))
    known = [r for r in replays if r.case in cases and r.method.split(" ")[0] not in ABLATIONS]
    replays = of(known, "main", "same")
    return {
        **_ours(races),
        "races": table(races),
        "races_short": short_table(races),
        "not_beaten": not_beaten(replays, cases),
        "agreement": agreed(races, replays, cases),
        "emulators": emulator_table(),
        "fitted": ", ".join(fitted) or "none",
        "failed": ", ".join(failed) or "none",
        "methods": f"{len({race.method for race in races})}",
        "worlds": f"{len({race.world for race in shared(races)})}",
        "targets": f"{len({race.case for race in shared(races)})}",
    }


def _ours(races: list[Race]) -> dict[str, str]:
    """What is said of ours, or that it has not raced."""
    if all(race.method != OURS for race in races):
        why = "**Ours has not raced yet, so nothing is shown**; the rows are of others."
        return {"verdict": why, "found": ""} | dict.fromkeys(("ahead", "losses", "by_recipe"), "–")
    return {
        "verdict": verdict(races),
        "found": found_sentence(races),
        "ahead": ahead_table(shared(races), OURS),
        "losses": losses(races),
        "by_recipe": by_recipe(races),
    }


def main(
    cases: Annotated[Path, typer.Argument(help="The cases that were replayed.")],
    races: Annotated[Path | None, typer.Option(help="Folder of lines to pack first.")] = None,
) -> None:
    """Write the page, that of the races, and the figure of ranks."""
    if races is not None:
        pack(races)
    found = load(PACKED)
    filled = parts(found, {case.name: case for case in load_cases(cases)})
    for name in ("README.md", "races.md"):
        write_page(name, filled)
    ranks = mean_ranks(found, lambda race: race.overhead(AT_STOP))
    targets = len({race.case for race in shared(found)})
    draw_ranks(ranks, targets, HERE / "figures" / "ranks.png")


if __name__ == "__main__":
    typer.run(main)
