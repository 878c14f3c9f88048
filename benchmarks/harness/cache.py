"""Cache: how do results travel with the project?

    python -m benchmarks.harness.cache unpack build/bench   # before: what is done is not repeated
    python -m benchmarks.harness.cache pack build/bench     # after

Packed, the files of one experiment and budget are one compressed file of lines.
"""

import gzip
import json
from pathlib import Path
from typing import Annotated

import typer

PACKED = Path(__file__).parents[1] / "results" / "bench"
_SUFFIX = ".jsonl.gz"

Folder = Annotated[Path, typer.Argument(help="Folder of EXPERIMENT-BUDGET/METHOD.jsonl.")]
Held = Annotated[Path, typer.Option(help="Folder of EXPERIMENT-BUDGET.jsonl.gz.")]

app = typer.Typer(help="Results of the benchmark, packed and unpacked.")


@app.command()
def unpack(folder: Folder, packed: Held = PACKED) -> None:
    """Write the packed lines of every method that FOLDER does not hold yet."""
    for file in sorted(packed.glob(f"*{_SUFFIX}")):
        by_method: dict[str, list[str]] = {}
        for line in gzip.decompress(file.read_bytes()).decode().splitlines(keepends=True):
            by_method.setdefault(json.loads(line)["method"], []).append(line)
        to = folder / file.name.removesuffix(_SUFFIX)
        to.mkdir(parents=True, exist_ok=True)
        for method, lines in by_method.items():
            if not (to / f"{method}.jsonl").exists():
                (to / f"{method}.jsonl").write_text("".join(lines))


@app.command()
def pack(folder: Folder, packed: Held = PACKED) -> None:
    """Write one compressed file for each folder of lines; the same lines give the same bytes."""
    packed.mkdir(parents=True, exist_ok=True)
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        text = "".join(file.read_text() for file in sorted(inner.glob("*.jsonl")))
        (packed / f"{inner.name}{_SUFFIX}").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    app()
