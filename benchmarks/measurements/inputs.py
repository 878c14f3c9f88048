"""Inputs: does weight decay as an input of the model beat pooling runs as equal, and as recipes?

    python -m benchmarks.measurements.inputs --out results/inputs.jsonl
    python -m benchmarks.measurements.inputs --show

Part of a sweep is hidden, the rest is believed in three ways: runs of several weight decays with
the decay as an input, as if all had the target's, and each other decay as a recipe of its own.
Scored are the hidden losses by their log predictive density, and the rate at the hidden cell that
has most rates against the vertex of its bowl. Parts that are in the file already are skipped. No
evidence behind the prior has seen either sweep.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import t as student_t

from benchmarks.measurements.bowls import vertex
from horizon_bo.core.conditioning import condition, draw_departures
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import Belief, believe, placed
from horizon_bo.core.points import Cells
from horizon_bo.core.surrogate import NOISE_FREEDOM, features, level_mean
from horizon_bo.evaluation.cases import find_sweep
from horizon_bo.study.changes import import_runs
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.seeds import BELIEF, study_generator
from horizon_bo.study.trials import LoggedRun, Study, Trial

RESULTS = Path(__file__).parents[1] / "results" / "inputs.jsonl"
WAYS = ("input", "as equal", "as recipes")
SHIPPED, PUBLIC = "stdlib_gpt.csv", "sweeps/fantastic_ablations.csv"
#: Kinds of evidence behind the prior that share data with either sweep.
EXCLUDED = ("stdlib_gpt", "fantastic_optimizers", "fantastic_ablations")
#: One-at-a-time changes of the public sweep that are used, beside the runs they are made from.
VARIED = ("baseline", "learning_rate", "weight_decay")
#: Size that is hidden there; most of the runs are at the one below it.
HIDDEN_SIZE = 301_989_888
_FEWEST_RATES = 3
#: Weight decays above zero of the sweep that ships.
USUAL_DECAY, OTHER_DECAY = 0.1, 0.5
_DRAWS = 8
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Part:
    """A sweep with some of its runs hidden; all name their weight decay as an input.

    Args:
        sweep: Its file.
        name: What is hidden.
        optimizer: Of all runs.
        seen: The runs that are believed.
        hidden: The runs that are to be foretold.
    """

    sweep: str
    name: str
    optimizer: str
    seen: Sequence[LoggedRun]
    hidden: Sequence[LoggedRun]


def decay(run: LoggedRun) -> float:
    """The weight decay of a run."""
    return run.inputs["weight_decay"] or 0.0


def rows_of(sweep: str, wanted: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a sweep that hold one of the wanted values in each of these columns."""
    rows = pd.read_csv(find_sweep(sweep)).to_dict("records")
    return [row for row in rows if all(row[name] in values for name, values in wanted.items())]


def as_run(row: Mapping[str, Any]) -> LoggedRun:
    """A row as a run."""
    names = ("learning_rate", "params", "tokens", "batch_tokens", "optimizer")
    return LoggedRun(
        **{name: row[name] for name in names if name in row},
        loss=None if row["diverged"] else row["loss"],
        diverged=bool(row["diverged"]),
        inputs={"weight_decay": row["weight_decay"]},
    )


def parts() -> Iterator[Part]:
    """All parts, those of the sweep that ships first."""
    recipe = {"batch_tokens": [1024], "schedule": ["cosine"], "seed": [0], "averaging": ["none"]}
    runs = [as_run(row) for row in rows_of(SHIPPED, {**recipe, "parametrization": ["standard"]})]
    cells = {(run.params, run.tokens): None for run in runs if decay(run) == OTHER_DECAY}
    runs = [run for run in runs if run.params in {params for params, _ in cells}]
    for params, tokens in cells:
        for own in (USUAL_DECAY, OTHER_DECAY):
            here = [(r.params, r.tokens, decay(r)) == (params, tokens, own) for r in runs]
            name = f"{params:.0f} parameters, {tokens:.0f} tokens, decay {own:g}"
            yield _part(SHIPPED, name, "adamw", runs, here)
    every = [as_run(row) for row in rows_of(PUBLIC, {"varied": VARIED})]
    for optimizer in sorted({str(run.optimizer) for run in every}):
        runs = [run for run in every if run.optimizer == optimizer]
        part = _part(PUBLIC, optimizer, optimizer, runs, [r.params == HIDDEN_SIZE for r in runs])
        if all(len({decay(run) for run in some}) > 1 for some in (part.seen, part.hidden)):
            yield part


def _part(
    sweep: str, name: str, optimizer: str, runs: Sequence[LoggedRun], here: Sequence[bool]
) -> Part:
    split = lambda wanted: [r for r, hide in zip(runs, here, strict=True) if hide == wanted]  # noqa: E731
    return Part(sweep, name, optimizer, split(False), split(True))


def told(run: LoggedRun, way: str, own: float) -> LoggedRun:
    """A run whose weight decay is told in one of the ways, the target having its own."""
    if way == "input":
        return run
    apart = way == "as recipes" and decay(run) != own
    return replace(run, inputs={}, source=f"decay {decay(run):g}" if apart else None)


def main_cell(hidden: Sequence[LoggedRun]) -> tuple[LoggedRun, float | None]:
    """A run of the hidden cell of one decay with most finite rates, and ln of its best rate."""
    cells: dict[tuple[float, ...], dict[float, list[float]]] = {}
    for run in hidden:
        if run.loss is not None:
            cell = cells.setdefault((run.params, run.tokens, decay(run)), {})
            cell.setdefault(run.learning_rate, []).append(run.loss)
    most = max(sorted(cells), key=lambda place: len(cells[place]))
    first = next(run for run in hidden if (run.params, run.tokens, decay(run)) == most)
    loss = dict(sorted(cells[most].items()))
    if len(loss) < _FEWEST_RATES:
        return first, None
    mean = np.array([np.mean(losses) for losses in loss.values()])
    return first, vertex(np.log(list(loss)), mean)


