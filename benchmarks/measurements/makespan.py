"""Makespan: how long does a replay take, and how good is it, with many runs under way at once?

A run takes as long as its compute, the target's own run being the unit of time. Whenever a slot is
free the method is asked for another run, without the outcomes of those under way; their compute is
charged when they start. The states are those of `horizon_bo.evaluation.replay`, one per finished
run, with the time on the clock.
"""

import heapq
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from horizon_bo.evaluation.cases import Problem
from horizon_bo.evaluation.replay import Method, affordable
from horizon_bo.study.trials import Study, Trial

#: Runs at once.
SLOTS = 16


def flown(problem: Problem, method: Method, study: Study, slots: int) -> Iterator[dict[str, Any]]:
    """States of one replay with up to `slots` runs under way, a state per finished run."""
    clock, under_way, landed = 0.0, [], None
    while True:
        began = time.perf_counter()
        belief = method.believe(study)
        answer = method.recommend(study, belief, affordable(problem.pool, study))
        while len(under_way) < slots and (pool := affordable(problem.pool, study)):
            picked = method.pick(study, belief, pool)
            if picked is None:
                break
            started = replace(picked, id=len(study.trials))
            study = study.with_trials(pending(started))
            end = clock + started.flops / study.target.flops
            heapq.heappush(under_way, (end, started.id, started))
        yield {
            "step": sum(trial.status != "pending" for trial in study.trials),
            "row": None if landed is None else landed.row,
            "spent": study.spent / study.target.flops,
            "clock": clock,
            "learning_rate": answer.learning_rate,
            "interval_50": answer.interval_50,
            "interval_90": answer.interval_90,
            "expected_regret": answer.expected_regret,
            "wall_s": time.perf_counter() - began,
            "stop": answer.stop,
            "final": not under_way,
        }
        if not under_way:
            return
        clock, _, landed = heapq.heappop(under_way)
        study = study.with_outcome(landed)


def pending(trial: Trial) -> Trial:
    """The trial while its run is under way."""
    return replace(trial, status="pending", loss=None, loss_sd=None)
