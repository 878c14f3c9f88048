"""InputDoubts: what about the numbers of the recipe in a table should its author know?"""

from collections.abc import Sequence

import numpy as np

from horizon_bo.study.inputs import coordinate, placeless, unsaid
from horizon_bo.study.trials import LoggedRun, Study

#: Fewest runs, and the correlation, from which an input goes with size, tokens or batch.
_FEWEST, _TOGETHER = 4, 0.95


def input_remarks(runs: Sequence[LoggedRun], rows: Sequence[int], study: Study) -> tuple[str, ...]:
    """What was assumed of the inputs of runs that have entered a study, and what goes together."""
    said: list[str] = []
    if not any(run.inputs for run in runs):
        return ()
    for name, own in study.inputs.items():
        values = [run.inputs.get(name) for run in runs]
        apart = [
            k
            for k, value in enumerate(values)
            if value is not None and placeless({name: value}, study.inputs)
        ]
        if apart:
            label = placeless({name: values[apart[0]] or 0.0}, study.inputs)[0]
            said.append(
                f"{name} of {len(apart)} of {len(runs)} rows is {values[apart[0]]:g} and the "
                f"target's {own:g}, first row {rows[apart[0]]}: a recipe of its own, "
                f"{label!r}, since 0 has no logarithm"
            )
        if name not in study.target.inputs and (apart or name in study.varying):
            said.append(unsaid(name, own))
        if name not in study.varying:
            continue
        absent = sum(value is None for value in values)
        if absent:
            said.append(
                f"{name} of {absent} of {len(runs)} rows is not given: taken as the target's, "
                f"{own:g}"
            )
        said += _together(name, runs, study)
    return tuple(said)


def _together(name: str, runs: Sequence[LoggedRun], study: Study) -> list[str]:
    """Whether an input goes with another quantity in all rows, in one line."""
    told = [run for run in runs if run.inputs.get(name) is not None]
    at = np.array([coordinate(name, run.inputs[name] or 0.0) for run in told], dtype=float)
    finite = np.isfinite(at)
    if finite.sum() < _FEWEST or np.ptp(at[finite]) == 0:
        return []
    found = []
    for other in ("params", "tokens", "batch_tokens"):
        values = np.array([getattr(run, other) or np.nan for run in told], dtype=float)[finite]
        if not (values > 0).all() or np.ptp(np.log(values)) == 0:
            continue
        if abs(np.corrcoef(at[finite], np.log(values))[0, 1]) > _TOGETHER:
            found.append(other)
    if not found:
        return []
    return [
        f"{name} goes with {' and '.join(found)} in all rows: their effects on the best rate "
        "cannot be told apart, and each alone rests on the prior; add runs that differ in one alone"
    ]
