"""Random runs: how much of a method's merit is its choice of runs, and how much its read-out?

Runs chosen without looking, read with the parametric law that reads every rival's runs too.
"""

from collections.abc import Callable, Sequence

import torch

from benchmarks.rivals.protocol import Answer, Entry, Job, Point
from horizon_bo.evaluation.least_squares import law_readout
from horizon_bo.evaluation.replay import uniform_row
from horizon_bo.study.horizons import Scale, SearchSpace
from horizon_bo.study.trials import LoggedRun, Study

#: Names the next run, given the job, the runs so far and those still affordable.
Choose = Callable[[Job, Study, Sequence[Point]], Point]


class ReadByLaw:
    """Any choice of runs, with the shared read-out."""

    def __init__(self, job: Job, choose: Choose) -> None:
        self._job = job
        self._choose = choose
        self._study = Study(
            target=job.target,
            space=SearchSpace(
                learning_rate=job.ranges["learning_rate"],
                scales=[Scale(params=size) for size in sorted({p.params for p in job.points})],
                tokens=sorted({point.tokens for point in job.points}),
            ),
            budget=job.budget,
            prior_center=job.center,
            seed=job.seed,
        )

    def suggest(self, affordable: Sequence[Point]) -> Point:
        """The next run."""
        return self._choose(self._job, self._study, affordable)

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Keep a run; the law is fitted to those that trained."""
        run = LoggedRun(
            learning_rate=point.learning_rate,
            params=point.params,
            tokens=point.tokens,
            batch_tokens=point.batch_tokens,
            flops=point.flops,
            loss=None if diverged else loss,
            diverged=diverged,
        )
        number = len(self._study.trials)
        trial = self._study.trial_from(run, trial_id=number, charged=True)
        self._study = self._study.with_trials(trial)

    def recommend(self) -> Answer:
        """The law's optimum at the target."""
        return Answer(learning_rate=law_readout(self._study).learning_rate)


def uniform(job: Job, study: Study, affordable: Sequence[Point]) -> Point:
    """An affordable row, the one that `horizon-bo replay --methods random` would draw."""
    return uniform_row(study, None, affordable)  # a point is as good as a trial here


def sobol(job: Job, study: Study, affordable: Sequence[Point]) -> Point:
    """The next point of a scrambled Sobol sequence over the ranges of the inputs that vary."""
    engine = torch.quasirandom.SobolEngine(len(job.ranges), scramble=True, seed=job.seed)
    engine.fast_forward(len(study.trials))
    return job.point(engine.draw(1, dtype=torch.float64)[0].tolist())


ENTRIES = (
    Entry(
        name="random",
        make=lambda job: ReadByLaw(job, uniform),
        given="Uniform affordable runs, a least-squares law through them",
    ),
    Entry(
        name="sobol",
        make=lambda job: ReadByLaw(job, sobol),
        given="A scrambled Sobol sequence over (LR, size, tokens, batch), the same law",
    ),
)
