"""Replay: what would a method have said, run by run, had it bought from a logged sweep?

A replay starts with the prior's recommendation (step 0). Then the method picks a row of the pool
that fits the remaining budget, is told its loss, is charged its full price even when it diverged,
and recommends again, until nothing affordable is left or, where asked, until it says stop.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from horizon_bo.core import policy
from horizon_bo.core.decision import regret
from horizon_bo.core.inference import Belief, believe
from horizon_bo.errors import BudgetExhaustedError
from horizon_bo.evaluation.cases import Problem
from horizon_bo.evaluation.least_squares import Readout, law_readout
from horizon_bo.study.trials import Study, Trial

Answer = policy.Recommendation | Readout


@dataclass(frozen=True)
class Method:
    """A way to choose runs and to read them.

    Args:
        believe: What the runs so far say, in any form the other two understand.
        recommend: The answer at the target, given the rows that could still be bought.
        pick: The next row, from those that are left and affordable; `None` to end.
    """

    believe: Callable[[Study], Any]
    recommend: Callable[[Study, Any, Sequence[Trial]], Answer]
    pick: Callable[[Study, Any, Sequence[Trial]], Trial | None]


def suggested_row(study: Study, belief: Any, pool: Sequence[Trial]) -> Trial | None:
    """The row our acquisition would buy."""
    try:
        (suggestion,) = policy.suggest(study, belief, n=1, pool=pool)
    except BudgetExhaustedError:
        return None
    return next(trial for trial in pool if trial.row == suggestion.row)


def uniform_row(study: Study, belief: Any, pool: Sequence[Trial]) -> Trial | None:
    """A row drawn uniformly, the same for every method at the same target, step and seed."""
    state = f"{study.target} {study.seed} {len(study.trials)}"
    return random.Random(zlib.crc32(state.encode())).choice(pool)


def no_row(study: Study, belief: Any, pool: Sequence[Trial]) -> Trial | None:
    """No row at all."""
    return None


def as_told(study: Study, belief: Belief, pool: Sequence[Trial]) -> policy.Recommendation:
    """What one would do without a run: the guess as it is, or what is published."""
    answer = policy.recommend(study, belief, pool)
    if study.prior_center is None:
        return answer
    at = np.log([study.prior_center])
    expected = float(regret(belief.target, at).mean()) * belief.loss_scale
    return replace(answer, learning_rate=study.prior_center, expected_regret=expected)


def no_belief(study: Study) -> None:
    """Nothing: the read-out looks at the runs themselves."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "horizon": Method(believe, policy.recommend, suggested_row),
        "horizon-random": Method(believe, policy.recommend, uniform_row),
        "random": Method(no_belief, lambda study, *_: law_readout(study), uniform_row),
        "zero": Method(believe, as_told, no_row),
    }
)


def replay(
    problem: Problem, method: Method, study: Study, *, obey_stop: bool = False
) -> Iterator[dict[str, Any]]:
    """States of one replay in order, each a JSON object; the last one says `final`.

    Args:
        problem: The case and its pool.
        method: How rows are chosen and read.
        study: Empty, from `Problem.study`; its budget ends the replay.
        obey_stop: End when the method says that another run is not worth its price.
    """
    row: int | None = None
    while True:
        began = time.perf_counter()
        belief = method.believe(study)
        pool = affordable(problem.pool, study)
        answer = method.recommend(study, belief, pool)
        picked = None
        if not (obey_stop and answer.stop):
            picked = method.pick(study, belief, pool) if pool else None
        yield {
            "step": len(study.trials),
            "row": row,
            "spent": study.spent / study.target.flops,
            "learning_rate": answer.learning_rate,
            "interval_50": answer.interval_50,
            "interval_90": answer.interval_90,
            "expected_regret": answer.expected_regret,
            "expected_overhead": answer.expected_overhead,
            "wall_s": time.perf_counter() - began,
            "stop": answer.stop,
            "final": picked is None,
        }
        if picked is None:
            return
        study = study.with_trials(replace(picked, id=len(study.trials)))
        row = picked.row


def affordable(pool: Sequence[Trial], study: Study) -> list[Trial]:
    """Rows that have not been bought and fit into what is left of the budget."""
    bought = {trial.row for trial in study.trials}
    most = study.affordable
    return [trial for trial in pool if trial.row not in bought and trial.flops <= most]
