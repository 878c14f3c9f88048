"""Answers: what does a law of any kind say of one run, as plain numbers with their names?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published import weight_decay
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.catalogue import entries_named
from horizon_bo.published.compute import compute_optimal, smaller_model_overhead
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS
from horizon_bo.published.loss import LOSS_LAWS, DataConstrainedLaw, chinchilla_law
from horizon_bo.published.schedule import (
    MULTI_POWER_LAWS,
    constant_schedule,
    cooldown_schedule,
    cosine_schedule,
)
from horizon_bo.study.horizons import Horizon

#: Entries that a schedule is evaluated on.
_ENTRIES = 1000

_SCHEDULES = {
    "cosine": cosine_schedule,
    "constant": constant_schedule,
    "wsd": cooldown_schedule,
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a user tells of a run; `None` where it is left out.

    Args:
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        batch_tokens: Tokens per step.
        flops: Training compute, FLOP; alone, it asks for the compute-optimal run.
        unique_tokens: Tokens before repetition, a count.
        loss: Loss in nats, for laws of the critical batch.
        learning_rate: Peak rate, for laws of weight decay and schedules.
        steps: Optimizer steps after warm-up, for schedules.
        schedule: `cosine`, `constant` or `wsd`.
        params_factor: Size relative to the compute-optimal one.
    """

    params: float | None = None
    tokens: float | None = None
    batch_tokens: float | None = None
    flops: float | None = None
    unique_tokens: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    steps: float | None = None
    schedule: str = "cosine"
    params_factor: float | None = None

    def need(self, name: str, why: str) -> float:
        """A field that the law cannot do without."""
        value = getattr(self, name)
        if value is None:
            raise InvalidSpaceError(f"{name} is missing, expected it because {why}; give it")
        return float(value)

    def horizon(self, why: str) -> Horizon:
        """The run."""
        return Horizon(
            params=self.need("params", why),
            tokens=self.need("tokens", why),
            batch_tokens=self.batch_tokens,
            flops=self.flops,  # type: ignore[arg-type]  # None takes 6 N D
        )


Answer = tuple[dict[str, Any], tuple[str, ...]]


def answer(name: str, question: Question) -> Answer:
    """What the law of that name says, and remarks on how far to trust it."""
    for laws, respond in _RESPONSES:
        if name in laws:
            return respond(name, question)
    kind = entries_named(name)[0].kind
    todo = "`horizon-bo law fit`" if kind == "family" else "`horizon-bo transfer`"
    raise InvalidSpaceError(
        f"{name} is a {kind} without constants of its own, expected a law; use {todo}"
    )


def _rate(name: str, question: Question) -> Answer:
    law = LEARNING_RATE_LAWS[name]
    run = question.horizon(f"{name} depends on the run")
    record: dict[str, Any] = {
        "law": name,
        "learning_rate": law.learning_rate(run),
        "learning_rate_by": "published constants",
    }
    if law.bootstrap is not None:
        record["bootstrap_learning_rate"] = math.exp(law.bootstrap.log_learning_rate(run)[0])
    record["interval_90"] = law.interval_90(run)
    remarks = [*law.remarks(run)]
    record["batch_tokens"] = None
    if name in BATCH_LAWS:
        record["batch_tokens"] = BATCH_LAWS[name].batch_tokens(run)
        remarks += BATCH_LAWS[name].remarks(run)
    record["source"] = law.source
    if law.bootstrap is not None:
        text = "interval_90 is the spread of the published refits, not of new sweeps"
        remarks += [f"bootstrap_learning_rate is the mean of the refits; {text}"]
    if law.note:
        remarks.append(f"{name}: {law.note}")
    return record, tuple(remarks)


def _batch(name: str, question: Question) -> Answer:
    law = BATCH_LAWS[name]
    if law.loss:
        batch = law.batch_tokens(Horizon(params=1.0, tokens=1.0), question.loss)
        return {"law": name, "batch_tokens": batch, "source": law.source}, ()
    run = question.horizon(f"{name} depends on the run")
    return {"law": name, "batch_tokens": law.batch_tokens(run), "source": law.source}, (
        law.remarks(run)
    )


def _loss(name: str, question: Question) -> Answer:
    law = LOSS_LAWS[name]
    if question.flops is not None and question.params is None:
        return _compute_optimal(name, question)
    run = question.horizon(f"{name} depends on the run")
    record: dict[str, Any] = {"law": name, "source": law.source}
    if isinstance(law, DataConstrainedLaw):
        record["loss"] = float(law.loss(run.params, run.tokens, question.unique_tokens))
        if question.unique_tokens is not None:
            effective = law.effective_tokens(run.tokens, question.unique_tokens)
            record["effective_tokens"] = float(effective)
    else:
        record["loss"] = float(law.loss(run.params, run.tokens))
    return record, law.validity.remarks(name, run)


def _compute_optimal(name: str, question: Question) -> Answer:
    law = chinchilla_law(name)
    flops = question.need("flops", "it is the budget to split")
    best = compute_optimal(law, flops, BATCH_LAWS["step"])
    record: dict[str, Any] = {
        "law": name,
        "params": best.params,
        "tokens": best.tokens,
        "loss": best.loss,
        "batch_tokens": best.batch_tokens,
        "source": law.source,
    }
    if question.params_factor is not None:
        overhead = smaller_model_overhead(law, question.params_factor, flops)
        record["compute_overhead"] = overhead
    return record, ("batch_tokens by Step Law's batch law",)


def _decay(name: str, question: Question) -> Answer:
    why = f"{name} depends on the run"
    run, rate = question.horizon(why), question.need("learning_rate", why)
    return {
        "law": name,
        "weight_decay": weight_decay.optimal_weight_decay(run, rate),
        "timescale": weight_decay.optimal_timescale(run),
        "source": weight_decay.SOURCE,
    }, ("weight_decay for an optimizer that multiplies it by the rate; timescale in runs",)


def _schedule(name: str, question: Question) -> Answer:
    why = f"{name} depends on the schedule"
    steps, rate = question.need("steps", why), question.need("learning_rate", why)
    if question.schedule not in _SCHEDULES:
        raise InvalidSpaceError(
            f"schedule is {question.schedule!r}, expected one of {', '.join(_SCHEDULES)}; "
            "correct it"
        )
    law = MULTI_POWER_LAWS[name]
    rates = _SCHEDULES[question.schedule](rate, _ENTRIES)
    loss = float(law.curve(rates, steps / _ENTRIES)[-1])
    return {"law": name, "loss": loss, "source": law.source}, ("warm-up is not counted",)


_RESPONSES: tuple[tuple[Mapping[str, object], Callable[[str, Question], Answer]], ...] = (
    (LEARNING_RATE_LAWS, _rate),
    (BATCH_LAWS, _batch),
    (LOSS_LAWS, _loss),
    ({"power-lines": None}, _decay),
    (MULTI_POWER_LAWS, _schedule),
)
