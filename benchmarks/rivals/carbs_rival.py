"""CARBS: what does the search along the Pareto front of cost and loss find?

CARBS is not in a package index: it comes from its repository at a fixed commit (see
`requirements/peers.txt`). It models cost and failures itself. Its surrogate clips to the observed
losses and costs, so it cannot be asked about a target dearer than every run.
"""

import os
from collections.abc import Mapping
from typing import Any

from benchmarks.rivals.protocol import Entry, Job, Rival
from benchmarks.rivals.proxy import most_expensive_run
from benchmarks.rivals.searches import Joint, Ranges

#: Where sizes and lengths start, as a share of their ranges in logs: cheap, as its README says.
_CHEAP = 0.25
#: Its README's scale for a learning rate.
_RATE_SCALE = 0.5


class CarbsSearch:
    """One CARBS state; every run has its price, diverged ones are failures."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        os.environ["WANDB_MODE"] = "disabled"  # it imports wandb
        from carbs import CARBS, CARBSParams, LogSpace, Param
        from loguru import logger

        logger.disable("carbs")
        spaces = []
        for name, (low, high) in ranges.items():
            scale = {"scale": _RATE_SCALE} if name == "learning_rate" else {}
            space = LogSpace(min=low, max=high, **scale)
            center = _center(job, name, low, high)
            spaces.append(Param(name=name, space=space, search_center=center))
        params = CARBSParams(
            better_direction_sign=-1,
            seed=job.seed,
            is_wandb_logging_enabled=False,
            is_saved_on_every_observation=False,
            resample_frequency=0,
            max_suggestion_cost=most_expensive_run(job),
        )
        self._carbs = CARBS(params, spaces)
        self._asked: dict[str, Any] = {}

    def ask(self) -> Mapping[str, float]:
        """Its suggestion, which is not kept as pending: the run made is another one."""
        return dict(self._carbs.suggest(is_suggestion_remembered=False).suggestion)

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The outcome with its price."""
        from carbs import ObservationInParam

        self._carbs.observe(
            ObservationInParam(input=dict(inputs), output=loss, cost=cost, is_failure=diverged)
        )


def _center(job: Job, name: str, low: float, high: float) -> float:
    if name == "learning_rate":
        return min(max(job.center, low), high)
    if name == "batch_tokens":
        return min(max(job.target.batch_tokens or low, low), high)
    return low * (high / low) ** _CHEAP


def make(job: Job) -> Rival:
    """CARBS over every input, as its README sets it up."""
    return Joint(job, CarbsSearch)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="carbs-joint",
        make=make,
        given="Rate, size, tokens and batch in logs with their FLOPs as cost, from the guess and a "
        "cheap cell; suggestions up to a third of the budget; diverged runs are its failures; the "
        "best rate of the dearest cell tried at three rates. No entry at a proxy: its subject is "
        "cost.",
        needs=("carbs",),
        slow=True,
    ),
)
