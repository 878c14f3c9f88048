"""Law fits: which fit answers to a family's name, and what is shown of it?"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.fits.families import FAMILIES
from horizon_bo.published.fits.loss import fit_loss_law
from horizon_bo.published.fits.optimum import fit_optimum
from horizon_bo.published.fits.sampling import RESAMPLINGS, Resampling
from horizon_bo.published.fits.schedule import fit_schedule_law, loss_curves
from horizon_bo.published.fits.search_factor import fit_search_factor

Columns = Mapping[str, list]
Shown = tuple[dict[str, Any], tuple[str, ...]]

#: Schedule fits are dear, and whole curves few.
_MOST_CURVE_DRAWS = 50


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose of any fit.

    Args:
        draws: Bootstraps or posterior draws.
        by: Resample by `run` or `cell`.
        bayesian: Posterior draws instead of bootstraps; loss families alone.
        best: Keep the lowest loss of each cell; loss families alone.
        seed: Of the resampling.
        inputs: Columns that an optimal rate or batch may depend on; empty takes the family's.
    """

    draws: int
    by: str
    bayesian: bool
    best: bool
    seed: int
    inputs: tuple[str, ...] = ()

    @property
    def resampling(self) -> Resampling:
        """`by`, checked."""
        for known in RESAMPLINGS:
            if self.by == known:
                return known
        raise InvalidSpaceError(
            f"--by is {self.by!r}, expected {' or '.join(RESAMPLINGS)}; correct it"
        )


def fit_family(family: str, table: Columns, options: Options) -> Shown:
    """Fit the family of that name and say what came out."""
    if family in FAMILIES:
        return _loss(family, table, options)
    fits: dict[str, Callable[[], Shown]] = {
        "learning-rate": lambda: _optimum(table, options, "learning_rate", ("params", "tokens")),
        "learning-rate-fixed-batch": lambda: _optimum(
            table, options, "learning_rate", ("params", "tokens", "batch_tokens"), vertices=True
        ),
        "batch": lambda: _optimum(table, options, "batch_tokens", ("tokens",)),
        "search-factor": lambda: _search_factor(table, options),
        "annealing": lambda: _schedule("annealing", table, options),
        "multi-power": lambda: _schedule("multi-power", table, options),
    }
    if family not in fits:
        raise InvalidSpaceError(
            f"family is {family!r}, expected one of {', '.join([*FAMILIES, *fits])}; correct it"
        )
    return fits[family]()


def _loss(family: str, table: Columns, options: Options) -> Shown:
    found = fit_loss_law(
        table,
        family,
        draws=options.draws,
        by=options.resampling,
        bayesian=options.bayesian,
        best_only=options.best,
        seed=options.seed,
    )
    record = {
        "family": family,
        "formula": found.family.formula,
        "coefficients": found.coefficients,
        "interval_90": found.intervals_90,
        "method": found.method,
        "rows": found.rows,
        "extrapolation_error": found.extrapolation_error,
        "diagnostics": asdict(found.diagnostics),
        "covariance": found.covariance.tolist(),
    }
    return record, found.remarks


def _optimum(
    table: Columns,
    options: Options,
    output: str,
    inputs: tuple[str, ...],
    vertices: bool = False,
) -> Shown:
    found = fit_optimum(
        table,
        output,
        options.inputs or inputs,
        vertices=vertices,
        draws=options.draws,
        by=options.resampling,
        seed=options.seed,
    )
    record = {
        "family": output,
        "log_prefactor": float(found.coefficients[0]),
        "exponents": found.exponents,
        "standard_errors": found.standard_errors,
        "residual_sd": found.residual_sd,
        "r_squared": found.r_squared,
        "method": found.method,
        "rows": found.rows,
        "extrapolation_error": found.extrapolation_error,
        "covariance": found.covariance.tolist(),
    }
    return record, found.remarks


def _search_factor(table: Columns, options: Options) -> Shown:
    found = fit_search_factor(table, draws=options.draws, seed=options.seed)
    record = {
        "family": "search-factor",
        "log_prefactor": float(found.coefficients[0]),
        "exponents": dict(zip(("params", "tokens"), found.coefficients[1:].tolist(), strict=True)),
        "standard_errors": found.standard_errors,
        "optima": [
            {"params": size, "tokens": length, "learning_rate": rate}
            for size, length, rate in found.optima
        ],
        "runs_used": found.runs_used,
        "runs_of_grid": found.runs_of_grid,
        "extrapolation_error": found.extrapolation_error,
    }
    return record, found.remarks


def _schedule(family: Any, table: Columns, options: Options) -> Shown:
    draws = min(options.draws, _MOST_CURVE_DRAWS)
    found = fit_schedule_law(loss_curves(table), family, draws=draws, seed=options.seed)
    record = {
        "family": family,
        "coefficients": found.coefficients,
        "standard_errors": found.standard_errors,
        "residual_sd": found.residual_sd,
        "extrapolation_error": found.extrapolation_error,
        "rows": found.rows,
        "method": f"{draws} bootstraps by curve",
    }
    return record, found.remarks
