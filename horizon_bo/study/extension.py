"""Extension: which study is it once its question has changed, and do two ask the same?

Pure functions. The runs stay; all that is believed is worked out anew from them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.horizons import (
    Horizon,
    SearchSpace,
    refuse_batches,
    refuse_unlikely_sizes,
)
from horizon_bo.study.quantities import shown_count
from horizon_bo.study.trials import Study

#: How a message shows what a study asks: values longer than this are named and not shown.
_SHOWN = 60


def extended(
    study: Study,
    *,
    budget: float | None = None,
    target: Horizon | None = None,
    space: SearchSpace | None = None,
    prior_center: float | None = None,
) -> Study:
    """The study with another budget, target, space or guess; `None` keeps what it has.

    What a table left out and was taken from the target is taken from the new one.

    Args:
        study: The study.
        budget: Training compute that may be spent in all, FLOP, what is spent included.
        target: The run that will be trained once.
        space: The runs that may be made.
        prior_center: A guess of the optimal rate at the target.

    Raises:
        InvalidSpaceError: It makes no sense for the runs that were made.
    """
    given = {"budget": budget, "target": target, "space": space, "prior_center": prior_center}
    changed = {name: value for name, value in given.items() if value is not None}
    if not changed:
        raise InvalidSpaceError(
            f"none of {', '.join(given)} arrived, expected what is to change; name one"
        )
    after = replace(study, **changed)
    if target is not None:
        after = for_target(after, target)
    if target is not None or space is not None:
        refuse_unlikely_sizes(after.target, after.space)
    if after.budget < study.spent:
        raise InvalidSpaceError(
            f"budget is {after.budget:.4g} FLOP, expected at least the {study.spent:.4g} that are "
            "spent or promised to pending runs; give what may be spent in all"
        )
    return after


def for_target(study: Study, target: Horizon) -> Study:
    """The study as if it had been asked for another target.

    Raises:
        InvalidSpaceError: Runs are larger or longer than it, its batch is above its tokens, or its
            parameters are counted otherwise.
    """
    if target.vocabulary != study.target.vocabulary:
        own, other = (
            "no embedding" if v is None else f"an embedding of {v:g} tokens"
            for v in (study.target.vocabulary, target.vocabulary)
        )
        raise InvalidSpaceError(
            f"the target's parameters hold {other}, expected {own} as all counts of the study do; "
            "give the same vocabulary, or start another study"
        )
    own = () if target.batch_tokens is None else (target.batch_tokens,)
    refuse_batches(own, target.tokens, "target's tokens")
    for name in ("params", "tokens"):
        largest = max((getattr(trial, name) for trial in study.trials), default=0.0)
        if largest > getattr(target, name):
            raise InvalidSpaceError(
                f"the target has {shown_count(getattr(target, name))} {name}, expected at least "
                f"the {shown_count(largest)} of the largest run: small runs say what a larger one "
                "needs, not the other way round; start another study for a smaller target"
            )
    trials = tuple(
        replace(trial, **{name: getattr(target, name) for name in trial.assumed})
        for trial in study.trials
    )
    return replace(study, target=target, trials=trials)


def same_question(study: Study, other: Study) -> bool:
    """Whether two studies ask the same, whatever their runs."""
    return not differences(study, other)


def differences(study: Study, other: Study) -> dict[str, tuple[Any, Any]]:
    """What two studies ask otherwise, by name, whatever their runs."""
    return {
        field.name: (mine, theirs)
        for field in fields(study)
        if field.name != "trials"
        and (mine := getattr(study, field.name)) != (theirs := getattr(other, field.name))
    }


def shown_differences(found: Mapping[str, tuple[Any, Any]], here: str) -> str:
    """Differences as a message lists them: what stands `here`, and what was given."""
    parts: list[str] = []
    for name, (held, given) in found.items():
        inner = (
            {f.name: (getattr(held, f.name), getattr(given, f.name)) for f in fields(held)}
            if isinstance(held, Horizon | SearchSpace)
            else {"": (held, given)}
        )
        for part, (mine, theirs) in inner.items():
            if mine == theirs:
                continue
            full = f"{name}.{part}" if part else name
            shown = f"{_shown(mine)} {here} and {_shown(theirs)} given"
            parts.append(f"{full} is {shown}" if len(shown) <= 2 * _SHOWN else f"{full} differs")
    return ", ".join(parts)


def summary(study: Study) -> str:
    """How far a study is and what it is for, in one line."""
    states = Counter(trial.state for trial in study.trials)
    runs = ", ".join(f"{count} {state}" for state, count in states.items())
    target, share = study.target, study.budget / study.target.flops
    spent = study.spent / study.budget
    return (
        f"{len(study.trials)} trials{f' ({runs})' if runs else ''}, {spent:.1%} of a budget of "
        f"{share:.3g} target runs spent, target {shown_count(target.params)} parameters on "
        f"{shown_count(target.tokens)} tokens"
    )


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
