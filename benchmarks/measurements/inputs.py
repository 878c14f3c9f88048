"""Inputs: does a number of the recipe as an input beat pooling runs as equal, and as recipes?

    python -m benchmarks.measurements.inputs --out results/inputs.jsonl
    python -m benchmarks.measurements.inputs --show

Part of a sweep is hidden, the rest is believed in three ways: runs that differ in the number with
it as an input, as if all had the target's, and each other setting as a recipe of its own. Scored
are the hidden losses by their log predictive density, and the rate at the hidden cell that has most
rates against the vertex of its bowl. Parts that are in the file already are skipped. No evidence
behind the prior has seen any of the sweeps.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import t as student_t

from benchmarks.measurements.bowls import vertex
from benchmarks.problems.input_parts import FEWEST_RATES, VARYING, Part, parts
from benchmarks.problems.lines import whole_lines
from horizon_bo.core.conditioning import condition, draw_departures
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import Belief, believe, placed
from horizon_bo.core.points import Cells
from horizon_bo.core.surrogate import NOISE_FREEDOM, features, level_mean
from horizon_bo.study.changes import import_runs
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.inputs import INPUTS
from horizon_bo.study.seeds import BELIEF, study_generator
from horizon_bo.study.trials import LoggedRun, Study, Trial

RESULTS = Path(__file__).parents[1] / "results" / "inputs.jsonl"
WAYS = ("input", "as equal", "as recipes")
#: Kinds of evidence behind the prior that share data with a sweep.
EXCLUDED = ("stdlib_gpt", "fantastic_optimizers", "fantastic_ablations")
_DRAWS = 8
_RESAMPLES = 10_000


def told(run: LoggedRun, way: str, own: str | None) -> LoggedRun:
    """A run whose input is told in one of the ways, the target being set as `own`."""
    if way == "input":
        return replace(run, source=None)
    apart = way == "as recipes" and run.source != own
    return replace(run, inputs={}, source=run.source if apart else None)


def main_cell(hidden: Sequence[LoggedRun]) -> tuple[LoggedRun, float | None]:
    """A run of the hidden cell of one setting with most finite rates, and ln of its best rate."""
    cells: dict[tuple[float, float, str], dict[float, list[float]]] = {}
    for run in hidden:
        if run.loss is not None:
            cell = cells.setdefault((run.params, run.tokens, str(run.source)), {})
            cell.setdefault(run.learning_rate, []).append(run.loss)
    most = max(sorted(cells), key=lambda place: len(cells[place]))
    first = next(run for run in hidden if (run.params, run.tokens, run.source) == most)
    loss = dict(sorted(cells[most].items()))
    if len(loss) < FEWEST_RATES:
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
            inputs=first.inputs if way == "input" else {},
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
    seen, hidden = ([told(run, way, first.source) for run in r] for r in (part.seen, part.hidden))
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
    done = Counter((*_group(line), line["part"], line["way"]) for line in whole_lines(out))
    for part in (part for varying in VARYING for part in parts(varying)):
        for way in WAYS:
            if done[part.varying.name, part.varying.sweep, part.name, way]:
                continue
            record = scored(part, way)
            with out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def scored(part: Part, way: str) -> dict[str, Any]:
    """A part believed in one way: how likely its hidden losses were, and how far off the rate."""
    study, hidden = study_of(part, way)
    belief = believe(study)
    best, log_lr = main_cell(part.hidden)[1], decide(belief).log_lr
    record: dict[str, Any] = {
        "input": part.varying.name,
        "sweep": part.varying.sweep,
        "part": part.name,
        "way": way,
        "seen": len(part.seen),
        "hidden": len(hidden),
        "log_loss": float(log_losses(study, belief, hidden).mean()),
        "learning_rate": math.exp(log_lr),
        "octaves_off": None if best is None else (log_lr - best) / math.log(2),
        "acceptance": belief.posterior.acceptance,
    }
    if way == "input":
        slope = belief.posterior.coefficients.optimum_per_input
        record["slope"] = [float(slope.mean()), float(slope.std())]
    return record


def _group(line: Mapping[str, Any]) -> tuple[str, str]:
    """What the parts of one row of a table have in common."""
    return line["input"], line["sweep"]


def table(path: Path = RESULTS) -> str:
    """Held-out log loss and the rate by input, sweep and way, each against the input."""
    lines = whole_lines(path)
    noise = np.random.default_rng(0)
    text = "| input | sweep | told | parts | log loss | less the input's | parts with a bowl "
    text += "| octaves off | less the input's |\n" + "|---" * 9 + "|\n"
    for group in dict.fromkeys(map(_group, lines)):
        for way in WAYS:
            text += f"| `{group[0]}` | `{Path(group[1]).stem}` | {way} "
            for name in ("log_loss", "octaves_off"):
                own, input_ = (_scores(lines, group, each, name) for each in (way, WAYS[0]))
                text += f"| {len(own)} | {own.mean():.2f} | {_against(own - input_, noise)} "
            text += "|\n"
    return text


def slopes(path: Path = RESULTS) -> str:
    """What was expected of each input and what its parts have learnt, by input and sweep."""
    lines = [line for line in whole_lines(path) if line["way"] == WAYS[0]]
    text = "| input | sweep | expected | learnt, mean of parts | from | to |\n"
    text += "|---" * 6 + "|\n"
    for group in dict.fromkeys(map(_group, lines)):
        learnt = np.array([line["slope"][0] for line in lines if _group(line) == group])
        location, sd = INPUTS[group[0]].slope
        text += f"| `{group[0]}` | `{Path(group[1]).stem}` | {location:+.2f} ± {sd:.2f} "
        text += f"| {learnt.mean():+.2f} | {learnt.min():+.2f} | {learnt.max():+.2f} |\n"
    return text


def _scores(
    lines: Sequence[Mapping[str, Any]], group: tuple[str, str], way: str, name: str
) -> np.ndarray:
    """One score of every part that has it, without its sign where it is a distance."""
    found = {
        line["part"]: line[name] for line in lines if (*_group(line), line["way"]) == (*group, way)
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
    print(slopes(given.out))


if __name__ == "__main__":
    main()
