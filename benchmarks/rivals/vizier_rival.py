"""Vizier: what does the GP bandit of open-source Vizier find?

Vizier has neither cost nor fidelity. Diverged runs are infeasible trials, which it warps to a bad
value itself. Its Matérn GP can be asked outside the box, where it falls back to its mean: asked at
the target it named a rate at the edge, so the joint entry is read like the others.
"""

from collections.abc import Mapping
from functools import partial

from benchmarks.rivals.protocol import Entry, Job
from benchmarks.rivals.searches import AT_PROXY, JOINT, AtProxy, Joint, Ranges, quiet


class VizierSearch:
    """The designer in process, without its service; begun at the guess."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        with quiet():
            import jax
            from vizier import pyvizier as vz
            from vizier._src.algorithms.designers.gp_bandit import VizierGPBandit

        problem = vz.ProblemStatement()
        for name, (low, high) in ranges.items():
            problem.search_space.root.add_float_param(name, low, high, scale_type=vz.ScaleType.LOG)
        problem.metric_information.append(
            vz.MetricInformation("loss", goal=vz.ObjectiveMetricGoal.MINIMIZE)
        )
        with quiet():
            self._designer = VizierGPBandit(problem, rng=jax.random.PRNGKey(job.seed))
        self._first: float | None = job.center
        self._told = 0

    def ask(self) -> Mapping[str, float]:
        """Its suggestion; the first one at the guess of the rate and the middle of the rest."""
        with quiet():
            suggestion = self._designer.suggest(count=1)[0]
        asked = {name: float(value) for name, value in suggestion.parameters.as_dict().items()}
        if self._first is not None:
            asked["learning_rate"], self._first = self._first, None
        return asked

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
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


_ALL = (
    "VizierGPBandit's defaults, the first run at the guess (its users can run any point); a "
    "diverged run is an infeasible trial."
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="vizier",
        make=partial(AtProxy, make=VizierSearch),
        given=f"{AT_PROXY} {_ALL}",
        needs=("google-vizier",),
    ),
    Entry(
        name="vizier-joint",
        make=partial(Joint, make=VizierSearch),
        given=f"{JOINT} {_ALL}",
        needs=("google-vizier",),
    ),
)
