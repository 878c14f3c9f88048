"""NePS: what do PriorBand, πBO and cost-aware Bayesian optimization find?

The longest fidelity is both the most NePS runs and what it tunes for. The run really made replaces
the one that was asked under the same identity, so a promotion goes on from the rate that was run.
Its ifBO cannot run here: it fetches weights at first use, and takes neither fidelities in logs nor
more than one run's curve.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.rivals.protocol import Entry, Job, Rival
from benchmarks.rivals.searches import (
    AT_PROXY,
    JOINT,
    ON_LADDER,
    AtProxy,
    Joint,
    OnLadder,
    Ranges,
    quiet,
    seed_globally,
)

#: Runs before the surrogate of πBO and Bayesian optimization is asked.
STARTUP_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """One of its optimizers.

    Args:
        build: The optimizer for a search space.
        takes_prior: Whether the guess of the rate is a prior of the space.
        takes_fidelity: Whether training tokens are the fidelity.
    """

    build: Callable[[Any], Any]
    takes_prior: bool = True
    takes_fidelity: bool = False


def _priorband(space: Any) -> Any:
    from neps.optimizers import algorithms

    return algorithms.priorband(space, sample_prior_first=True)


def _priorband_bo(space: Any) -> Any:
    from neps.optimizers import algorithms

    return algorithms.priorband(
        space, sample_prior_first=True, bayesian_optimization_kick_in_point=2
    )


def _pibo(space: Any) -> Any:
    from neps.optimizers import algorithms

    return algorithms.pibo(space, initial_design_size=STARTUP_RUNS, sample_prior_first=True)


def _cost_aware(space: Any) -> Any:
    from neps.optimizers import algorithms

    return algorithms.bayesian_optimization(
        space, initial_design_size=STARTUP_RUNS, cost_aware=True
    )


class NepsSearch:
    """One ask-and-tell loop; tokens as a fidelity count in units of the shortest."""

    def __init__(self, job: Job, ranges: Ranges, algorithm: Algorithm) -> None:
        from neps.optimizers.ask_and_tell import AskAndTell
        from neps.space import HPOFloat, SearchSpace

        logging.getLogger("neps").setLevel(logging.ERROR)
        seed_globally(job.seed)
        self._takes_fidelity = algorithm.takes_fidelity
        self._shortest = ranges["tokens"][0] if self._takes_fidelity else 1.0
        inputs = {}
        for name, (low, high) in ranges.items():
            if algorithm.takes_fidelity and name == "tokens":
                low, high = 1.0, high / low
                inputs[name] = HPOFloat(low, high, log=True, is_fidelity=True)
            elif algorithm.takes_prior and name == "learning_rate":
                guess = {"prior": job.center, "prior_confidence": "medium"}
                inputs[name] = HPOFloat(low, high, log=True, **guess)
            else:
                inputs[name] = HPOFloat(low, high, log=True)
        self._loop = AskAndTell(algorithm.build(SearchSpace(inputs)))
        self._budget, self._spent = job.budget, 0.0
        self._asked: Any = None

    def ask(self) -> Mapping[str, float]:
        """Its next trial."""
        from neps.state.optimizer import BudgetInfo

        budget = BudgetInfo(
            worker_cost_to_spend=1.0, used_cost_budget=min(1.0, self._spent / self._budget)
        )
        with quiet():
            self._asked = self._loop.ask(budget_info=budget)
        asked = {name: float(value) for name, value in self._asked.config.items()}
        if "tokens" in asked:
            asked["tokens"] *= self._shortest
        return asked

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The run made, in place of the asked one; a diverged one has the penalty."""
        config = dict(inputs)
        if self._takes_fidelity:
            config["tokens"] = self._asked.config["tokens"]
        self._spent += cost
        identity = self._asked.metadata.id
        del self._loop.trials[identity]
        self._loop.tell_custom(
            config_id=identity,
            config=config,
            result={"objective_to_minimize": loss, "cost": cost / self._budget},
            previous_trial_id=self._asked.metadata.previous_trial_id,
        )


def _rival(job: Job, kind: Callable[..., Rival], algorithm: Algorithm) -> Rival:
    return kind(job, partial(NepsSearch, algorithm=algorithm))


_PRIOR = "The guess is its prior, of medium confidence, and its first run; "
_PENALTY = "a diverged run has the penalty as loss."

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="neps-priorband",
        make=partial(
            _rival, kind=OnLadder, algorithm=Algorithm(build=_priorband, takes_fidelity=True)
        ),
        given=f"{ON_LADDER} PriorBand's defaults. {_PRIOR}{_PENALTY}",
        needs=("neural-pipeline-search",),
    ),
    Entry(
        name="neps-priorband-bo",
        make=partial(
            _rival, kind=OnLadder, algorithm=Algorithm(build=_priorband_bo, takes_fidelity=True)
        ),
        given=f"{ON_LADDER} PriorBand with its GP after two full runs' worth. {_PRIOR}{_PENALTY}",
        needs=("neural-pipeline-search",),
    ),
    Entry(
        name="neps-pibo",
        make=partial(_rival, kind=AtProxy, algorithm=Algorithm(build=_pibo)),
        given=f"{AT_PROXY} πBO with 4 start-up runs. {_PRIOR}{_PENALTY}",
        needs=("neural-pipeline-search",),
    ),
    Entry(
        name="neps-bo-joint",
        make=partial(_rival, kind=Joint, algorithm=Algorithm(build=_cost_aware, takes_prior=False)),
        given=f"{JOINT} Bayesian optimization that counts cost, 4 start-up runs; it takes no "
        f"guess; {_PENALTY}",
        needs=("neural-pipeline-search",),
        uses_center=False,
    ),
)
