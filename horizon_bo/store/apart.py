"""Apart: which runs tell most to workers that know nothing of each other?"""

import math
from collections.abc import Sequence
from dataclasses import replace

from horizon_bo.core.candidates import rates
from horizon_bo.study import changes
from horizon_bo.study.trials import Study, Suggestion, Trial


def apart(study: Study, runs: Sequence[Suggestion]) -> list[Suggestion]:
    """The runs with no two the same: one that is there takes the nearest rate of its own step.

    Several may be of one place in a plan, since a repeat averages noise; for workers that know
    nothing of each other a rate nearby tells as much, and more of the curve.
    """
    taken, made = {_place(trial) for trial in study.trials}, []
    for run in runs:
        if _place(run) in taken:
            off = lambda rate, at=run.learning_rate: abs(math.log(rate / at))  # noqa: E731
            run = replace(run, learning_rate=min(rates(study), key=off))
        taken.add(_place(run))
        made.append(run)
        study = changes.start(study, [run])
    return made


def _place(run: Suggestion | Trial) -> tuple[object, ...]:
    recipe = (run.batch_tokens, run.schedule, run.averaging)
    return (run.learning_rate, run.params, run.tokens, *recipe)
