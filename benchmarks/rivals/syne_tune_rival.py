"""Syne Tune: what do conformal quantile regression, alone and under ASHA, and BOHB find?

Version 0.16 no longer has Hyper-Tune nor the Gaussian processes it came with; these are the
methods it has in their place. It has no cost. A trial that ASHA lets go on is run anew at the
longer length, because a run's decay of the rate depends on its length.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from benchmarks.rivals.protocol import Entry, Job, Rival
from benchmarks.rivals.proxy import HALVING
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


class WholeRunSearch:
    """CQR on finished runs."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        seed_globally(job.seed)
        with quiet():
            from syne_tune.optimizer.baselines import CQR

            self._scheduler = CQR(
                _space(ranges),
                metric="loss",
                random_seed=job.seed,
                points_to_evaluate=[_first(job, ranges)],
            )
        self._told = 0

    def ask(self) -> Mapping[str, float]:
        """Its suggestion."""
        with quiet():
            return self._scheduler.suggest().config

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The run made; a diverged one has the penalty."""
        trial = _trial(self._told, inputs)
        self._told += 1
        self._scheduler.on_trial_complete(trial, {"loss": loss})


class RungSearch:
    """A scheduler that decides after each rung whether a configuration goes on to the next."""

    def __init__(self, job: Job, ranges: Ranges, scheduler: Callable[..., Any]) -> None:
        shortest, self._longest = ranges["tokens"]
        halvings = round(math.log(self._longest / shortest) / math.log(HALVING))
        self._top = HALVING**halvings
        rates = {"learning_rate": ranges["learning_rate"]}
        seed_globally(job.seed)
        with quiet():
            self._scheduler = scheduler(
                _space(rates),
                metric="loss",
                time_attr="level",
                max_t=self._top,
                reduction_factor=HALVING,
                random_seed=job.seed,
                points_to_evaluate=[_first(job, rates)],
            )
        self._trial: Any = None
        self._told = 0
        self._level = 1.0

    def ask(self) -> Mapping[str, float]:
        """The configuration that goes on, or a new one on the lowest rung."""
        if self._trial is None:
            with quiet():
                self._trial = _trial(self._told, self._scheduler.suggest().config)
            self._scheduler.on_trial_add(self._trial)
            self._told += 1
            self._level = 1.0
        return {**self._trial.config, "tokens": self._longest * self._level / self._top}

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The outcome at the rung that was asked, from the rate that was run."""
        from syne_tune.optimizer.scheduler import SchedulerDecision

        made = {"learning_rate": inputs["learning_rate"]}
        self._trial = _trial(self._trial.trial_id, made)
        outcome = {"loss": loss, "level": self._level}
        if self._scheduler.on_trial_result(self._trial, outcome) == SchedulerDecision.CONTINUE:
            self._level *= HALVING
        else:
            self._scheduler.on_trial_remove(self._trial)
            self._trial = None


def _space(ranges: Ranges) -> dict[str, Any]:
    from syne_tune.config_space import loguniform

    return {name: loguniform(low, high) for name, (low, high) in ranges.items()}


def _first(job: Job, ranges: Ranges) -> dict[str, float]:
    """The guess of the rate and the middle of the rest."""
    middle = {name: math.sqrt(low * high) for name, (low, high) in ranges.items()}
    return {**middle, "learning_rate": job.center}


def _trial(number: int, inputs: Mapping[str, float]) -> Any:
    from syne_tune.backend.trial_status import Trial

    config = {name: float(value) for name, value in inputs.items()}
    return Trial(trial_id=number, config=config, creation_time=datetime.now(UTC))


def _asha_cqr(*args: Any, **kwargs: Any) -> Any:
    from syne_tune.optimizer.baselines import ASHACQR

    return ASHACQR(*args, **kwargs)


def _bohb(*args: Any, **kwargs: Any) -> Any:
    from syne_tune.optimizer.baselines import BOHB

    return BOHB(*args, **kwargs)


def _on_ladder(job: Job, scheduler: Callable[..., Any]) -> Rival:
    return OnLadder(job, partial(RungSearch, scheduler=scheduler))


_ALL = "Defaults, the guess as first point to evaluate; a diverged run has the penalty as loss."

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="syne-tune-cqr",
        make=partial(AtProxy, make=WholeRunSearch),
        given=f"{AT_PROXY} Conformal quantile regression. {_ALL}",
        needs=("syne-tune",),
    ),
    Entry(
        name="syne-tune-cqr-joint",
        make=partial(Joint, make=WholeRunSearch),
        given=f"{JOINT} Conformal quantile regression. {_ALL}",
        needs=("syne-tune",),
    ),
    Entry(
        name="syne-tune-asha-cqr",
        make=partial(_on_ladder, scheduler=_asha_cqr),
        given=f"{ON_LADDER} ASHA with conformal quantile regression. {_ALL}",
        needs=("syne-tune",),
    ),
    Entry(
        name="syne-tune-bohb",
        make=partial(_on_ladder, scheduler=_bohb),
        given=f"{ON_LADDER} ASHA with a kernel density, BOHB. {_ALL}",
        needs=("syne-tune",),
    ),
)
