"""Studies with their beliefs, made once for all tests that only read them."""

from dataclasses import replace
from functools import cache

from horizon_bo import LoggedRun, SearchSpace
from horizon_bo.core.inference import Belief, believe
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from tests.studies import SPACE, TARGET, small_study
from tests.worlds import PlainWorld

WORLD = PlainWorld(target=TARGET)
#: Three affordable (params, tokens) cells.
CELLS = ((6e7, 1e9), (1.2e8, 2e9), (6e7, 4e9))
#: Rates on both sides of each cell's optimum, in octaves from 1.5e-3.
STRADDLING = (-1, 1, 3)


def narrowed(low: float, high: float) -> SearchSpace:
    """The small study's space with other bounds of the rate."""
    return replace(SPACE, learning_rate=(low, high))


def diverged(runs: list[LoggedRun]) -> list[LoggedRun]:
    """The same runs, had they blown up."""
    return [replace(run, loss=None, diverged=True) for run in runs]


@cache
def fresh() -> tuple[Study, Belief]:
    """A study before its first run."""
    study = small_study(prior_center=1.5e-3)
    return study, believe(study)


@cache
def informed() -> tuple[Study, Belief]:
    """A study with nine runs that straddle the optimum in each of three cells."""
    study = import_runs(small_study(prior_center=1.5e-3), WORLD.sweep(CELLS, STRADDLING))
    return study, believe(study)
