"""Transfer: what does a rate tuned on one run say about another, by each law and by all?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.learning_rate import (
    LEARNING_RATE_LAWS,
    LearningRateLaw,
    LinearForm,
    learning_rate_law,
)
from horizon_bo.study.horizons import Horizon, positive

#: Optimizers whose laws answer a user who names none.
_ADAM = ("adamw", "any")


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """One law's opinion of the target's rate.

    Args:
        law: The law's name.
        learning_rate: The proxy's rate carried to the target.
        remarks: What a user should know, out-of-range use above all.
    """

    law: str
    learning_rate: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A proxy's rate at the target, by several laws.

    Args:
        learning_rate: Median over the laws, as given to the optimizer.
        lowest: The lowest of them.
        highest: The highest of them.
        octaves_apart: Spread between them in factors of two.
        laws: Each law's answer, lowest first.
        left_out: Laws that could not answer, with the reason.
    """

    learning_rate: float
    lowest: float
    highest: float
    octaves_apart: float
    laws: tuple[Transferred, ...]
    left_out: tuple[str, ...]


def transfer(
    learning_rate: float, start: Horizon, end: Horizon, laws: Sequence[str] | None = None
) -> Transfer:
    """Carry a rate tuned at one horizon to another.

        η(end) = η(start) · η*(end) / η*(start)

    Only a law's ratio enters, so laws with unknown units answer too.

    Args:
        learning_rate: The tuned rate at `start`.
        start: The proxy.
        end: The target.
        laws: Names of laws; `None` asks every law for AdamW that depends on what changes.
    """
    rate = positive(learning_rate, "learning_rate", InvalidSpaceError, "give the tuned rate")
    names = _asked(laws)
    answers, left_out = [], []
    for name in names:
        law = learning_rate_law(name)
        if laws is None and (what := _ignores(law, start, end)):
            left_out.append(f"{name} says nothing of {what}")
            continue
        ratio = law.log_ratio(start, end)
        remarks = (*(law.remarks(end) or law.remarks(start)), *_batch(name, start, end))
        answers.append(Transferred(law=name, learning_rate=rate * math.exp(ratio), remarks=remarks))
    if not answers:
        raise InvalidSpaceError(
            f"no law answers ({'; '.join(left_out)}), expected one at least; name some"
        )
    answers.sort(key=lambda answer: answer.learning_rate)
    rates = [answer.learning_rate for answer in answers]
    return Transfer(
        learning_rate=math.exp(median(math.log(rate) for rate in rates)),
        lowest=rates[0],
        highest=rates[-1],
        octaves_apart=math.log2(rates[-1] / rates[0]),
        laws=tuple(answers),
        left_out=tuple(left_out),
    )


def _asked(laws: Sequence[str] | None) -> list[str]:
    """The laws to ask; per-size fits answer only when named, since they know one size each."""
    if laws is not None:
        return list(laws)
    return [
        law.name
        for law in LEARNING_RATE_LAWS.values()
        if law.optimizer in _ADAM and not law.name.startswith("bjorck-")
    ]


def _ignores(law: LearningRateLaw, start: Horizon, end: Horizon) -> str:
    """What changes between the runs although the law cannot see it; empty when it sees enough."""
    if isinstance(law.form, LinearForm):
        return "tokens" if start.params == end.params else ""
    if law.form.flops:
        return ""
    if start.params != end.params:
        return "" if law.form.params else "params"
    return "tokens" if start.tokens != end.tokens and not law.form.tokens else ""


def _batch(name: str, start: Horizon, end: Horizon) -> tuple[str, ...]:
    """A remark where the question changes batch and the law does not say how that matters."""
    law = learning_rate_law(name)
    if start.batch_tokens == end.batch_tokens:
        return (f"{name} takes batch to grow with its own batch law",) * (law.batch == "co-tuned")
    if law.batch == "fixed":
        return (f"{name} was fitted at fixed batch and ignores the change of batch",)
    return ()
