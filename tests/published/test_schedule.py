"""Schedule laws: closed forms, the printed constants, and recovery from curves they made."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.fits.schedule import LossCurve, fit_schedule_law, loss_curves
from horizon_bo.published.schedule import (
    MULTI_POWER_LAWS,
    AnnealingLaw,
    MultiPowerLaw,
    annealing_areas,
    constant_schedule,
    cooldown_schedule,
    cosine_schedule,
)

PRINTED = {
    "mpl-25m": (3.040, 0.525, 0.508, 364, 2.07, 0.583, 0.641),
    "mpl-100m": (2.651, 0.601, 0.453, 438, 2.13, 0.598, 0.655),
    "mpl-400m": (2.375, 0.654, 0.429, 523, 2.03, 0.594, 0.635),
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_multi_power_law_carries_the_constants_printed(name):
    law = MULTI_POWER_LAWS[name]
    drop = (law.drop_scale, law.drop_rate, law.drop_exponent, law.drop_power)
    assert (law.irreducible, law.scale, law.exponent, *drop) == PRINTED[name]


def test_at_a_constant_rate_both_laws_are_a_power_of_the_area():
    rates = constant_schedule(3e-4, 1000)
    law = MULTI_POWER_LAWS["mpl-100m"]
    area = 3e-4 * np.arange(1, 1001)
    np.testing.assert_allclose(law.curve(rates), 2.651 + 0.601 * area**-0.453)
    annealing = AnnealingLaw(irreducible=2.0, scale=0.5, exponent=0.4, annealing=3.0)
    np.testing.assert_allclose(annealing.curve(rates), 2.0 + 0.5 * area**-0.4)


def test_one_drop_buys_what_the_formula_says():
    law = MultiPowerLaw(
        irreducible=2.0, scale=0.5, exponent=0.4, drop_scale=400.0, drop_rate=2.0,
        drop_exponent=0.6, drop_power=0.6,
    )  # fmt: skip
    rates = np.array([3e-4] * 50 + [1e-4] * 50)
    area = rates.sum()
    since = 1e-4 * 50
    bought = 400 * 2e-4 * (1 - (1 + 2.0 * (1e-4) ** -0.6 * since) ** -0.6)
    assert math.isclose(law.curve(rates)[-1], 2.0 + 0.5 * area**-0.4 - bought)


def test_momentum_areas_agree_with_the_double_sum():
    rates = cosine_schedule(1e-3, 60)
    falls = -np.diff(rates, prepend=rates[0])
    brute = sum(falls[k] * 0.99 ** (i - k) for i in range(60) for k in range(i + 1))
    area, annealed = annealing_areas(rates, 0.99)
    assert math.isclose(annealed[-1], brute)
    assert math.isclose(area[-1], rates.sum())


def test_decaying_beats_a_constant_rate_and_a_rate_of_zero_is_allowed():
    law = MULTI_POWER_LAWS["mpl-400m"]
    constant = law.curve(constant_schedule(3e-4, 500), stride=48)[-1]
    to_zero = law.curve(cooldown_schedule(3e-4, 500, final_fraction=0.0), stride=48)[-1]
    assert to_zero < constant - 0.05


def test_a_coarser_grid_changes_little():
    law = MULTI_POWER_LAWS["mpl-25m"]
    fine = law.curve(cosine_schedule(3e-4, 1200), stride=20)[-1]
    coarse = law.curve(cosine_schedule(3e-4, 240), stride=100)[-1]
    assert math.isclose(fine, coarse, rel_tol=1e-3)


def curves_of(law, noise: float = 0.0) -> list[LossCurve]:
    rng = np.random.default_rng(0)
    curves = []
    for steps in (12_000, 24_000, 48_000):
        for name in ("cosine", "cooldown", "constant"):
            rates = {
                "cosine": cosine_schedule(3e-4, 128),
                "cooldown": cooldown_schedule(3e-4, 128, final_fraction=0.05),
                "constant": constant_schedule(3e-4, 128),
            }[name]
            entries = np.arange(10, 128, 6)
            losses = law.curve(rates, steps / 128)[entries]
            losses = losses * np.exp(noise * rng.standard_normal(entries.size))
            curves.append(
                LossCurve(
                    name=f"{name}-{steps}", rates=rates, stride=steps / 128, entries=entries,
                    losses=losses,
                )
            )  # fmt: skip
    return curves


def test_the_annealing_law_is_recovered_from_its_curves():
    law = AnnealingLaw(irreducible=2.6, scale=0.6, exponent=0.45, annealing=4.0, momentum=0.999)
    found = fit_schedule_law(curves_of(law, noise=1e-3), "annealing", draws=20)
    truth = {"irreducible": 2.6, "exponent": 0.45, "annealing": 4.0, "momentum": 0.999}
    for name, value in truth.items():
        assert math.isclose(found.coefficients[name], value, rel_tol=0.05), name
    assert found.extrapolation_error is not None
    assert found.extrapolation_error < 2e-3


@pytest.mark.slow
def test_the_multi_power_law_is_recovered_from_its_curves():
    # β, γ and C trade against each other, so the curves are compared, and the plain terms
    law = MULTI_POWER_LAWS["mpl-100m"]
    curves = curves_of(law, noise=1e-3)
    found = fit_schedule_law(curves, "multi-power", draws=10)
    assert math.isclose(found.coefficients["irreducible"], 2.651, rel_tol=0.01)
    assert math.isclose(found.coefficients["exponent"], 0.453, rel_tol=0.05)
    for curve in curves:
        ours, theirs = (one.curve(curve.rates, curve.stride)[10:] for one in (found.law, law))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert found.extrapolation_error is not None
    assert found.extrapolation_error < 2e-3


def measured_curves(folder: Path, steps: list[int]) -> list[LossCurve]:
    """Measured runs of 124M params at rate 1e-3 under linear cooldowns and a cosine."""
    runs = pd.read_csv(folder / "schedules.csv")
    points = pd.read_csv(folder / "schedules_curves.csv.gz")
    kept = runs[(runs.params == 123_587_328) & (runs.learning_rate == 1e-3) & ~runs.diverged]
    curves = []
    for run in kept[kept.steps.isin(steps)].itertuples():
        left = 1.0 - np.arange(1, 129) / 128
        if run.schedule == "cos_to_10pct":
            rates = 0.1 + 0.45 * (1 - np.cos(np.pi * left))
        elif run.schedule.startswith("wsd_linear_"):
            rates = np.minimum(1.0, left / float(run.schedule.split("_")[-1]))
        else:
            continue
        seen = points[(points.run == run.run) & (points.step > 2000)].sort_values("step")[::2]
        entries = np.clip(np.round(seen.step * 128 / run.steps).astype(int) - 1, 0, 127)
        curves.append(
            LossCurve(
                name=run.run,
                rates=1e-3 * rates,
                stride=run.steps / 128,
                entries=entries.to_numpy(np.int64),
                losses=seen.val_loss.to_numpy(np.float64),
            )
        )
    return curves


def test_measured_curves_of_longer_runs_are_predicted_from_shorter_ones(data_folder):
    short = measured_curves(data_folder, [15_000, 25_000])
    long = measured_curves(data_folder, [50_000])
    law = fit_schedule_law(short, "annealing", draws=5).law
    errors = [np.abs(law.curve(c.rates, c.stride)[c.entries] / c.losses - 1).mean() for c in long]
    assert len(long) >= 7
    # its paper claims about 0.2 % within the horizons fitted
    assert np.mean(errors) < 0.006


def test_curves_come_from_a_table_of_logged_steps():
    steps = np.arange(100, 12_001, 100)
    table = {
        "curve": ["a"] * len(steps),
        "step": steps.tolist(),
        "learning_rate": np.linspace(3e-4, 3e-5, len(steps)).tolist(),
        "loss": np.where(steps % 500 == 0, 3.0, np.nan).tolist(),
    }
    (curve,) = loss_curves(table)
    assert curve.losses.size == 24
    assert math.isclose(curve.stride * curve.rates.size, 12_000)
    assert math.isclose(
        curve.stride * curve.rates.sum(), 100 * sum(table["learning_rate"]), rel_tol=0.02
    )


def test_curves_that_never_decay_are_refused_with_what_is_missing():
    law = AnnealingLaw(irreducible=2.6, scale=0.6, exponent=0.45, annealing=4.0)
    constant = [curve for curve in curves_of(law) if curve.name.startswith("constant")]
    with pytest.raises(InvalidTableError, match="lowers its rate"):
        fit_schedule_law(constant, "annealing")
    with pytest.raises(InvalidTableError, match="two curves"):
        fit_schedule_law(curves_of(law)[:1], "annealing")
    with pytest.raises(InvalidTableError, match="expected also step, loss"):
        loss_curves({"curve": [1], "learning_rate": [1e-3]})
