"""Learn: what does each recipe of the corpus say of its coefficients?

    python -m benchmarks.prior.learn "$HORIZON_BO_DATA"

Writes `evidence.json` beside this file; some minutes of one core.
"""

import json
from pathlib import Path

import torch
import typer

from benchmarks.prior.corpus import corpus
from benchmarks.prior.evidence import evidence_record
from benchmarks.prior.identified import evidence_of

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "horizon_bo" / "data"


def main(folder: Path, out: Path = HERE / "evidence.json") -> None:
    """Write what every recipe of `corpus.toml` says, its tables being in FOLDER."""
    torch.set_num_threads(1)
    evidence = []
    for recipe in corpus(HERE / "corpus.toml", (folder, SHIPPED)):
        evidence.append(evidence_of(recipe))
        typer.echo(f"{recipe.name}: {evidence[-1].kind}, {evidence[-1].rows} rows")
    record = evidence_record(evidence)
    recipes = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in record.pop("recipes"))
    head = json.dumps(record, ensure_ascii=False)[:-1]
    out.write_text(f'{head}, "recipes": [\n{recipes}\n]}}\n')


if __name__ == "__main__":
    typer.run(main)
