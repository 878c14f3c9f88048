"""HEBO: what does its warped Gaussian process with three acquisitions find?

HEBO has neither cost nor fidelity, and drops runs without a finite loss. Its warping ends at the
box, so it is not asked beyond it.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.rivals.protocol import Entry, Job
from benchmarks.rivals.searches import AT_PROXY, JOINT, AtProxy, Joint, Ranges, quiet, seed_globally

#: Sobol runs before the model; its default is the number of inputs and one.
STARTUP_RUNS = 4


class HeboSearch:
    """One HEBO optimizer on log inputs, begun at the guess."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        import pandas as pd
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        seed_globally(job.seed)
        self._frame = pd.DataFrame
        space = [
            {"name": name, "type": "pow", "lb": low, "ub": high}
            for name, (low, high) in ranges.items()
        ]
        self._hebo = HEBO(
            DesignSpace().parse(space), rand_sample=STARTUP_RUNS, scramble_seed=job.seed
        )
        self._first: float | None = job.center

    def ask(self) -> Mapping[str, float]:
        """Its suggestion; the first one at the guess of the rate."""
        with quiet():
            asked = {name: float(value) for name, value in self._suggestion().items()}
        if self._first is not None:
            asked["learning_rate"], self._first = self._first, None
        return asked

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The run made; a diverged one has the penalty."""
        self._hebo.observe(self._frame([dict(inputs)]), np.array([[loss]]))

    def _suggestion(self) -> Mapping[str, float]:
        return self._hebo.suggest(n_suggestions=1).iloc[0].to_dict()


_ALL = (
    "HEBO's defaults with 4 Sobol runs, the first at the guess (its users can run any point); a "
    "diverged run has the penalty as loss."
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="hebo",
        make=partial(AtProxy, make=HeboSearch),
        given=f"{AT_PROXY} {_ALL}",
        needs=("hebo",),
    ),
    Entry(
        name="hebo-joint",
        make=partial(Joint, make=HeboSearch),
        given=f"{JOINT} {_ALL}",
        needs=("hebo",),
    ),
)
