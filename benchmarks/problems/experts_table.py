"""Experts table: the runs of small expert models that ship with the package.

    python -m benchmarks.problems.experts_table

They were made for two measurements: how far the best rate moves with width and number of experts,
in cosine runs of one length (`results/experts.jsonl`), and fitting against transfer, in WSD runs of
several lengths and sizes (`results/paradigms.jsonl`). One run a row, `params` the active ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.problems.lines import whole_lines
from horizon_bo.training.config import ModelConfig
from horizon_bo.training.flops import flops_per_token

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results"
TABLE = HERE.parent / "horizon_bo" / "data" / "experts_gpt.csv"


def table() -> pd.DataFrame:
    """All runs of expert models in both files, in our columns."""
    rows = pd.DataFrame([*_of_one_length(), *_of_many_lengths()])
    order = ["source", "experts", "params", "tokens", "learning_rate", "seed"]
    return rows.sort_values(["schedule", *order], ignore_index=True)


def _of_one_length() -> Iterator[dict[str, Any]]:
    for record in whole_lines(RESULTS / "experts.jsonl"):
        steps = record["tokens"] // record["batch_tokens"]
        told = {"tokens": steps * record["batch_tokens"], "schedule": "cosine"}
        told |= {"batch_tokens": record["batch_tokens"], **_of_model(record["model"])}
        yield from _grid(told, record["rates"], record["seeds"], record["loss"])


def _of_many_lengths() -> Iterator[dict[str, Any]]:
    for record in whole_lines(RESULTS / "paradigms.jsonl"):
        model = record["config"]["model"]
        if not model["experts"]:
            continue
        batch = record["config"]["recipe"]["batch_tokens"]
        rates = [2.0**log2_rate for log2_rate in record["log2_rates"]]
        for steps, grid in record["losses"].items():
            told = {"tokens": int(steps) * batch, "schedule": "wsd", "batch_tokens": batch}
            told |= _of_model(model)
            yield from _grid(told, rates, record["seeds"], grid)


def _of_model(record: dict[str, Any]) -> dict[str, Any]:
    model = ModelConfig(**record)
    told = {name: record[name] for name in ("width", "depth", "experts", "active_experts")}
    return {
        "source": model.parametrization,
        "params": model.params,
        "sparsity": round(model.sparsity, 6),
        "flops_per_token": flops_per_token(model),
        **told,
    }


def _grid(
    model: dict[str, Any],
    rates: Sequence[float],
    seeds: Sequence[int],
    grid: Sequence[Sequence[float | None]],
) -> Iterator[dict[str, Any]]:
    """The runs of one model and length, a row each."""
    told = dict(model)
    source, flops = told.pop("source"), told.pop("flops_per_token") * told["tokens"]
    for rate, losses in zip(rates, grid, strict=True):
        for seed, loss in zip(seeds, losses, strict=True):
            yield {
                "source": source,
                "learning_rate": float(f"{rate:.6g}"),
                "loss": None if loss is None else round(loss, 5),
                "diverged": loss is None,
                "seed": seed,
                **told,
                "flops": flops,
            }


if __name__ == "__main__":
    rows = table()
    rows.to_csv(TABLE, index=False)
    print(f"{len(rows)} runs in {TABLE.relative_to(HERE.parent)}")
