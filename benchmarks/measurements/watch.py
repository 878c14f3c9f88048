"""Watch: how often, and how early, is the word on a large run that has begun the right one?

    OMP_NUM_THREADS=1 python -m benchmarks.measurements.watch train   # half a CPU hour
    OMP_NUM_THREADS=1 python -m benchmarks.measurements.watch ask     # a minute
    python -m benchmarks.measurements.watch table

Trains the built-in trainer's small models of two studies on four rates, then the first half of
each study's target at about a third of the recommended rate, at it, and at three and ten times it,
by three seeds; asks `watch` at growing shares of it, with and without the small runs' curves, told
the rate or, as though the study had erred, the recommended one. A run logged in bits instead of
nats is a good one times 1.44. What is in a file is not made again.
"""

import gzip
import json
import math
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from horizon_bo import HorizonTuner, LoggedRun, SearchSpace
from horizon_bo.core.checks.curves import Curve
from horizon_bo.core.checks.watch import watched
from horizon_bo.runs.builtin import shaped_horizon, shaped_model, shaped_scale
from horizon_bo.store.threads import keep_to_one_thread
from horizon_bo.training.config import Recipe, RunConfig
from horizon_bo.training.corpus import batches, corpus
from horizon_bo.training.loop import Training
from horizon_bo.training.schedules import trunk_rate

