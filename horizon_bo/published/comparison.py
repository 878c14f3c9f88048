"""Comparison: how much worse than the best run of a cell is the run that a law would have made?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.fits.runs import Runs, Table, read_runs
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.study.horizons import Horizon

#: Runs and batches that a surface over rate and batch needs.
_FEWEST_RUNS, _FEWEST_RATES = 4, 3


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One law on a table of sweeps.

    Args:
        law: The law's name.
        excess: Relative excess loss over the cell's best run, one a cell judged.
        skipped: Cells whose runs do not surround what the law asks for.
        fitted_here: Whether the law was fitted to one of the table's data.
    """

    law: str
    excess: tuple[float, ...]
    skipped: int
    fitted_here: bool

    @property
    def mean(self) -> float:
        """Mean relative excess; NaN when no cell could be judged."""
        return float(np.mean(self.excess)) if self.excess else float("nan")


def compare_laws(
    table: Table,
    laws: Sequence[str],
    *,
    flops_factor: float = 1.0,
    data: Sequence[str] = (),
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Judge laws by the loss at their own rate and batch, interpolated in a user's sweeps.

    Loss is interpolated linearly over ln LR and ln batch on the cell's triangulation, diverged
    runs with their last loss included where they have one. Laws without a batch law are given
    the batch of the cell's best run.

    Args:
        table: Columns `learning_rate`, `params`, `tokens`, `batch_tokens`, `loss`.
        laws: Names of laws that state a rate.
        flops_factor: Compute of a run over 6 N D, for laws of compute; about 1.1 with attention.
        data: Names of the data in the table; laws fitted to them are marked.

    Returns:
        One comparison a law, and remarks on the table.
    """
    columns = ("learning_rate", "params", "tokens", "batch_tokens", "loss")
    # A diverged run's high loss is what makes too high a rate costly, so it stays.
    runs = read_runs({n: v for n, v in table.items() if n != "diverged"}, columns)
    if not len(runs):
        raise InvalidTableError("table holds no usable run, expected some; check its columns")
    groups = runs.groups("params", "tokens")
    cells = [runs.where(groups == group) for group in range(groups.max() + 1)]
    judged = []
    for name in laws:
        excess = [_excess(name, cell, flops_factor) for cell in cells]
        known = tuple(value for value in excess if np.isfinite(value))
        judged.append(
            Comparison(
                law=name,
                excess=known,
                skipped=len(excess) - len(known),
                fitted_here=bool(set(learning_rate_law(name).data) & set(data)),
            )
        )
    return tuple(sorted(judged, key=lambda c: (np.isnan(c.mean), c.mean))), runs.remarks


def _excess(name: str, cell: Runs, flops_factor: float) -> float:
    """Relative excess loss of a law in one cell; NaN where its runs do not surround it."""
    if len(cell) < _FEWEST_RUNS or np.unique(cell["learning_rate"]).size < _FEWEST_RATES:
        return float("nan")
    best = int(np.argmin(cell["loss"]))
    horizon = Horizon(params=cell["params"][0], tokens=cell["tokens"][0])
    horizon = replace(horizon, flops=flops_factor * horizon.flops)
    batch = float(cell["batch_tokens"][best])
    if name in BATCH_LAWS:
        batch = BATCH_LAWS[name].batch_tokens(horizon)
    rate = learning_rate_law(name).learning_rate(horizon)
    return _interpolated(cell, rate, batch) / float(cell["loss"][best]) - 1.0


def _interpolated(cell: Runs, rate: float, batch: float) -> float:
    log_rate, log_batch = cell.log("learning_rate"), cell.log("batch_tokens")
    if np.unique(log_batch).size > 1:
        surface = LinearNDInterpolator(
            np.column_stack([log_rate, log_batch]), cell["loss"], rescale=True
        )
        return float(surface(np.log(rate), np.log(batch)))
    order = np.argsort(log_rate)
    at = np.interp(np.log(rate), log_rate[order], cell["loss"][order], left=np.nan, right=np.nan)
    return float(at)
