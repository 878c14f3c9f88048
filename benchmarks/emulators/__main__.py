"""Emulators' commands: how are they built, and how far off are they?

    python -m benchmarks.emulators build                # every recipe whose table is here
    python -m benchmarks.emulators check                # leaves cells out, prints the errors

The tables of others are read from the folder in HORIZON_BO_DATA; what is built holds their losses
and stays in the build folder.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.emulators.emulator import Emulator, emulated, read, write
from benchmarks.emulators.left_out import Summary, cell_errors, summary
from benchmarks.emulators.rows import recipes

#: Where emulators are built.
BUILT = Path("build/emulators")
#: Errors of every emulator, as they were when last checked.
CHECKED = Path(__file__).parents[1] / "results" / "emulators.jsonl"

Folder = Annotated[Path, typer.Option(help="Folder of the emulators.")]
Only = Annotated[str | None, typer.Option(help="One recipe by name.")]

app = typer.Typer(help="Smooth stand-ins for public sweeps.")


@app.command()
def build(folder: Folder = BUILT, only: Only = None) -> None:
    """Learn an emulator from every sweep with bowls and write it to FOLDER."""
    for recipe in recipes():
        if only is None or recipe.name == only:
            began = time.perf_counter()
            path = write(emulated(recipe), folder)
            print(f"{path}: {len(recipe.runs)} runs, {time.perf_counter() - began:.0f} s")


@app.command()
def check(folder: Folder = BUILT, only: Only = None, out: Path = CHECKED) -> None:
    """Leave every cell out in turn, write the errors to OUT and print them."""
    lines = {line["name"]: line for line in _lines(out)}
    for emulator in emulators(folder):
        if only is None or emulator.name == only:
            found = summary(list(cell_errors(emulator)))
            lines[emulator.name] = {"name": emulator.name, **asdict(found)}
            out.write_text("".join(json.dumps(line) + "\n" for line in lines.values()))
            print(emulator.name, file=sys.stderr)
    print(table(out))


def emulators(folder: Path = BUILT) -> list[Emulator]:
    """Every emulator of a folder, by name."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def table(out: Path = CHECKED) -> str:
    """The errors as a table."""
    head = (
        "| recipe | cells | shape | seed noise | cells above twice the noise | optima "
        "| error of ln LR* | of which measured | cost of the error |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_row(line) for line in _lines(out))])


def _row(line: dict) -> str:
    name = line["name"]
    s = Summary(**{key: value for key, value in line.items() if key != "name"})
    return (
        f"| {name} | {s.cells} | {s.shape:.1f} | {s.noise:.1f} | {s.above:.0%} | {s.optima} "
        f"| {s.optimum:.2f} | {s.optimum_sd:.2f} | {s.cost:.1f} |"
    )


def _lines(out: Path) -> Sequence[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    app()
