"""Workers: who makes which runs of a study at this moment, and what do these cost?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from horizon_bo.runs.cost import Measured, each_gpu_hours
from horizon_bo.runs.progress import seen_in
from horizon_bo.store.events import StudyStore
from horizon_bo.store.status import UNDER_WAY, RunStatus, askers, run_statuses
from horizon_bo.study.trials import Study


@dataclass(frozen=True)
class UnderWay:
    """What goes on at this moment.

    Args:
        runs: The runs that have not ended.
        askers: Who waits for a suggestion.
        gpu_hours: What each costs, by its id, where the speed of runs is known.
    """

    runs: tuple[RunStatus, ...] = ()
    askers: tuple[str, ...] = ()
    gpu_hours: Mapping[int, float] = field(default_factory=dict)


def under_way(
    store: StudyStore, study: Study, root: Path | None, known: Sequence[Measured]
) -> UnderWay:
    """What goes on in a study.

    Args:
        store: Where it is kept.
        study: The study as it was read just now.
        root: Where its runs keep their folders, if that is known.
        known: Speeds of the runs that ended.
    """
    runs = run_statuses(store, study)
    seen = runs if root is None else seen_in(root, runs)
    left = tuple(run for run in seen if run.state in UNDER_WAY)
    return UnderWay(left, askers(store), each_gpu_hours(study, known))
