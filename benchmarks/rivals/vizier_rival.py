"""Vizier: what does the GP bandit of open-source Vizier find?

Vizier has neither cost nor fidelity. Diverged runs are infeasible trials, which it warps to a bad
value itself. Its GP can be asked outside the box, so the joint entry asks it at the target.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from benchmarks.rivals.protocol import Answer, Entry, Job, Point
from benchmarks.rivals.searches import AtProxy, Joint, Ranges

_RATES_ASKED = 101


class VizierSearch:
    """The designer in process, without its service; begun at the guess."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        with _quiet():
            import jax
            from vizier import pyvizier as vz
            from vizier._src.algorithms.designers.gp_bandit import VizierGPBandit

        problem = vz.ProblemStatement()
        for name, (low, high) in ranges.items():
            problem.search_space.root.add_float_param(
                name, low, high, scale_type=vz.ScaleType.LOG
            )
        problem.metric_information.append(
            vz.MetricInformation("loss", goal=vz.ObjectiveMetricGoal.MINIMIZE)
        )
        with _quiet():
            self._designer = VizierGPBandit(problem, rng=jax.random.PRNGKey(job.seed))
        self._first: float | None = job.center
        self._told = 0

    def ask(self) -> Mapping[str, float]:
        """Its suggestion; the first one at the guess of the rate and the middle of the rest."""
        with _quiet():
            suggestion = self._designer.suggest(count=1)[0]
        asked = {name: float(value) for name, value in suggestion.parameters.as_dict().items()}
        if self._first is not None:
            asked["learning_rate"], self._first = self._first, None
        return asked

    def tell(self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool) -> None:
        """The run made as a completed trial; a diverged one is infeasible."""
        from vizier import algorithms as vza
        from vizier import pyvizier as vz

        self._told += 1
        trial = vz.Trial(id=self._told, parameters=dict(inputs))
        if diverged:
            trial.complete(vz.Measurement(), infeasibility_reason="diverged")
        else:
            trial.complete(vz.Measurement({"loss": loss}))
        self._designer.update(vza.CompletedTrials([trial]), vza.ActiveTrials())

    def predicted_losses(self, places: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Its GP's mean loss at places that may lie outside the box."""
        from vizier import pyvizier as vz

        asked = [vz.TrialSuggestion(parameters=dict(place)) for place in places]
        with _quiet():
            return self._designer.predict(asked).mean


class AtTarget:
    """A joint search that is read by its own GP at the target."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._searches: list[VizierSearch] = []
        self._joint = Joint(job, self._make)
        self._finished = 0

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """As the joint search does."""
        return self._joint.suggest(affordable)

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """As the joint search does."""
        self._joint.observe(point, loss, diverged=diverged)
        self._finished += not diverged

    def recommend(self) -> Answer:
        """The rate of the lowest mean of the GP at the target, inside the range of rates."""
        if self._finished < 2:  # a GP on one loss is flat
            return self._joint.recommend()
        low, high = self._job.ranges["learning_rate"]
        rates = np.geomspace(low, high, _RATES_ASKED)
        target = {name: getattr(self._job.target, name) for name in self._ranges[1:]}
        losses = self._searches[0].predicted_losses(
            [{"learning_rate": float(rate), **target} for rate in rates]
        )
        return Answer(learning_rate=float(rates[int(np.argmin(losses))]))

    def _make(self, job: Job, ranges: Ranges) -> VizierSearch:
        self._ranges = tuple(ranges)
        self._searches.append(VizierSearch(job, ranges))
        return self._searches[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and remarks of JAX and its libraries."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(level)


_ALL = (
    "VizierGPBandit's defaults, the first run at the guess (its users can run any point); a "
    "diverged run is an infeasible trial."
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="vizier",
        make=partial(AtProxy, make=VizierSearch),
        given="Rate tuned at the dearest cell of which the budget buys 12 runs, and reused. " + _ALL,
        needs=("google-vizier",),
    ),
    Entry(
        name="vizier-joint",
        make=AtTarget,
        given="Rate, size, tokens and batch searched in logs, no run above a third of the budget; "
        "the best rate by its own GP at the target. " + _ALL,
        needs=("google-vizier",),
    ),
)
