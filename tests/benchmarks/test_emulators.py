"""Emulators: they go through the sweep's bowls, their draws differ only where it says nothing."""

import math
from functools import cache

import numpy as np
import pytest

from benchmarks.emulators.departures import conditioned, covariance, placed
from benchmarks.emulators.emulator import Emulator, emulated, read, write
from benchmarks.emulators.law import BELIEFS, Law, fitted
from benchmarks.emulators.rows import BLOWN_UP, Rows, recipes, rows_of, units_of
from horizon_bo.study.trials import LoggedRun


@cache
def standard() -> Emulator:
    (recipe,) = (recipe for recipe in recipes() if recipe.name == "stdlib standard")
    return emulated(recipe)


def a_law(**changed: float) -> Law:
    return Law({**{name: mean for name, (mean, _) in BELIEFS.items()}, **changed})


def test_a_law_is_found_again_from_its_own_losses():
    law = a_law(log_optimum=-6.0, optimum_per_params=-0.6, log_curvature=-3.0)
    scales = np.array([(n, d, 0.0) for n in (-1, 0, 1) for d in (-1, 0, 1)])
    inputs = np.array(
        [(-6.0 - 0.6 * n + u, n, d, b) for n, d, b in scales for u in np.linspace(-1.5, 1.5, 7)]
    )
    found = fitted(Rows(inputs, law.loss(inputs)))
    assert found["log_optimum"] == pytest.approx(-6.0, abs=0.02)
    assert found["optimum_per_params"] == pytest.approx(-0.6, abs=0.02)
    assert found.loss(inputs) == pytest.approx(law.loss(inputs), abs=1e-4)


def test_the_bowl_has_curvature_one_at_the_optimum_and_grows_like_a_line_below():
    law, step = a_law(), 1e-3
    height = law.bowl(np.array([-step, 0.0, step]))
    assert (height[0] - 2 * height[1] + height[2]) / step**2 == pytest.approx(1, abs=1e-3)
    far = law.bowl(np.array([-30.0, -31.0, -32.0]))
    assert far[1] - far[0] == pytest.approx(far[2] - far[1], rel=1e-3)


def test_a_draw_goes_through_the_sweep_and_leaves_it_where_it_is_silent():
    emulator = standard()
    done = emulator.rows.finished
    worlds = [emulator.world(seed) for seed in range(8)]
    near = done.select(emulator.law.offset(done.inputs) ** 2 < 1)
    here = np.std([world.loss(near.inputs) for world in worlds], axis=0).mean()
    away = near.inputs.copy()
    away[:, 2] -= 5.0  # far shorter than any run of the sweep
    there = np.std([world.loss(away) for world in worlds], axis=0).mean()
    assert there > 2 * here
    error = np.mean([world.loss(near.inputs) for world in worlds], axis=0) / emulator.units.loss
    assert np.sqrt(np.mean((error - near.loss) ** 2)) < 2 * math.exp(emulator.scales.logs["noise"])


def test_prior_draws_have_the_covariance_of_the_process():
    emulator = standard()
    theta = emulator.scales.theta()
    inputs = emulator.rows.inputs[:40:8]
    places = placed(emulator.law, inputs)
    far = emulator.rows.finished.inputs[::10].copy()
    far[:, 1:] += 60.0  # data too far away to matter: a draw is a draw of the prior
    apart = Rows(far, emulator.law.loss(far))
    worlds = [
        conditioned(emulator.scales, emulator.law, apart, seed)(places) for seed in range(600)
    ]
    wanted = covariance(theta, places, places).numpy()
    got = np.cov(np.array(worlds).T)
    sd = np.sqrt(np.diag(wanted))
    # 600 draws leave a correlation uncertain by 0.04 at most: five of them
    assert np.abs(got - wanted).max() / np.outer(sd, sd).max() < 0.2


def test_the_same_run_of_the_same_world_is_the_same_loss_and_a_repeat_is_another():
    world = standard().world(3)
    first, again, other = (world.run(0.008, 60_000, 6e5, 1024, k) for k in (0, 0, 1))
    assert first == again != other


def test_a_rate_far_above_the_cliff_diverges_and_one_at_the_optimum_does_not():
    world = standard().world(0)
    log_rates, losses = world.curve((1e-3, 0.1), 55_296, 1e6, 1024)
    best = math.exp(log_rates[losses.argmin()])
    high = [world.run(best * math.exp(12), 55_296, 1e6, 1024, k) for k in range(20)]
    assert high == [None] * 20
    assert None not in [world.run(best, 55_296, 1e6, 1024, k) for k in range(20)]


def test_noise_has_the_spread_that_repeated_seeds_have():
    emulator = standard()
    world = emulator.world(0)
    losses = [world.run(0.01, 55_296, 1e6, 1024, k) for k in range(400)]
    spread = np.std([loss for loss in losses if loss is not None]) / emulator.units.loss
    done = emulator.rows.finished
    labels = done.labels((0, 1, 2, 3))
    pairs = [done.loss[labels == k] for k in range(labels.max() + 1) if (labels == k).sum() > 1]
    repeated = math.sqrt(np.mean([np.var(pair, ddof=1) for pair in pairs]))
    assert repeated / 2.5 < spread < 2.5 * repeated  # the sweep's differs tenfold between cells


def test_a_half_recovered_run_above_the_best_rate_counts_as_diverged():
    runs = [
        LoggedRun(learning_rate=rate, params=1e6, tokens=1e8, loss=loss)
        for rate, loss in ((1e-4, 4.0), (1e-3, 3.0), (1e-2, 3.0 * (1 + BLOWN_UP) + 0.01))
    ]
    assert rows_of(runs, units_of(runs)).diverged.tolist() == [False, False, True]


def test_an_emulator_comes_back_from_its_file(tmp_path):
    emulator = standard()
    back = read(write(emulator, tmp_path))
    inputs = emulator.rows.inputs[:5]
    assert back.world(1).loss(inputs).tolist() == emulator.world(1).loss(inputs).tolist()
    (path := next(tmp_path.iterdir())).write_text(
        path.read_text().replace('"version": 1', '"version": 0')
    )
    with pytest.raises(ValueError, match="build it again"):
        read(path)


def test_departures_survive_between_cells():
    """A draw's optimum scatters about its law as the sweep's did, not as a fitted law's would."""
    emulator = standard()
    law = emulator.law
    drift = []
    for seed in range(12):
        world = emulator.world(seed)
        log_rates, losses = world.curve((1e-4, 0.5), 80_000, 7e5, 1024)
        inputs = world.inputs([math.exp(log_rates[losses.argmin()])], 80_000, 7e5, 1024)
        drift.append(law.offset(inputs)[0])
    scatter = math.exp(emulator.scales.logs["optimum"])
    assert 0.1 * scatter < np.sqrt(np.mean(np.square(drift))) < 3 * scatter
