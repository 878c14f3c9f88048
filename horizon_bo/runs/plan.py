"""Run plan: what is a run loop asked to do, and what does it answer?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from horizon_bo.core.inference import Belief
from horizon_bo.core.policy import Limits, Recommendation
from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs.cost import GpuHours
from horizon_bo.runs.outcomes import Outcome
from horizon_bo.store.events import StudyStore
from horizon_bo.study.trials import LoggedRun, Study, Suggestion

#: What runs can be sent to.
ENGINES: tuple[str, ...] = ("local", "slurm", "ray")


class Tuner(Protocol):
    """What those who make runs need of the tuner that they serve."""

    @property
    def study(self) -> Study:
        """All that is known, as last read or written."""
        ...

    @property
    def store(self) -> StudyStore | None:
        """Where the study is kept; `None` for memory alone."""
        ...

    def refresh(self) -> Study:
        """The study with what others have written since."""
        ...

    def believed(self, study: Study) -> Belief:
        """What a study's runs say."""
        ...

    def suggest(self, *, without: Sequence[float] = (), limits: Limits | None = None) -> Suggestion:
        """The next run worth making."""
        ...

    def observe(
        self,
        run: Suggestion,
        *,
        loss: float | None = None,
        loss_sd: float | None = None,
        diverged: bool = False,
        failed: bool = False,
        flops: float | None = None,
        branch: float | None = None,
    ) -> tuple[str, ...]:
        """Record how a run ended."""
        ...

    def import_runs(self, table: Sequence[LoggedRun]) -> tuple[str, ...]:
        """Record further readings of runs."""
        ...

    def recommend(
        self, *, without: Sequence[float] = (), limits: Limits | None = None
    ) -> Recommendation:
        """The rate to train the target with, and whether to go on."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """How a loop runs a study.

    Args:
        parallel: Runs at once.
        gpus: Names for `CUDA_VISIBLE_DEVICES`, shared among the slots; empty uses the CPU.
        timeout_s: Longest time an attempt of a small run may take, seconds; `None` waits for ever.
        retries: Further attempts for a run whose end may pass by itself.
        max_runs: Runs that this loop starts at most; `None` sets no limit.
        until_budget: Ignore the advice to stop.
        without: Sizes of scales that are not to be run, counts of parameters.
        target_settings: Train the target at the end, with these settings; `None` does not.
        on: What trains the runs: one of `ENGINES`.
        resources: What each run needs of a cluster's machine, unless its scale says otherwise.
        deadline_s: Wall-clock time of the whole loop, seconds: runs that would end later by what
            is known of their speed are not started; `None` sets no limit.
    """

    parallel: int = 1
    gpus: tuple[str, ...] = ()
    timeout_s: float | None = None
    retries: int = 1
    max_runs: int | None = None
    until_budget: bool = False
    without: tuple[float, ...] = ()
    target_settings: Mapping[str, Any] | None = None
    on: str = "local"
    resources: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        if self.on not in ENGINES:
            raise InvalidObjectiveError(
                f"on is {self.on!r}, expected one of {', '.join(ENGINES)}; choose one"
            )
        if self.gpus and self.on != "local":
            raise InvalidObjectiveError(
                f"gpus is {','.join(self.gpus)} with on={self.on!r}, expected names of this "
                "machine's GPUs; say how many a run needs: gpus among the resources"
            )
        for name, least in (("parallel", 1), ("retries", 0), ("max_runs", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise InvalidObjectiveError(
                    f"{name} is {value!r}, expected a whole number >= {least}; correct it"
                )
        for gpu in self.gpus:
            if not gpu.strip() or "," in gpu:
                raise InvalidObjectiveError(
                    f"gpus holds {gpu!r}, expected one name of CUDA_VISIBLE_DEVICES each, such as "
                    "0; give a list"
                )
        for name in ("timeout_s", "deadline_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidObjectiveError(
                    f"{name} is {value!r}, expected seconds > 0; leave it out to wait"
                )

    @property
    def elsewhere(self) -> bool:
        """Whether even a Python function needs a process of its own."""
        alone = self.parallel == 1 and not self.gpus and self.timeout_s is None
        return not alone or self.on != "local"


@dataclass(frozen=True, kw_only=True)
class TargetCheck:
    """The target itself, trained once at the recommended rate.

    Args:
        learning_rate: The rate it was trained at.
        predicted_loss: What the study expects at the rate it recommends, in the study's unit.
        outcome: How it ended.
    """

    learning_rate: float
    predicted_loss: float
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a loop did.

    Args:
        recommendation: The rate to train the target with.
        observed: Ids of the runs whose end was recorded, in order of their end.
        reason: Why no further run was started.
        target: How the target itself trained, where that was asked for.
        gpu_hours: What it cost, where the speed of runs is known.
    """

    recommendation: Recommendation
    observed: tuple[int, ...]
    reason: str
    target: TargetCheck | None
    gpu_hours: GpuHours | None = None
