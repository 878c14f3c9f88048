"""Checks: how often is the verdict of a check before the large run right?

    python -m benchmarks.measurements.checks run "$HORIZON_BO_DATA/cases.json" build/moe/cases.json
    python -m benchmarks.measurements.checks table

Takes the tuner's replays that `bench` recorded, at its own stop and, too early, after 2 % and 1 %
of a target run. At each, three logged rows are checked on a rung of a quarter to a half of the
target's compute, above all that were bought: what is expected of them comes from the belief in the
rows bought, the verdict from the rows. It is held against what the case's truth says of the answer
at that stop: whether its 90 % interval holds the best rate, and what it loses. What is in the
results already is left out, so the same call goes on where it was ended.
"""

import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.problems.lines import whole_lines
from benchmarks.report.standings import Replay, load
from horizon_bo.core.checks.check import decide_rung, expected, side_rates
from horizon_bo.core.checks.rehearsal import verdict
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import believe
from horizon_bo.evaluation.cases import Case, Problem, load_cases, load_problem
from horizon_bo.evaluation.replays import append_line
from horizon_bo.evaluation.score import AT_STOP, group_of, state_at
from horizon_bo.store.threads import one_thread
from horizon_bo.study.trials import Study, Trial

RESULTS = Path(__file__).parents[1] / "results"
CHECKS = RESULTS / "checks.jsonl"
#: Where a replay is stopped: by itself, or once it has spent so many target runs.
STOPS: dict[str, float | str] = {"own": AT_STOP, "2 %": 0.02, "1 %": 0.01}
#: Compute of the rung that is checked, in target runs.
RUNG = (0.25, 0.5)
#: Budget of the replays, in target runs.
BUDGET = 0.1
#: What a check may cost where nobody says otherwise, in target runs; it decides when to tune again.
MAX_COST = 0.1
#: An answer that loses more than this is to be tuned again, nats per token.
TOO_MUCH = 0.010
#: Groups of cases by what the page calls them.
SWEEPS = {"Step Law": ("same", "any", "own-size"), "its expert models": ("steplaw-moe",)}

app = typer.Typer()


def studies(problem: Problem, replayed: Replay) -> Iterator[tuple[str, Study]]:
    """The studies at every stop of one replay, each once."""
    empty = problem.study(budget=BUDGET, prior_center=replayed.center, seed=replayed.seed)
    by_row = {trial.row: trial for trial in problem.pool}
    seen = {0}
    for stop, budget in STOPS.items():
        steps = state_at(replayed.states, budget)["step"]
        if steps not in seen:
            seen.add(steps)
            rows = [state["row"] for state in replayed.states if 0 < state["step"] <= steps]
            trials = [replace(by_row[row], id=k) for k, row in enumerate(rows)]
            yield stop, empty.with_trials(*trials)


def rung_above(case: Case, study: Study) -> list[Trial]:
    """The rows of the dearest cell that is a rung above all runs made; none where there is none."""
    limits = {"max_params_ratio": 1.0, "max_tokens_ratio": 1.0, "max_run_cost": RUNG[1]}
    wide = replace(case, pool_batch="same", only_params=None, **limits)
    least = max(RUNG[0] * study.target.flops, *(trial.flops for trial in study.trials))
    cells: dict[tuple[float, float], list[Trial]] = {}
    for trial in load_problem(wide).pool:
        if trial.flops >= least * (1 - 1e-9):
            cells.setdefault((trial.params, trial.tokens), []).append(trial)
    made = {(trial.params, trial.tokens) for trial in study.trials}
    above = [rows for cell, rows in cells.items() if cell not in made and len(rows) > 2]
    return max(above, key=lambda rows: rows[0].flops, default=[])


def nearest_rows(rows: Sequence[Trial], log_lr: float) -> list[Trial]:
    """The rows nearest to the rates of a check, by growing rate: two where one side has none."""
    at = lambda log_rate, among: min(  # noqa: E731
        among, key=lambda row: abs(math.log(row.learning_rate) - log_rate)
    )
    low, _, high = (math.log(rate) for rate in side_rates(log_lr, 3))
    middle = at(log_lr, rows)
    below = [row for row in rows if row.learning_rate < middle.learning_rate]
    above = [row for row in rows if row.learning_rate > middle.learning_rate]
    return [
        *([at(low, below)] if below else []),
        middle,
        *([at(high, above)] if above else []),
    ]