def study_of(part: Part, way: str) -> tuple[Study, list[Trial]]:
    """The study that knows what is not hidden, and the hidden runs as trials."""
    first, _ = main_cell(part.hidden)
    every = [*part.seen, *part.hidden]
    rates = [run.learning_rate for run in every]
    study = Study(
        target=Horizon(
            params=first.params,
            tokens=first.tokens,
            batch_tokens=first.batch_tokens,
            inputs={"weight_decay": decay(first)} if way == "input" else {},
        ),
        space=SearchSpace(
            learning_rate=(min(rates), max(rates)),
            scales=[Scale(params=size) for size in sorted({run.params for run in every})],
            tokens=sorted({run.tokens for run in every}),
        ),
        budget=1e30,
        optimizer=part.optimizer,
        excluded_data=EXCLUDED,
    )
    seen, hidden = ([told(run, way, decay(first)) for run in r] for r in (part.seen, part.hidden))
    trials = [study.trial_from(r, trial_id=0, charged=False) for r in hidden if not r.diverged]
    return import_runs(study, seen), trials


def log_losses(study: Study, belief: Belief, hidden: Sequence[Trial]) -> np.ndarray:
    """−ln of the predictive density of each hidden loss, in nats."""
    labels = {label for trial in hidden if (label := study.recipe(trial)) is not None}
    recipes = (*belief.recipes, *sorted(labels - set(belief.recipes)))
    posterior = belief.posterior.with_recipes(len(recipes) - len(belief.recipes))
    points, runs = placed(study, hidden, recipes), belief.runs
    cells = Cells(
        np.concat([runs.cells.log_scales, points.log_scales]),
        np.concat([runs.cells.source, points.source]),
    )
    fit = condition(
        posterior.z, posterior.noise_scale, replace(runs, cells=cells), posterior.priors
    )
    drawn = draw_departures(fit, study_generator(study, BELIEF), _DRAWS)[..., len(runs.cells) :]
    c = fit.coefficients
    at = features(c, points)
    mean = level_mean(c, points.log_scales) + at.mean + (at.basis * drawn).sum(-2)
    loss = np.array([trial.loss for trial in hidden]) / belief.loss_scale
    density = student_t.logpdf(loss, NOISE_FREEDOM, mean, np.sqrt(at.variance))
    density = density.reshape(-1, len(hidden))
    return math.log(len(density)) + math.log(belief.loss_scale) - logsumexp(density, 0)


def measure(out: Path) -> None:
    """Score what the file lacks, a line a part and way."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = Counter((line["sweep"], line["part"], line["way"]) for line in lines)
    for part in parts():
        for way in WAYS:
            if done[part.sweep, part.name, way]:
                continue
            study, hidden = study_of(part, way)
            belief = believe(study)
            lost = log_losses(study, belief, hidden)
            best = main_cell(part.hidden)[1]
            log_lr = decide(belief).log_lr
            record: dict[str, Any] = {
                "sweep": part.sweep,
                "part": part.name,
                "way": way,
                "seen": len(part.seen),
                "hidden": len(hidden),
                "log_loss": float(lost.mean()),
                "learning_rate": math.exp(log_lr),
                "octaves_off": None if best is None else (log_lr - best) / math.log(2),
                "acceptance": belief.posterior.acceptance,
            }
            if way == "input":
                slope = belief.posterior.coefficients.optimum_per_input
                record["slope"] = [float(slope.mean()), float(slope.std())]
            with out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def table(path: Path = RESULTS) -> str:
    """Held-out log loss and the rate by sweep and way, each against the input."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    noise = np.random.default_rng(0)
    text = "| sweep | weight decay | parts | log loss | less the input's | parts with a bowl "
    text += "| octaves off | less the input's |\n" + "|---" * 8 + "|\n"
    for sweep in dict.fromkeys(line["sweep"] for line in lines):
        for way in WAYS:
            text += f"| `{Path(sweep).stem}` | {way} "
            for name in ("log_loss", "octaves_off"):
                own, input_ = (_scores(lines, sweep, each, name) for each in (way, WAYS[0]))
                text += f"| {len(own)} | {own.mean():.2f} | {_against(own - input_, noise)} "
            text += "|\n"
    return text


def _scores(lines: Sequence[Mapping[str, Any]], sweep: str, way: str, name: str) -> np.ndarray:
    """One score of every part that has it, without its sign where it is a distance."""
    found = {
        line["part"]: line[name] for line in lines if (line["sweep"], line["way"]) == (sweep, way)
    }
    values = np.array([found[part] for part in sorted(found) if found[part] is not None])
    return np.abs(values) if name == "octaves_off" else values


def _against(more: np.ndarray, noise: np.random.Generator) -> str:
    """A mean difference with its 90 % interval, parts drawn anew."""
    if not more.any():
        return "–"
    drawn = noise.choice(more, (_RESAMPLES, len(more))).mean(1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    return f"{more.mean():+.2f} ({low:+.2f} … {high:+.2f})"


def main() -> None:
    """Measure or show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="print the table and measure nothing")
    given = parser.parse_args()
    if not given.show:
        measure(given.out)
    print(table(given.out))


if __name__ == "__main__":
    main()
