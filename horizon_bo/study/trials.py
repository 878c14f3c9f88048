"""Trials: the runs of a study, checked once where they enter and kept as values.

Linear values become natural logs here, once: `log_inputs` is the only door through which
learning rates, sizes and horizons reach the core.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from horizon_bo.errors import InvalidSpaceError, InvalidTrialError, UnknownTrialError
from horizon_bo.study.history import Change
from horizon_bo.study.horizons import (
    BRANCHING_SCHEDULE,
    PARAMETRIZATIONS,
    Horizon,
    SearchSpace,
    positive,
    training_flops,
)
from horizon_bo.study.inputs import (
    SHORTNESS,
    checked_inputs,
    log_places,
    origins,
    placeless,
    shortness,
    target_inputs,
    told,
)
from horizon_bo.study.quantities import refuse_no_name
from horizon_bo.study.runs import LoggedRun, Suggestion

Status = Literal["pending", "completed", "diverged", "failed"]
STATUSES: tuple[str, ...] = ("pending", "completed", "diverged", "failed")

#: Source of a run made under the study's own recipe.
OWN_SOURCE = "study"
#: Rounding of what runs cost, in target runs.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a study and its outcome.

    Args:
        id: Position in the study, from 0.
        charged: Whether `flops` count against the budget.
        settings: The scale's settings, for a training command.
        row: Position of the run in the table it was taken from, or `None`.
        trunk: Id of the suggestion whose trunk it shares with other trials, which is that of
            the shortest of them; `None` for a run of its own.
        name: What the table that it was taken from calls it, or `None`.
        assumed: Fields that its table left out and that were taken from the target.
        queued: Asked for by somebody and handed to nobody yet.
        changes: What was changed after it had ended, in order; no part of what it says now.
        inputs: Numbers of its recipe; one that is left out is the target's.
    """

    id: int
    learning_rate: float
    params: float
    tokens: float
    batch_tokens: float | None
    flops: float
    schedule: str
    averaging: str
    source: str = OWN_SOURCE
    status: Status = "pending"
    loss: float | None = None
    loss_sd: float | None = None
    charged: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    trunk: int | None = None
    name: str | None = field(default=None, compare=False)
    assumed: tuple[str, ...] = field(default=(), compare=False)
    queued: bool = field(default=False, compare=False)
    changes: tuple[Change, ...] = field(default=(), compare=False)
    inputs: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        todo = "drop the trial or correct it"
        for name in ("learning_rate", "params", "tokens", "flops"):
            number = positive(getattr(self, name), self._named(name), InvalidTrialError, todo)
            object.__setattr__(self, name, number)
        for name in ("batch_tokens", "loss_sd"):
            if getattr(self, name) is not None:
                number = positive(getattr(self, name), self._named(name), InvalidTrialError, todo)
                object.__setattr__(self, name, number)
        if self.status not in STATUSES:
            raise InvalidTrialError(
                f"{self._named('status')} is {self.status!r}, expected one of {STATUSES}"
            )
        if (self.loss is not None) != (self.status == "completed"):
            raise InvalidTrialError(
                f"{self._named('loss')} is {self.loss!r} with status {self.status}, "
                "expected a loss exactly for completed trials; record it as diverged or failed"
            )
        if self.loss is not None:
            todo = "report a positive loss, or record the trial as diverged"
            number = positive(self.loss, self._named("loss"), InvalidTrialError, todo)
            object.__setattr__(self, "loss", number)
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))
        inputs = checked_inputs(self.inputs, self._whose, InvalidTrialError)
        object.__setattr__(self, "inputs", inputs)

    def _named(self, name: str) -> str:
        return f"{name} of {self._whose}"

    @property
    def _whose(self) -> str:
        return f"row {self.row}" if self.row is not None else f"trial {self.id}"

    @property
    def state(self) -> str:
        """Its status for people, who also want to know what was forgotten or never made."""
        if self.status == "failed" and self.changes and self.changes[-1].kind != "corrected":
            return self.changes[-1].kind
        return "queued" if self.queued and self.status == "pending" else self.status

    @property
    def earlier(self) -> "tuple[Trial, ...]":
        """What it said before each of its changes, the last first."""
        before = self
        return tuple(before := replace(before, **c.before) for c in reversed(self.changes))

    def completed(self, loss: float, loss_sd: float | None = None) -> "Trial":
        """The trial with its final loss; a loss that is not finite means it diverged."""
        if isinstance(loss, float | int) and not math.isfinite(loss):
            return replace(self, status="diverged")
        return replace(self, status="completed", loss=loss, loss_sd=loss_sd)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that a suggestion depends on: same study, same next suggestion.

    Args:
        target: The run that will be trained once, and never here.
        space: The runs that may be made.
        budget: Training compute the tuner may spend in all, in FLOP.
        parametrization: Under `"mup"` and `"hypersphere"` it is expected not to move with width.
        prior_center: A guess of the optimal rate at the target; `None` asks the published laws.
        seed: Seed of every random choice.
        source: Name of the recipe of the study's own runs.
        regret_tolerance: Loss above the best that the user accepts; `None` stops by cost.
        regret_risk: Accepted probability of a regret above `regret_tolerance`.
        excluded_data: Names of data that nothing behind the prior may have been learnt from.
        optimizer: The optimizer whose rate is tuned, by name.
        experts: Whether `params` are the active ones of a mixture of experts, as they are where
            the target's `sparsity` is above 1.
        prior: Evidence to learn the prior from, as plain values (`horizon-bo prior learn` writes
            it); `None` takes what comes with the package.
        trials: The runs so far, in order; `trials[k].id == k`.
    """

    target: Horizon
    space: SearchSpace
    budget: float
    parametrization: str = "standard"
    prior_center: float | None = None
    seed: int = 0
    source: str = OWN_SOURCE
    regret_tolerance: float | None = None
    regret_risk: float = 0.1
    excluded_data: tuple[str, ...] = ()
    optimizer: str = "adamw"
    experts: bool = False
    prior: Mapping[str, Any] | None = field(default=None, repr=False)
    trials: tuple[Trial, ...] = ()

    def __post_init__(self) -> None:
        budget = positive(
            self.budget, "budget", InvalidSpaceError, "give it in FLOPs, e.g. 0.05 * target.flops"
        )
        object.__setattr__(self, "budget", budget)
        object.__setattr__(self, "excluded_data", tuple(self.excluded_data))
        sparse = self.target.inputs.get("sparsity", 1.0) > 1
        object.__setattr__(self, "experts", self.experts or sparse)
        if self.parametrization not in PARAMETRIZATIONS:
            raise InvalidSpaceError(
                f"parametrization is {self.parametrization!r}, expected one of {PARAMETRIZATIONS}"
            )
        refuse_no_name(self.optimizer, "optimizer", "adamw")
        refuse_no_name(self.source, "source", OWN_SOURCE)
        for name in ("prior_center", "regret_tolerance"):
            if getattr(self, name) is not None:
                number = positive(
                    getattr(self, name), name, InvalidSpaceError, "leave it out if unknown"
                )
                object.__setattr__(self, name, number)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidSpaceError(
                f"seed is {self.seed!r}, expected an integer >= 0; use 0 if in doubt"
            )
        if not 0 < self.regret_risk < 1:
            raise InvalidSpaceError(
                f"regret_risk is {self.regret_risk!r}, expected between 0 and 1; try 0.1"
            )
        schedules = self.space.schedules or (self.target.schedule,)
        if self.space.cooldown is not None and BRANCHING_SCHEDULE not in schedules:
            raise InvalidSpaceError(
                f"cooldown is {self.space.cooldown} with the schedules {', '.join(schedules)}, "
                f"expected {BRANCHING_SCHEDULE} among them; allow it or leave cooldown out"
            )

    @property
    def spent(self) -> float:
        """Training compute charged so far, pending runs included, in FLOP."""
        return math.fsum(trial.flops for trial in self.trials if trial.charged)

    @property
    def remaining(self) -> float:
        """Training compute that may still be spent, in FLOP."""
        return max(0.0, self.budget - self.spent)

    @property
    def affordable(self) -> float:
        """Most training compute of the next run, FLOP: rounding must not make the last too dear."""
        return self.remaining + _ROUNDING * self.target.flops

    @property
    def informing(self) -> tuple[Trial, ...]:
        """The trials that say something of the loss: a belief rests on these alone.

        They come in an order of their own, whatever order they were made in: the same knowledge
        is the same belief to the last bit, and sums depend on their order.
        """
        return tuple(sorted(self._ended, key=self._told))

    def _told(self, trial: Trial) -> tuple[str | float, ...]:
        """All that a belief takes from a trial."""
        place = (trial.params, trial.tokens, trial.batch_tokens or 0.0, trial.learning_rate)
        told = (trial.loss or math.inf, trial.loss_sd or 0.0)
        return (self.recipe(trial) or "", *place, *told, *map(str, trial.inputs.items()))

    @cached_property
    def inputs(self) -> Mapping[str, float]:
        """The target's value of every input that any run or it names: its own, or that of most.

        Most are counted among ended runs of the study's own source, else among all that ended.
        """
        ended = self._with_inputs
        own = [trial.inputs for trial in ended if trial.source == self.source]
        return target_inputs(self.target.inputs, own, [trial.inputs for trial in ended])

    @cached_property
    def varying(self) -> Mapping[str, float]:
        """The origin of each input that differs between ended runs, or from them to the target.

        It is the coordinate of the target's value, or where that has none the lowest of the runs'.
        """
        return origins(self.inputs, [trial.inputs for trial in self._with_inputs])

    @cached_property
    def coordinates(self) -> tuple[str, ...]:
        """Names of what moves the best rate beside size, tokens and batch, in this study."""
        short = any(self._shorter(trial) for trial in self._ended)
        return (*self.varying, *([SHORTNESS] if short else []))

    def places(self, trial: Trial) -> tuple[float, ...]:
        """Where a trial lies in each of the `coordinates`, 0 at the target's."""
        by_input = log_places(trial.inputs, self.inputs, self.varying)
        return (*by_input, self._shorter(trial)) if SHORTNESS in self.coordinates else by_input

    def _shorter(self, trial: Trial) -> float:
        """How much shorter a trial is than the target, in so far as either is short."""
        own = self.target.batch_tokens
        of_run = shortness(trial.tokens, trial.batch_tokens or own)
        return of_run - shortness(self.target.tokens, own)

    @property
    def _ended(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status in ("completed", "diverged")]

    @property
    def _with_inputs(self) -> list[Trial]:
        return [trial for trial in self._ended if trial.inputs]

    def with_trials(self, *trials: Trial) -> "Study":
        """The study with more trials at its end."""
        return replace(self, trials=(*self.trials, *trials))

    def with_outcome(self, trial: Trial) -> "Study":
        """The study with the trial of the same id replaced."""
        return replace(self, trials=(*self.trials[: trial.id], trial, *self.trials[trial.id + 1 :]))

    def pending(self, trial_id: int) -> Trial:
        """The pending trial of that id, or an error that says what the id is instead."""
        known = isinstance(trial_id, int) and 0 <= trial_id < len(self.trials)
        if not known:
            waiting = [t.id for t in self.trials if t.status == "pending"]
            raise UnknownTrialError(
                f"trial {trial_id!r} is unknown, expected one of the pending ids {waiting}; "
                "pass a LoggedRun for a run that was never suggested"
            )
        trial = self.trials[trial_id]
        if trial.status != "pending":
            raise UnknownTrialError(
                f"trial {trial_id} is already {trial.status} (loss {trial.loss}), "
                "expected a pending one; an outcome is recorded once: correct it where it was "
                "wrong, log a repeat as a LoggedRun"
            )
        return trial

    def trial_from(
        self, run: LoggedRun, *, trial_id: int, charged: bool, row: int | None = None
    ) -> Trial:
        """A logged run as a finished trial of this study, with what it leaves out filled in."""
        filled = ("batch_tokens", "schedule", "averaging")
        assumed = tuple(name for name in filled if not getattr(run, name))
        batch = self.target.batch_tokens if run.batch_tokens is None else run.batch_tokens
        flops = run.flops
        if flops is None:
            where = f"row {row}" if row is not None else f"trial {trial_id}"
            todo = "drop the run or correct it"
            params = positive(run.params, f"params of {where}", InvalidTrialError, todo)
            tokens = positive(run.tokens, f"tokens of {where}", InvalidTrialError, todo)
            flops = training_flops(params, tokens)
        trial = Trial(
            id=trial_id,
            learning_rate=run.learning_rate,
            params=run.params,
            tokens=run.tokens,
            batch_tokens=batch,
            flops=flops,
            schedule=run.schedule or self.target.schedule,
            averaging=run.averaging or self.target.averaging,
            source=self.source_of(run),
            status="diverged" if run.diverged else "failed" if run.failed else "pending",
            charged=charged,
            row=row,
            name=run.name,
            assumed=assumed,
            inputs={**self.target.inputs, **told(run.inputs)},
        )
        if run.diverged or run.failed:
            return trial
        if run.loss is None:
            raise InvalidTrialError(
                f"{trial._named('loss')} is missing, expected a positive number; "
                "mark it diverged or failed, or drop it"
            )
        return trial.completed(run.loss, run.loss_sd)

    def source_of(self, run: LoggedRun) -> str:
        """What a logged run was made under; another optimizer is another recipe."""
        source = run.source or self.source
        if run.optimizer is None or _plain(run.optimizer) == _plain(self.optimizer):
            return source
        return f"{source} · {run.optimizer.strip()}"

    def recipe(self, trial: Trial) -> str | None:
        """The label of a recipe other than the study's own, or `None` for the study's own.

        Runs of another source, schedule or averaging share the law and get offsets of their own.
        """
        parts = [
            part
            for part, own in (
                (trial.source, self.source),
                (trial.schedule, self.target.schedule),
                (trial.averaging, self.target.averaging),
            )
            if part != own
        ]
        if trial.inputs:
            parts += placeless(trial.inputs, self.inputs)
        return " · ".join(parts) if parts else None


def _plain(optimizer: str) -> str:
    """An optimizer's name without case and maker: AdamW has many, and many say Adam for it."""
    name = optimizer.strip().lower().replace("-", "_")
    return (
        "adamw"
        if re.fullmatch(r"(fused_?|torch_?)?adamw?(_(torch|fused|apex|8bit))*", name)
        else name
    )


def log_inputs(trial: "Trial | Suggestion", target: Horizon) -> tuple[float, float, float, float]:
    """`(ln η, ln N/N*, ln D/D*, ln B/B*)` of a run; the batch term is 0 where batch is unknown."""
    ratio = 1.0
    if trial.batch_tokens is not None and target.batch_tokens is not None:
        ratio = trial.batch_tokens / target.batch_tokens
    return (
        math.log(trial.learning_rate),
        math.log(target.size(trial.params) / target.size()),
        math.log(trial.tokens / target.tokens),
        math.log(ratio),
    )