RESULTS = Path(__file__).parents[1] / "results"
CURVES, WORDS = RESULTS / "watch_curves.jsonl.gz", RESULTS / "watch.jsonl"
RATES, BATCH_TOKENS, TARGET_TOKENS = (2e-3, 6e-3, 1.8e-2, 5.4e-2), 1_024, 2_000_896
FACTORS, SEEDS, SHARES = (1 / 3, 1.0, 3.0, 10.0), 3, (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
#: A point of a curve is the mean of so many steps, as training scripts log it.
STEPS_A_POINT = 5
BITS = 1 / math.log(2)


@dataclass(frozen=True)
class Plan:
    """A study: its small models and lengths, its target and recipe."""

    shapes: tuple[str, ...]
    tokens: tuple[int, ...]
    target: str
    parametrization: str
    schedule: str


#: `watch` was made with the first in view; the second was looked at when it was done.
PLANS = {
    "standard": Plan(("16x2", "32x2"), (62_464, 250_880), "64x2", "standard", "cosine"),
    "mup": Plan(("16x2", "32x2", "48x2"), (125_952, 376_832), "80x2", "mup", "wsd"),
}

app = typer.Typer(add_completion=False)


def trained(name: str, shape: str, tokens: int, rate: float, seed: int) -> dict[str, Any]:
    """A run's curve, and its held-out loss where it is a small one; the target's is half a run."""
    plan = PLANS[name]
    large = shape == plan.target
    config = RunConfig(
        model=replace(shaped_model(shape), parametrization=plan.parametrization),
        recipe=Recipe(batch_tokens=BATCH_TOKENS, schedule=plan.schedule),
        learning_rates=(rate,),
        seeds=(seed,),
        tokens=tokens,
    )
    run, losses = Training(config, corpus()), []
    for step in range(int((max(SHARES) if large else 1) * tokens) // BATCH_TOKENS):
        text = batches(run.text, config.seeds, step, run.rows, config.model.context)
        losses.append(run.step(text, trunk_rate(run.table, step)).double())
    points = torch.stack(losses).unfold(0, STEPS_A_POINT, STEPS_A_POINT).mean(dim=-1)[:, 0]
    return {
        "study": name,
        "shape": shape,
        "params": config.model.params,
        "tokens": tokens,
        "learning_rate": rate,
        "seed": seed,
        "final": None if large else float(run.evaluate(run.progress.state.theta)[0]),
        "losses": [round(value, 5) for value in points.tolist()],
        "digest": run.text.digest,
        "torch": version("torch"),
    }


def curve(run: dict[str, Any]) -> Curve:
    """What a run logged."""
    losses = np.array(run["losses"])
    return Curve(BATCH_TOKENS * STEPS_A_POINT * np.arange(1.0, len(losses) + 1), losses)


def tuned(name: str, runs: Sequence[dict[str, Any]]) -> HorizonTuner:
    """The study of a plan's small runs."""
    plan = PLANS[name]
    target = shaped_horizon(
        plan.target,
        TARGET_TOKENS,
        batch_tokens=BATCH_TOKENS,
        schedule=plan.schedule,
        inputs={"warmup_share": Recipe().warmup},
    )
    space = SearchSpace(
        learning_rate=(1e-3, 0.3),
        scales=[shaped_scale(shape) for shape in plan.shapes],
        tokens=(float(min(plan.tokens)), float(max(plan.tokens))),
    )
    tuner = HorizonTuner(
        target=target,
        space=space,
        budget=0.5 * target.flops,
        parametrization=plan.parametrization,
    )
    names = ("params", "tokens", "learning_rate")
    tuner.import_runs(
        [LoggedRun(loss=run["final"], **{key: run[key] for key in names}) for run in runs]
    )
    return tuner


@app.command()
def train(out: Annotated[Path, typer.Option(help="Curves, gzipped lines.")] = CURVES) -> None:
    """Train what is not in the file yet."""
    torch.set_num_threads(1)
    keep_to_one_thread()
    for name, plan in PLANS.items():
        small = [
            (name, shape, tokens, rate, 0)
            for shape in plan.shapes
            for tokens in plan.tokens
            for rate in RATES
        ]
        _train(small, out)
        best = tuned(name, _of(out, name, large=False)).recommend().learning_rate
        made = sorted({run["learning_rate"] for run in _of(out, name, large=True)})
        rates = made if len(made) == len(FACTORS) else [factor * best for factor in FACTORS]
        large = [
            (name, plan.target, TARGET_TOKENS, rate, seed)
            for seed in range(SEEDS)
            for rate in rates
        ]
        _train(large, out)


def _train(runs: Sequence[tuple[str, str, int, float, int]], out: Path) -> None:
    names = ("study", "shape", "tokens", "learning_rate", "seed")
    done = {tuple(run[key] for key in names) for run in read(out)}
    for run in runs:
        if run not in done:
            with gzip.open(out, "at") as file:
                file.write(json.dumps(trained(*run)) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Lines made so far."""
    if not path.exists():
        return []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def _of(path: Path, name: str, *, large: bool) -> list[dict[str, Any]]:
    return [run for run in read(path) if run["study"] == name and (run["final"] is None) == large]


@app.command()
def ask(
    curves: Annotated[Path, typer.Option(help="Curves.")] = CURVES,
    out: Annotated[Path, typer.Option(help="Words, made anew.")] = WORDS,
) -> None:
    """Ask `watch` of every large run at every share."""
    keep_to_one_thread()
    args = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(args, capture_output=True, text=True, check=False).stdout.strip()
    with out.open("w") as file:
        for name in PLANS:
            for line in asked(name, _of(curves, name, large=False), _of(curves, name, large=True)):
                file.write(json.dumps({**line, "commit": commit}) + "\n")


def asked(
    name: str, small: Sequence[dict[str, Any]], large: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Every word on a study's large runs."""
    tuner = tuned(name, small)
    study, belief = tuner.study, tuner.belief
    best, recorded = tuner.recommend().learning_rate, dict(enumerate(map(curve, small)))
    rates = sorted({run["learning_rate"] for run in large})
    for run in large:
        factor, whole = FACTORS[rates.index(run["learning_rate"])], curve(run)
        units = ("nats", "bits") if factor <= 1 else ("nats",)
        for unit in units:
            for share in SHARES:
                seen = whole.tokens <= share * TARGET_TOKENS
                scale = BITS if unit == "bits" else 1.0
                so_far = Curve(whole.tokens[seen], whole.losses[seen] * scale)
                for told in ("its rate", "the recommended rate"):
                    rate = run["learning_rate"] if told == "its rate" else best
                    for known in ({}, recorded):
                        yield {
                            "study": name,
                            "seed": run["seed"],
                            "factor": factor,
                            "over_best": run["learning_rate"] / best,
                            "unit": unit,
                            "share": share,
                            "told": told,
                            "curves": bool(known),
                            **asdict(watched(study, belief, so_far, rate, known)),
                        }


@app.command("table")
def show(out: Annotated[Path, typer.Option(help="Words.")] = WORDS) -> None:
    """Print the tables of the page."""
    typer.echo(table(out))


def table(path: Path = WORDS) -> str:
    """How often each word was said where curves were recorded, by study, rate and share."""
    lines = [line for line in read(path) if line["curves"]]
    after = [share for share in SHARES if share >= Recipe().warmup]
    head = (
        "| study | rate over the recommended one | `watch` is told | loss in | "
        + " | ".join(f"{share:.0%}" for share in after)
        + " |\n"
    )
    head += "| --- | --- | --- | --- |" + " --- |" * len(after) + "\n"
    rows = []
    for name in PLANS:
        for told, unit in product(("the recommended rate", "its rate"), ("nats", "bits")):
            for factor in FACTORS:
                where = {"study": name, "factor": factor, "unit": unit, "told": told}
                part = [line for line in lines if all(line[key] == where[key] for key in where)]
                if part:
                    rows.append(
                        f"| {name} | {part[0]['over_best']:.2g} | {told} | {unit} | "
                        + " | ".join(
                            _words([line for line in part if line["share"] == share])
                            for share in after
                        )
                        + " |"
                    )
    return head + "\n".join(rows)


def _words(lines: Sequence[dict[str, Any]]) -> str:
    counts = Counter(line["word"] for line in lines).most_common()
    return ", ".join(f"{word} {count}" if len(counts) > 1 else word for word, count in counts)


if __name__ == "__main__":
    app()
