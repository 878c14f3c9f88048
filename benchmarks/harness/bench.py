"""Bench: what does every method say, run by run, on every case, with the same budget?

    python -m benchmarks.harness.bench --cases "$HORIZON_BO_DATA/cases.json" --only 'same-*' \
        --prior-center 0.5e-3 --prior-center 1.5e-3 --prior-center 4.5e-3 --out build/bench

Writes `OUT/EXPERIMENT-BUDGET/METHOD.jsonl`, one JSON line per state: those of `horizon-bo replay`,
and what the shared read-out says of the same runs. Each replay is told its budget. Finished
replays are not repeated; one that fails is recorded with its error. A rival that is not installed
is skipped with the reason.
"""

import os
import platform
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from subprocess import run
from typing import Annotated, Any

import typer

from benchmarks.harness.ablations import ABLATIONS
from benchmarks.harness.methods import OURS, entries, missing, versions
from benchmarks.harness.race import Race, race_of
from benchmarks.measurements.makespan import SLOTS, flown
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.evaluation.cases import Case, Problem, load_cases, load_problem
from horizon_bo.evaluation.least_squares import law_readout
from horizon_bo.evaluation.replay import METHODS, Method, replay
from horizon_bo.evaluation.replays import Task, read_lines, run_replays
from horizon_bo.study.trials import Study

#: Budgets of the benchmark, in target runs; each is a replay of its own.
BUDGETS = (0.02, 0.05, 0.10, 0.25)
#: Slow rivals are replayed once; their smaller budgets are read off that replay.
SLOW_BUDGETS = (0.10,)

#: The pools of each experiment: largest size and tokens relative to the target; `None` keeps the
#: case's own limits. In `parallel` many runs are under way at once.
EXPERIMENTS = {"main": None, "quarter": 0.25, "eighth": 0.125, "parallel": None}

Repeated = Annotated[list[str] | None, typer.Option()]


@dataclass(frozen=True)
class Watched:
    """A method ready to replay, and the race behind it where it is a rival's."""

    method: Method
    race: Race | None = None


def watched(name: str, problem: Problem, study: Study) -> Watched:
    """The method of that name at the start of a replay."""
    if name in ABLATIONS:
        return Watched(ABLATIONS[name])
    if name in OURS:
        return Watched(METHODS[name])
    race = race_of(entries()[name], problem, study)
    return Watched(race.method, race)


def lines_of(task: Task, parallel: bool = False) -> Iterator[dict[str, Any]]:
    """The states of one replay; the last one of a replay that failed says why."""
    problem = load_problem(task.case, task.beside)
    study = problem.study(budget=task.budget, prior_center=task.prior_center, seed=task.seed)
    header = {
        "case": task.case.name,
        "target_params": problem.target.params,
        "target_tokens": problem.target.tokens,
        "prior_center": task.prior_center,
        "method": task.method,
        "seed": task.seed,
        "budget": task.budget,
        "obey_stop": task.obey_stop,
        **provenance(task.method),
    }
    by_row = {trial.row: trial for trial in problem.pool}
    try:
        contest = watched(task.method, problem, study)
        states = (
            flown(problem, contest.method, study, SLOTS)
            if parallel
            else replay(problem, contest.method, study)
        )
        for state in states:
            if state["row"] is not None:
                bought = replace(by_row[state["row"]], id=len(study.trials))
                study = study.with_trials(bought)
            yield {**header, **_rounded(state), **_beside(state, study, contest)}
    except Exception as error:  # a rival may raise anything, and its failure is a result
        yield {**header, "step": len(study.trials), "final": True, "error": _in_a_line(error)}


def _beside(state: dict[str, Any], study: Study, contest: Watched) -> dict[str, Any]:
    """What to know beside the state: shared read-out, compute, memory, proposal."""
    asked = contest.race.asked if contest.race else []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    proposal = asked[state["step"]] if state["step"] < len(asked) else {}
    guess = {"guess": contest.race.job.center} if contest.race else {}
    return {
        **_rounded(guess),
        "readout": float(f"{law_readout(study).learning_rate:.6g}"),
        "flops": study.spent,
        "peak_mib": round(peak),
        **_rounded(proposal),
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Six digits, which is what a line needs."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        return [short(part) for part in value] if isinstance(value, list | tuple) else value

    return {name: short(value) for name, value in values.items()}


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def provenance(method: str) -> dict[str, Any]:
    """Where a line comes from: commit, machine, and versions of the rival's packages."""
    found = versions(entries()[method]) if method in entries() else {}
    return {"commit": _commit(), "machine": _machine(), "versions": found}


@cache
def _commit() -> str:
    given = run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return given.stdout.strip() or "unknown"


@cache
def _machine() -> str:
    return f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}"


