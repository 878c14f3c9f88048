"""Race: how does a rival buy from a logged sweep?

A rival may propose any point; it gets the nearest row that is affordable and not yet bought, in
(ln LR, ln N, ln D, ln B) scaled by the pool's ranges, and is charged and told what that row was.
Wrapped like this it is a `Method` of `horizon_bo.evaluation.replay`, which runs ours and theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.rivals.protocol import Answer, Entry, Job, Point, Rival
from horizon_bo.evaluation.cases import Problem
from horizon_bo.evaluation.least_squares import Readout
from horizon_bo.evaluation.replay import Method
from horizon_bo.study.trials import Study, Trial

#: A diverged run is reported as this many times the worst loss of the pool. The loss of an
#: untrained model, which is what users report, is above all losses of a sweep by about this much.
PENALTY = 1.25

#: Rows whose distances to a proposal differ by less than this count as a tie.
_TIE = 1e-9


def job_of(problem: Problem, study: Study) -> Job:
    """What a rival is told of a problem before the first run."""
    losses = [trial.loss for trial in problem.pool if trial.loss is not None]
    return Job(
        target=problem.target,
        points=tuple(point_of(trial) for trial in problem.pool),
        budget=study.budget,
        prior_center=study.prior_center,
        divergence_loss=PENALTY * max(losses),
        seed=study.seed,
    )


def point_of(trial: Trial) -> Point:
    """The inputs of a row, without its outcome."""
    return Point(
        learning_rate=trial.learning_rate,
        params=trial.params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
        flops=trial.flops,
    )


def nearest(job: Job, proposal: Point, pool: Sequence[Trial]) -> tuple[int, float, bool]:
    """Position of the row nearest to a proposal, its distance, and whether others are as near.

    Of rows equally near, as repeats with other seeds are, the first is taken.
    """
    rows = np.array([job.vector(point_of(trial)) for trial in pool])
    distance = np.linalg.norm(rows - np.array(job.vector(proposal)), axis=1)
    best = int(distance.argmin())
    return best, float(distance[best]), int((distance <= distance[best] + _TIE).sum()) > 1


@dataclass
class Race:
    """A rival in the middle of one replay."""

    job: Job
    rival: Rival
    told: set[int] = field(default_factory=set)  # ids of the trials it has heard of
    asked: list[dict[str, Any]] = field(default_factory=list)  # one entry per pick, in order

    def believe(self, study: Study) -> Answer:
        """Tell the rival the runs it has not heard of, and ask for its answer."""
        for trial in study.trials:
            if trial.id in self.told or trial.status == "pending":
                continue
            self.told.add(trial.id)
            diverged = trial.status == "diverged"
            loss = self.job.divergence_loss if trial.loss is None else trial.loss
            self.rival.observe(point_of(trial), loss, diverged=diverged)
        return self.rival.recommend()

    def pick(self, study: Study, answer: Answer, pool: Sequence[Trial]) -> Trial | None:
        """The row nearest to what the rival proposes; `None` where it wants no more runs."""
        proposal = self.rival.suggest([point_of(trial) for trial in pool])
        if proposal is None:
            return None
        position, distance, tie = nearest(self.job, proposal, pool)
        bought = [trial for trial in study.trials if trial.row is not None]
        nearer = bool(bought) and nearest(self.job, proposal, bought)[1] <= distance
        self.asked.append(
            {
                "asked": [proposal.learning_rate, *proposal.cell],
                "distance": distance,
                "tie": tie,
                "repeat": nearer,
            }
        )
        return pool[position]

    @property
    def method(self) -> Method:
        """This race as a method of replay."""
        return Method(
            believe=self.believe,
            recommend=lambda study, answer, pool: Readout(
                answer.learning_rate, interval_90=answer.interval_90
            ),
            pick=self.pick,
        )


def race_of(entry: Entry, problem: Problem, study: Study) -> Race:
    """A fresh rival at the start of a replay."""
    job = job_of(problem, study)
    return Race(job, entry.make(job))
