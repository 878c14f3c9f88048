"""Catalogue: which laws are there, of every kind, and where does each come from?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published import weight_decay
from horizon_bo.published.batch import BATCH_LAWS, BatchLaw
from horizon_bo.published.fits.families import FAMILIES
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS, LearningRateLaw
from horizon_bo.published.loss import LOSS_LAWS, LossLaw
from horizon_bo.published.mup import TRANSFER_RULES
from horizon_bo.published.schedule import MULTI_POWER_LAWS
from horizon_bo.published.validity import Interval

Kind = Literal["rate", "batch", "loss", "schedule", "decay", "rule", "family"]

#: Families that are fitted by other means than a table of final losses.
_OTHER_FAMILIES = {
    "learning-rate": "ln eta* = c + a ln N + b ln D over the near-best runs of each cell",
    "learning-rate-fixed-batch": "ln eta* = c + a ln N + b ln D + g ln B over curves' vertices",
    "batch": "ln B* = c + b ln D over the near-best runs of each cell",
    "search-factor": "parabola in ln LR x power law in D at each size, then ln eta* (N, D)",
    "annealing": "L = L0 + A S1^-alpha - C S2 along loss curves (Tissue et al. 2024)",
    "multi-power": "L = L0 + A S1^-alpha - B sum of falls (Luo et al. 2025)",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One law in the catalogue.

    Args:
        name: What the command line calls it.
        kind: What it speaks of.
        formula: The law in its source's symbols and units.
        source: Where it is published; empty for families to be fitted.
        parametrization: Parametrization of the runs behind it; empty where it does not matter.
        validity: Ranges of the runs behind it.
        data: Names of the data it was fitted to.
        note: What a user should know.
    """

    name: str
    kind: Kind
    formula: str
    source: str = ""
    parametrization: str = ""
    validity: Mapping[str, Interval] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    note: str = ""


def catalogue() -> tuple[Entry, ...]:
    """Every law, rule and family, by kind."""
    rates = (
        _entry(
            "rate",
            law,
            parametrization=law.parametrization,
            data=law.data,
            note="; ".join(filter(None, ("" if law.is_absolute else "ratios only", law.note))),
        )
        for law in LEARNING_RATE_LAWS.values()
    )
    batches = (
        _entry(
            "batch",
            law,
            data=law.data,
            note="; ".join(filter(None, (f"{law.kind} batch", law.note))),
        )
        for law in BATCH_LAWS.values()
    )
    losses = (_entry("loss", law) for law in LOSS_LAWS.values())
    return (*rates, *batches, *losses, *_others())


def _entry(kind: Kind, law: LearningRateLaw | BatchLaw | LossLaw, **more: Any) -> Entry:
    """What the three kinds of laws of a run share, and what one kind adds."""
    shared = {"name": law.name, "formula": law.formula, "source": law.source}
    return Entry(kind=kind, validity=law.validity.stated(), **shared, **more)


def _others() -> tuple[Entry, ...]:
    schedules = (
        Entry(
            name=name,
            kind="schedule",
            formula="L = L0 + A (S1 + S_W)^-alpha - B sum of falls times G(eta^-gamma S_k)",
            source=law.source,
        )
        for name, law in MULTI_POWER_LAWS.items()
    )
    decay = Entry(
        name="power-lines",
        kind="decay",
        formula="B/(eta lambda D) = 1.084 (D/N)^-0.527",
        source=weight_decay.SOURCE,
        note="weight decay for AdamW; linear in batch up to the critical one",
    )
    rules = (
        Entry(name=rule.name, kind="rule", formula=rule.formula, source=rule.source, note=rule.note)
        for rule in TRANSFER_RULES.values()
    )
    families = {name: family.formula for name, family in FAMILIES.items()} | _OTHER_FAMILIES
    fits = (
        Entry(name=name, kind="family", formula=formula, note="for `law fit`")
        for name, formula in families.items()
    )
    return (*schedules, decay, *rules, *fits)


def entries_named(name: str) -> tuple[Entry, ...]:
    """What is known under a name: a rate law and its batch law may share one."""
    found = tuple(entry for entry in catalogue() if entry.name == name)
    if not found:
        names = dict.fromkeys(entry.name for entry in catalogue())
        raise InvalidSpaceError(
            f"law is {name!r}, expected one of {', '.join(names)}; see `horizon-bo law list`"
        )
    return found