def chosen_methods(names: str) -> list[str]:
    """The methods of a comma-separated list; `all` is every one that is installed."""
    known = [*OURS, *ABLATIONS, *entries()]
    wanted = [*OURS, *entries()] if names == "all" else names.split(",")
    wanted = [*ABLATIONS] if names == "ablations" else wanted
    strange = [name for name in wanted if name not in known]
    if strange:
        raise typer.BadParameter(
            f"{strange[0]!r} is unknown, expected all or some of {', '.join(known)}"
        )
    kept = []
    for name in wanted:
        lacking = missing(entries()[name]) if name in entries() else ()
        if lacking:
            typer.echo(f"{name} is skipped: {', '.join(lacking)} not installed here", err=True)
        else:
            kept.append(name)
    return kept


def tasks_of(
    cases: Sequence[Case],
    method: str,
    centers: Sequence[float | None],
    seeds: int,
    budget: float,
    beside: Path,
) -> list[Task]:
    """The replays of one file; a method that makes no use of a guess is replayed without."""
    entry = entries().get(method)
    given = centers if entry is None or entry.uses_center else [None]
    return [
        Task(case=case, method=method, prior_center=center, seed=seed, budget=budget, beside=beside)
        for case in cases
        for center in given
        for seed in range(seeds)
    ]


def _slow(method: str) -> bool:
    return method in entries() and entries()[method].slow


def narrowed(cases: Sequence[Case], ratio: float | None) -> list[Case]:
    """The cases with pools of at most that share of the target's size and of its tokens."""
    if ratio is None:
        return list(cases)
    return [
        replace(
            case,
            max_params_ratio=min(ratio, case.max_params_ratio or ratio),
            max_tokens_ratio=min(ratio, case.max_tokens_ratio or ratio),
        )
        for case in cases
    ]


def with_rows(cases: Sequence[Case], beside: Path) -> list[Case]:
    """The cases whose limits leave something to buy."""
    kept = []
    for case in cases:
        try:
            load_problem(case, beside)
        except InvalidSpaceError as error:
            typer.echo(f"left out: {error}", err=True)
        else:
            kept.append(case)
    return kept


def main(
    cases: Annotated[Path, typer.Option(help="Cases to replay.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    only: Annotated[str, typer.Option(help="Cases whose name matches.")] = "*",
    methods: Annotated[
        str, typer.Option(help="all, ablations, or names separated by commas.")
    ] = "all",
    experiment: Annotated[str, typer.Option(help=f"One of {', '.join(EXPERIMENTS)}.")] = "main",
    prior_center: Repeated = None,
    budget: Repeated = None,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    jobs: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Replay methods on cases; run it again to go on. Exit code 1 where a replay failed."""
    chosen = [case for case in load_cases(cases) if fnmatch(case.name, only)]
    chosen = with_rows(narrowed(chosen, EXPERIMENTS[experiment]), cases.parent)
    names = chosen_methods(methods)
    centers = [float(center) for center in prior_center or ()] or [None]
    failures: list[dict[str, Any]] = []
    for limit in map(float, budget) if budget else BUDGETS:
        folder = out / f"{experiment}-{limit:g}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (
            names if budget or limit in SLOW_BUDGETS else [n for n in names if not _slow(n)]
        ):
            tasks = tasks_of(chosen, name, centers, seeds, limit, cases.parent)
            file = folder / f"{name}.jsonl"
            made = partial(lines_of, parallel=experiment == "parallel")
            for done in run_replays(tasks, file, jobs=jobs, make_lines=made):
                said = f"\r{experiment} {limit:.0%} {name}: {done:.0%}   "
                print(said, end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            failures += [line for line in read_lines(file) if "error" in line]
    for line in failures:
        where = f"{line['case']}, centre {line['prior_center']}, budget {line['budget']:.0%}"
        print(f"{line['method']} failed ({where}): {line['error']}", file=sys.stderr)
    raise typer.Exit(int(bool(failures)))


if __name__ == "__main__":
    typer.run(main)