def checked(case: Case, study: Study, rows: Sequence[Trial]) -> dict[str, Any]:
    """One check and what the truth says of the answer it was made of."""
    belief, first = believe(study), len(study.trials)
    rung = decide_rung(study, belief, rows[0])
    trials = [replace(t, id=first + k) for k, t in enumerate(nearest_rows(rows, rung.log_lr))]
    told = expected(study, belief, trials, MAX_COST)
    after = believe(study.with_trials(*trials))
    said = asdict(verdict(told, [trial.loss for trial in trials], after))
    low, high = told.interval_90
    assert case.truth is not None
    return {
        **{name: value for name, value in said.items() if name not in ("reason", "warnings")},
        "rung": [rows[0].params, rows[0].tokens],
        "rung_cost": rows[0].flops / study.target.flops,
        "rates": told.learning_rates,
        "losses": [trial.loss for trial in trials],
        "expected": [told.spread(k) for k in range(len(trials))],
        "spent": study.spent / study.target.flops,
        "step": first,
        "answer": told.answer,
        "interval_before": told.interval_90,
        "holds": low <= case.truth["optimum"] <= high,
        "loses": loses(case, told.answer),
        "loses_after": loses(case, math.exp(decide(after).log_lr)),
    }


def loses(case: Case, rate: float) -> float:
    """True regret of a rate, nats per token."""
    assert case.truth is not None
    grid = np.log(case.truth["learning_rate"])
    return float(np.interp(math.log(rate), grid, case.truth["excess"]))


@app.command()
def run(
    cases: Annotated[list[Path], typer.Argument(help="Files of cases.")],
    out: Annotated[Path, typer.Option(help="File of lines, which grows.")] = CHECKS,
    bench: Annotated[Path, typer.Option(help="Lines of `bench`.")] = RESULTS / "bench",
) -> None:
    """Make the checks of replays that are not in the results yet."""
    known = {case.name: case for file in cases for case in load_cases(file)}
    done = {(line["case"], line["center"]) for line in whole_lines(out)}
    with one_thread():
        for replayed in load(bench):
            ours = (replayed.experiment, replayed.method) == ("main", "horizon")
            if not ours or replayed.budget != BUDGET or replayed.seed or replayed.error:
                continue
            if replayed.case in known and (replayed.case, replayed.center) not in done:
                for line in lines_of(known[replayed.case], replayed):
                    append_line(out, line)


def lines_of(case: Case, replayed: Replay) -> list[dict[str, Any]]:
    """Every check of one replay, as one or no rung is above its runs."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = []
    for stop, study in studies(load_problem(case), replayed):
        began = time.perf_counter()
        if rows := rung_above(case, study):
            where = {"case": case.name, "center": replayed.center, "stop": stop}
            found = checked(case, study, rows)
            wall_s = time.perf_counter() - began
            lines.append({**where, **found, "wall_s": wall_s, "commit": commit})
    return lines


@app.command("table")
def show(out: Annotated[Path, typer.Option(help="File of lines.")] = CHECKS) -> None:
    """Print the table of the benchmark page."""
    typer.echo(table(out))


def table(path: Path = CHECKS) -> str:
    """How often each verdict was right, by sweep and stop."""
    lines = whole_lines(path)
    head = (
        "| sweep | stop | checks | holds / widen / tune again | interval holds | of these *holds* "
        "| loses > 10 mnat | of these *tune again* | loses, before and after the check |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    return head + "\n".join(
        _row(f"| {sweep} | {stop}", part)
        for sweep, groups in SWEEPS.items()
        for stop in (*STOPS, "all")
        if (part := [line for line in lines if _is(line, groups, stop)])
    )


def _is(line: dict[str, Any], groups: Sequence[str], stop: str) -> bool:
    return group_of(line["case"]) in groups and stop in ("all", line["stop"])


def _row(name: str, lines: Sequence[dict[str, Any]]) -> str:
    words = [line["word"] for line in lines]
    counts = " / ".join(str(words.count(word)) for word in ("holds", "widen", "tune again"))
    held = [line["word"] for line in lines if line["holds"]]
    bad = [line["word"] for line in lines if line["loses"] > TOO_MUCH]
    before, after = (
        1e3 * sum(line[key] for line in lines) / len(lines) for key in ("loses", "loses_after")
    )
    return (
        f"{name} | {len(lines)} | {counts} | {len(held)} | {_share(held, 'holds')} | {len(bad)} "
        f"| {_share(bad, 'tune again')} | {before:.1f} → {after:.1f} mnat |"
    )


def _share(words: Sequence[str], word: str) -> str:
    return f"{words.count(word)} ({words.count(word) / len(words):.0%})" if words else "–"


if __name__ == "__main__":
    app()
