"""Imports: which of a table's runs does a study hold already, and which does the table correct?

    a row of the table                              is
    the same in every field as a held run, or as
    one was before it was corrected or forgotten    known: left out
    of the name of a held run, and of its setting
    or its loss                                     a correction: takes its place
    like a held run but for its loss                another run, and said so
    anything else                                   new

Only runs that were imported are known again by name.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from horizon_bo.study.corrections import changed
from horizon_bo.study.trials import LoggedRun, Study, Trial

#: Share of a table's names that may take the place of held runs where names are whole numbers:
#: the rows of two tables may both be called 0, 1, 2, ….
_MOST_REPLACED = 0.5


@dataclass(frozen=True)
class Imported:
    """What became of a table's runs.

    Args:
        study: The study with them.
        known: How many it held already.
        remarks: Corrections, and runs that may be some.
    """

    study: Study
    known: int
    remarks: tuple[str, ...]


def reconciled(study: Study, runs: Sequence[LoggedRun], *, count_cost: bool = False) -> Imported:
    """The study with a table's runs, each once, and corrections in the place of what they mend.

    A run that the table has twice may be held once; then it is new once.
    """
    rows = [
        study.trial_from(run, trial_id=k, charged=count_cost, row=k) for k, run in enumerate(runs)
    ]
    known = _known(study, rows)
    fresh = [row for row in rows if id(row) not in known]
    mended = _mended(study, fresh, count=len(rows))
    remarks = _since_changed([(row, known[id(row)]) for row in rows if id(row) in known])
    for before, row in mended.values():
        after = replace(row, id=before.id, charged=before.charged, changes=before.changes)
        study = study.with_outcome(changed(before, after, "imported again", None))
        remarks.append(f"{row.name} took the place of trial {before.id}: {_change(before, after)}")
    new = [row for row in fresh if id(row) not in mended]
    remarks += _alike(study, new)
    first = len(study.trials)
    added = [replace(row, id=first + k) for k, row in enumerate(new)]
    return Imported(study.with_trials(*added), len(rows) - len(fresh), tuple(remarks))


def _known(study: Study, rows: Sequence[Trial]) -> dict[int, Trial]:
    """Held trials by the identity of the row that says the same, each once.

    What the table made of a trial may be undone by the table; what somebody changed may not.
    """
    held: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    for trial in study.trials:
        held[_fields(trial)].append(trial)
    for trial in study.trials:
        for change, before in zip(reversed(trial.changes), trial.earlier, strict=True):
            if change.kind != "imported again":
                held[_fields(before)].append(trial)
    found: dict[int, Trial] = {}
    taken: set[int] = set()
    for row in rows:
        free = (trial for trial in held.get(_fields(row), ()) if trial.id not in taken)
        if (trial := next(free, None)) is not None:
            found[id(row)] = trial
            taken.add(trial.id)
    return found


def _since_changed(pairs: Sequence[tuple[Trial, Trial]]) -> list[str]:
    """Rows that say what a trial said before somebody changed it, in one line."""
    old = [(row, trial) for row, trial in pairs if _fields(row) != _fields(trial)]
    if not old:
        return []
    row, trial = old[0]
    runs = "1 row says" if len(old) == 1 else f"{len(old)} rows say"
    return [
        f"{runs} what was changed since, first row {row.row}, which is trial {trial.id} before it "
        f"was {trial.changes[-1].kind}: left as it is"
    ]


def _mended(study: Study, fresh: Sequence[Trial], *, count: int) -> dict[int, tuple[Trial, Trial]]:
    """Held trials and the rows that take their place, by the identity of the row."""
    named: dict[str, list[Trial]] = defaultdict(list)
    for trial in study.trials:
        if trial.name is not None:
            named[trial.name].append(trial)
    found: dict[int, tuple[Trial, Trial]] = {}
    for row in fresh:
        called = named.get(row.name, []) if row.name is not None else []
        same = [trial for trial in called if _place(trial) == _place(row)]
        same += [trial for trial in called if row.loss is not None and trial.loss == row.loss]
        if same:
            found[id(row)] = (same[0], row)
    numbered = all((row.name or "").isdecimal() for _, row in found.values())
    return {} if numbered and len(found) > max(1, _MOST_REPLACED * count) else found


def _alike(study: Study, new: Sequence[Trial]) -> list[str]:
    """New runs that are like a held one in all but the loss, in one line."""
    held: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    for trial in study.trials:
        if trial.status == "completed" and trial.row is not None:
            held[_place(trial)].append(trial)
    twins = [
        (row, held[_place(row)][-1]) for row in new if row.loss is not None and held[_place(row)]
    ]
    if not twins:
        return []
    row, before = twins[0]
    count = "1 row differs" if len(twins) == 1 else f"{len(twins)} rows differ"
    runs, its = ("a held run", "its") if len(twins) == 1 else ("held runs", "their")
    return [
        f"{count} from {runs} only in {its} loss, first row {row.row} with {row.loss:g} where "
        f"trial {before.id} has {before.loss:g}: taken as another run; if it is a correction, "
        f"forget trial {before.id}"
    ]


def _change(before: Trial, after: Trial) -> str:
    """What a correction changes, for people."""
    changed = [
        f"{name} {getattr(before, name)} → {getattr(after, name)}"
        for name in ("learning_rate", "params", "tokens", "batch_tokens", "status", "loss")
        if getattr(before, name) != getattr(after, name)
    ]
    return ", ".join(changed) or "another recipe or compute"


def _place(trial: Trial) -> tuple[object, ...]:
    """What a run was, before its outcome."""
    place = (trial.learning_rate, trial.params, trial.tokens, trial.batch_tokens)
    return (*place, trial.schedule, trial.averaging, trial.source, *trial.inputs.items())


def _fields(trial: Trial) -> tuple[object, ...]:
    """What a logged run says."""
    return (*_place(trial), trial.flops, trial.status, trial.loss, trial.loss_sd)
