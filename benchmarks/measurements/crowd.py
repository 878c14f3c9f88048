"""Crowd: what do more workers buy, and where do they stop to help?

    nice -n 15 python -m benchmarks.measurements.crowd "$HORIZON_BO_DATA/cases.json"

A simulation by events of `horizon-bo worker` on a public sweep, from 1 to 1,000 of them: each waits
in a queue, takes the next run, trains for as long as its compute takes, and reports. One of those
who wait works out suggestions for all of them, with the runs under way pending, by the tuner's own
policy; who waits longer than that is served next. Machines are preempted, which gives the run back
at once, or die, which is noticed when the claim lapses; either way the next attempt goes on from
the last checkpoint. Who is advised to stop, or finds that nothing fits into the budget, ends. Only
the clock is made up: every suggestion and every answer is the product's.

Lines go to `benchmarks/results/crowd.jsonl`; one replay is written whole, and a further call makes
those that are missing.
"""

import heapq
import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from horizon_bo.core import policy
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import Belief, believe
from horizon_bo.errors import BudgetExhaustedError
from horizon_bo.evaluation.cases import Case, Problem, load_cases, load_problem
from horizon_bo.evaluation.replay import affordable
from horizon_bo.evaluation.score import outcome
from horizon_bo.store.claims import LEASE_S
from horizon_bo.store.threads import one_thread
from horizon_bo.study.trials import Study, Suggestion, Trial

RESULTS = Path(__file__).parents[1] / "results" / "crowd.jsonl"
#: Cases that are simulated, in this order, and how many workers share each.
CASES = ("same-537M-50B-b256", "same-1074M-20B-b256", "same-268M-80B-b256")
WORKERS = (1, 4, 16, 64, 256, 1000)
#: Budget in target runs, and the guess of the best rate.
BUDGET, CENTER = 0.10, 1.5e-3
#: What a worker's machine trains at, FLOP/s: about a quarter of an H100's peak.
SPEED = 2.5e14
#: How long inference takes at some hundred runs (`latency.py`), and a further choice, in seconds.
THINKING_S, CHOOSING_S = 3.0, 0.5
#: Mean wait in the scheduler's queue, at the start and after each preemption, in seconds.
QUEUE_S = 600.0
#: Mean time between two ends of a machine that trains, half of them preemptions, in seconds.
FAILURE_S = 24 * 3600.0
#: How often a run keeps a checkpoint, in seconds.
CHECKPOINT_S = 1800.0
#: Attempts that may come to nothing before a run is withdrawn, and most runs worked out at once:
#: as the workers have them.
RETRIES, AT_ONCE = 1, 64


#: What was believed, by the rows that were known.
Beliefs = dict[tuple[int | None, ...], Belief]


@dataclass
class _Run:
    """A run under way: the outcome it will have, and how far its last checkpoint is."""

    trial: Trial
    done_s: float = 0.0
    lost: int = 0

    @property
    def whole_s(self) -> float:
        return self.trial.flops / SPEED


@dataclass
class _Crowd:
    """Where a simulation stands.

    Args:
        problem: The case and its rows.
        study: What is known, runs under way pending.
        beliefs: What was believed before.
        generator: Of queues and failures.
        events: What happens next: time, order, what, and its facts.
        asking: Workers that wait for a suggestion.
        waiting: Runs that wait for a worker.
        thinking: Somebody works out suggestions.
        order: How many events there were: those of one moment come in the order of their making.
        busy_s: How long machines have trained, or will have with what is under way, seconds.
        known: The rows that were known when somebody last thought.
    """

    problem: Problem
    study: Study
    beliefs: Beliefs
    generator: random.Random
    events: list[tuple[float, int, str, Any]] = field(default_factory=list)
    asking: int = 0
    waiting: list[_Run] = field(default_factory=list)
    thinking: bool = False
    order: int = 0
    busy_s: float = 0.0
    known: tuple[int | None, ...] | None = None

    def at(self, when_s: float, what: str, facts: Any = None) -> None:
        """Let something happen then."""
        self.order += 1
        heapq.heappush(self.events, (when_s, self.order, what, facts))


def simulated(
    problem: Problem, workers: int, seed: int, beliefs: Beliefs
) -> Iterator[dict[str, Any]]:
    """States of one simulation in order of the clock, one for each time that somebody thought.

    Args:
        problem: The case and its rows.
        workers: How many.
        seed: Of queues, failures and every choice.
        beliefs: What was believed before in other simulations of this case and seed.
    """
    study = problem.study(budget=BUDGET, prior_center=CENTER, seed=seed)
    crowd = _Crowd(problem, study, beliefs, random.Random(seed))
    for _ in range(workers):
        crowd.at(crowd.generator.expovariate(1 / QUEUE_S), "free")
    clock_s, began = 0.0, time.perf_counter()
    while crowd.events:
        clock_s, _, what, facts = heapq.heappop(crowd.events)
        if what == "free":
            _free(crowd, clock_s)
        elif what == "published":
            yield _state(crowd, clock_s, workers, _published(crowd, clock_s, facts))
        elif what == "ended":
            crowd.study = crowd.study.with_outcome(facts.trial)
            _free(crowd, clock_s)
        else:
            _given_back(crowd, clock_s, facts)
        _think(crowd, clock_s)
    last = _state(crowd, clock_s, workers, _belief(crowd, crowd.study))
    yield {**last, "wall_s": time.perf_counter() - began, "final": True}


def _free(crowd: _Crowd, clock_s: float) -> None:
    """A worker takes a run that waits, else it asks for one."""
    if crowd.waiting:
        _begun(crowd, clock_s, crowd.waiting.pop(0))
    else:
        crowd.asking += 1


def _begun(crowd: _Crowd, clock_s: float, run: _Run) -> None:
    """A worker trains until the run ends, or its machine does."""
    left_s, holds_s = run.whole_s - run.done_s, crowd.generator.expovariate(1 / FAILURE_S)
    crowd.busy_s += min(left_s, holds_s)
    if holds_s >= left_s:
        crowd.at(clock_s + left_s, "ended", run)
        return
    run.done_s += holds_s // CHECKPOINT_S * CHECKPOINT_S
    died = crowd.generator.random() < 0.5
    run.lost += died
    crowd.at(clock_s + holds_s + (LEASE_S if died else 0.0), "given back", run)
    crowd.at(clock_s + holds_s + crowd.generator.expovariate(1 / QUEUE_S), "free")


def _given_back(crowd: _Crowd, clock_s: float, run: _Run) -> None:
    """A run is offered again, first to who asks; too often, and it is withdrawn at no cost."""
    if run.lost > RETRIES:
        failed = replace(run.trial, status="failed", loss=None, loss_sd=None, charged=False)
        crowd.study = crowd.study.with_outcome(failed)
    elif crowd.asking:
        crowd.asking -= 1
        _begun(crowd, clock_s, run)
    else:
        crowd.waiting.append(run)


def _think(crowd: _Crowd, clock_s: float) -> None:
    """One of those who wait works out suggestions for all of them, unless somebody does."""
    if crowd.asking and not crowd.thinking:
        crowd.thinking = True
        rows = _rows(crowd.study)
        news, crowd.known = rows != crowd.known, rows
        crowd.at(clock_s + (THINKING_S if news else CHOOSING_S), "published", crowd.study)


def _published(crowd: _Crowd, clock_s: float, study: Study) -> Belief:
    """Runs for those who wait, from what was known when the thinking began."""
    crowd.thinking = False
    belief, pool = _belief(crowd, study), affordable(crowd.problem.pool, crowd.study)
    runs: tuple[Suggestion, ...] = ()
    if pool and not policy.recommend(crowd.study, belief, pool).stop:
        with suppress(BudgetExhaustedError):
            runs = policy.suggest(crowd.study, belief, min(crowd.asking, AT_ONCE), pool)
    rows = {trial.row: trial for trial in pool}
    for run in runs:
        trial = replace(rows[run.row], id=len(crowd.study.trials))
        pending = replace(trial, status="pending", loss=None, loss_sd=None)
        crowd.study = crowd.study.with_trials(pending)
        crowd.asking -= 1
        _begun(crowd, clock_s, _Run(trial))
    if not runs:  # the advice is to stop, or nothing fits into the budget: who asked goes home
        crowd.asking = 0
    return belief


def _state(crowd: _Crowd, clock_s: float, workers: int, belief: Belief) -> dict[str, Any]:
    """What would be answered at this moment, and how good that is."""
    study, case = crowd.study, crowd.problem.case
    spent = study.spent / study.target.flops
    rate = math.exp(decide(belief).log_lr)
    line = {"learning_rate": rate, "spent": spent, "expected_regret": None}
    line |= {"target_params": case.target_params, "target_tokens": case.target_tokens}
    scored = outcome({**line, "interval_50": None, "interval_90": None}, case)
    return {
        "case": case.name,
        "workers": workers,
        "seed": study.seed,
        "clock_h": clock_s / 3600,
        "busy_h": crowd.busy_s / 3600,
        "ended": sum(trial.status != "pending" for trial in study.trials),
        "spent": spent,
        "learning_rate": rate,
        "regret": scored.regret,
        "overhead": scored.overhead,
        "final": False,
    }


def _belief(crowd: _Crowd, study: Study) -> Belief:
    """What a study's ended runs say, worked out once for each set of them."""
    rows = _rows(study)
    if rows not in crowd.beliefs:
        with one_thread():
            crowd.beliefs[rows] = believe(study)
    return crowd.beliefs[rows]


def _rows(study: Study) -> tuple[int | None, ...]:
    """The rows whose outcome is known."""
    return tuple(trial.row for trial in study.informing)


def _changes(states: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states at which a run has ended or the answer is another, and the last."""
    kept: list[dict[str, Any]] = []
    for state in states:
        told = ("ended", "spent", "learning_rate")
        if state["final"] or not kept or any(state[key] != kept[-1][key] for key in told):
            kept.append(state)
    return kept


def done(results: Path) -> set[tuple[str, int, int]]:
    """The simulations that a file holds."""
    lines = map(json.loads, results.read_text().splitlines()) if results.exists() else ()
    return {(line["case"], line["workers"], line["seed"]) for line in lines if line["final"]}


def main(
    cases: Annotated[Path, typer.Argument(help="File of cases with their truth.")],
    out: Annotated[Path, typer.Option(help="Where lines go.")] = RESULTS,
    seed: Annotated[int, typer.Option(help="Seed of queues, failures and every choice.")] = 0,
) -> None:
    """Simulate what is missing, case by case."""
    known: dict[str, Case] = {case.name: case for case in load_cases(cases)}
    for name in CASES:
        problem, beliefs = load_problem(known[name], cases.parent), {}
        for workers in WORKERS:
            if (name, workers, seed) in done(out):
                continue
            states = _changes(simulated(problem, workers, seed, beliefs))
            with out.open("a") as file:
                file.writelines(json.dumps(state) + "\n" for state in states)
            print(name, workers, {k: states[-1][k] for k in ("clock_h", "regret", "overhead")})


if __name__ == "__main__":
    typer.run(main)
