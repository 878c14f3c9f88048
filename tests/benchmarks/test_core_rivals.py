"""Rivals of the core environment keep to the protocol, and find the optimum where they must."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module

import numpy as np
import pytest
import torch
from botorch.optim import initializers

from benchmarks.rivals import ax_multifidelity, botorch_mfkg, gaussian_process, ples
from benchmarks.rivals.botorch_mfkg import plain_model
from benchmarks.rivals.gaussian_process import Cube, initial_design, winsorised
from benchmarks.rivals.procedures import bowl_vertex, law_variance, spread
from benchmarks.rivals.protocol import Entry, Job, Point
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS
from horizon_bo.study.horizons import Horizon

MODULES = (
    "ax_multifidelity",
    "botorch_mfkg",
    "botorch_mfmes",
    "ples",
    "procedures",
    "published_laws",
    "random_runs",
)
ENTRIES = [
    entry for module in MODULES for entry in import_module(f"benchmarks.rivals.{module}").ENTRIES
]
TARGET = Horizon(params=1e9, tokens=2e10, batch_tokens=262_144)
PENALTY = 6.0
#: The design, and one run of the model.
RUNS = gaussian_process.DESIGN_SIZE + 1

Loss = Callable[[Point], float | None]


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knowledge gradients are optimised briefly: no test here asks how good a proposal is."""
    sampled = initializers.sample_q_batches_from_polytope

    def soon(*given, **named):
        return sampled(*given, **{**named, "n_burnin": 100, "n_thinning": 1})

    monkeypatch.setattr(initializers, "sample_q_batches_from_polytope", soon)
    for module in (ax_multifidelity, botorch_mfkg):
        for name, value in (("FANTASIES", 4), ("RESTARTS", 1), ("RAW_SAMPLES", 4)):
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(module, "ITERATIONS", 5)


def log_optimum(params: float, tokens: float) -> float:
    """An exact power law, 1e-3 at the target."""
    return math.log(1e-3) - 0.4 * math.log(params / 1e9) + 0.1 * math.log(tokens / 2e10)


def parabolic(point: Point) -> float | None:
    """A parabola about that law in every cell; `None` far above it, where the run diverges."""
    u = math.log(point.learning_rate) - log_optimum(point.params, point.tokens)
    levels = 0.3 * (point.params / 1e9) ** -0.3 + 0.3 * (point.tokens / 2e10) ** -0.3
    return None if u > 2 else 1.6 + levels + 0.05 * u**2


def job(
    *,
    batches: tuple[float | None, ...] = (262_144.0,),
    budget: float = 0.25,
    center: float | None = 1.5e-3,
    seed: int = 0,
) -> Job:
    """A small job; its budget is in target runs."""
    points = tuple(
        Point(learning_rate=float(rate), params=params, tokens=tokens, batch_tokens=batch)
        for params in (6e7, 1.2e8, 2.4e8)
        for tokens in (1e9, 3e9, 9e9)
        for batch in batches
        for rate in np.geomspace(1.25e-4, 3.2e-2, 9)
    )
    return Job(
        target=TARGET,
        points=points,
        budget=budget * TARGET.flops,
        prior_center=center,
        divergence_loss=PENALTY,
        seed=seed,
    )


def replayed(entry: Entry, given: Job, *, runs: int, loss: Loss = parabolic):
    """Proposals and answers of a rival that gets the nearest affordable row for each proposal."""
    rival, rows, left = entry.make(given), list(given.points), given.budget
    asked, answers = [], [rival.recommend()]
    while len(asked) < runs:
        affordable = [point for point in rows if point.cost <= left]
        proposal = rival.suggest(affordable) if affordable else None
        if proposal is None:
            break
        place = given.vector(proposal)
        made = min(affordable, key=lambda point: math.dist(place, given.vector(point)))
        outcome = loss(made)
        rival.observe(made, PENALTY if outcome is None else outcome, diverged=outcome is None)
        rows.remove(made)
        left -= made.cost
        asked.append(proposal)
        answers.append(rival.recommend())
    return asked, answers


def named(name: str) -> Entry:
    """The rival of that name."""
    return next(entry for entry in ENTRIES if entry.name == name)


@cache
def first_replay(entry: Entry) -> tuple[Job, list[Point], list]:
    """A job with two batches, what a rival asked for in it and what it answered; made once."""
    given = job(batches=(131_072.0, 262_144.0), seed=3)
    return given, *replayed(entry, given, runs=RUNS)


def marked(entry: Entry):
    """A parameter that is slow where the rival is."""
    return pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] if entry.slow else [])


@pytest.mark.parametrize("entry", [marked(entry) for entry in ENTRIES])
def test_a_rival_answers_a_rate_in_its_interval_after_every_run(entry: Entry):
    given, asked, answers = first_replay(entry)
    assert len(answers) == len(asked) + 1
    assert (not asked) == entry.name.startswith("published-")
    low, high = given.ranges["learning_rate"]
    for answer in answers:
        assert low * 0.999 <= answer.learning_rate <= high * 1.001
        if answer.interval_90 is not None:
            assert answer.interval_90[0] <= answer.learning_rate <= answer.interval_90[1]
    for point in asked:
        assert low * 0.999 <= point.learning_rate <= high * 1.001
        assert point.batch_tokens is not None


@pytest.mark.parametrize("entry", [marked(entry) for entry in ENTRIES])
def test_the_same_seed_gives_the_same_replay(entry: Entry):
    given, asked, answers = first_replay(entry)
    assert replayed(entry, given, runs=RUNS) == (asked, answers)


@pytest.mark.parametrize("entry", [marked(entry) for entry in ENTRIES if entry.uses_center])
def test_before_the_first_run_the_answer_is_the_centre(entry: Entry):
    for center in (5e-4, None):
        given = job(center=center)
        answer = entry.make(given).recommend()
        assert answer.learning_rate == pytest.approx(given.center, rel=1e-12)


@pytest.mark.parametrize("name", ["botorch-mfmes", "ples", "grid-law-spread", "token-horizon"])
def test_a_pool_of_a_single_cell_is_enough(name: str):
    whole = job()
    given = replace(whole, points=tuple(p for p in whole.points if p.cell == whole.points[0].cell))
    asked, answers = replayed(named(name), given, runs=RUNS)
    assert len(asked) >= 5
    assert given.ranges.keys() == {"learning_rate"}
    if name != "token-horizon":  # nothing but the rate varies, so the cell's optimum is the answer
        small = math.exp(log_optimum(6e7, 1e9))
        assert answers[-1].learning_rate == pytest.approx(small, rel=0.35)


@pytest.mark.parametrize("name", ["grid-law", "grid-law-spread"])
def test_grids_recover_an_exact_power_law(name: str):
    asked, answers = replayed(named(name), job(budget=1.0), runs=200)
    assert answers[-1].learning_rate == pytest.approx(1e-3, rel=1e-6)
    assert len(asked) < 200


def test_mutransfer_reuses_the_small_optimum_and_the_token_horizon_rule_moves_it():
    small = math.exp(log_optimum(6e7, 1e9))
    reused = replayed(named("mutransfer"), job(), runs=99)[1][-1].learning_rate
    moved = replayed(named("token-horizon"), job(), runs=99)[1][-1].learning_rate
    assert reused == pytest.approx(small, rel=1e-6)
    by_law = (TARGET.params / 6e7) ** -0.23 * (TARGET.tokens / 1e9) ** -0.32
    assert moved == pytest.approx(small * by_law, rel=1e-6)


def test_a_grid_goes_outwards_from_the_guess_in_factors_of_two():
    asked, _ = replayed(named("mutransfer"), job(center=1e-3), runs=99)
    rates = [point.learning_rate for point in asked]
    assert rates[0] == pytest.approx(1e-3, rel=1e-6)
    ratios = np.diff(np.log2(np.sort(rates)))
    np.testing.assert_allclose(ratios, 1.0, rtol=1e-6)
    distance = np.abs(np.log(np.array(rates) / 1e-3))
    assert (np.diff(distance) >= -1e-9).all()


def test_a_law_through_cells_along_the_way_to_the_target_beats_one_along_an_axis():
    given = job()
    start = Horizon(params=6e7, tokens=1e9)
    diagonal = law_variance(given, [start, Horizon(params=2.4e8, tokens=4e9)])
    along_tokens = law_variance(given, [start, Horizon(params=6e7, tokens=1.6e10)])
    assert diagonal < along_tokens
    third = [start, Horizon(params=2.4e8, tokens=4e9), Horizon(params=6e7, tokens=4e9)]
    assert law_variance(given, third) < diagonal


def test_spread_grids_fit_the_budget_and_extrapolate_better_than_the_cheapest_three():
    given = job(budget=0.3)
    chosen = spread(given)
    assert sum(grid.cost for grid in chosen) <= given.budget
    first = [Horizon(params=n, tokens=d) for n, d in ((6e7, 1e9), (1.2e8, 1e9), (6e7, 3e9))]
    assert law_variance(given, [grid.horizon for grid in chosen]) < law_variance(given, first)


def test_a_parabola_has_its_vertex_and_an_optimum_at_the_edge_has_none():
    rows = [(x, 3 * (x - 0.3) ** 2 + 1, False) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    assert bowl_vertex(rows[::-1]) == pytest.approx(0.3, abs=1e-12)
    assert bowl_vertex(rows[2:]) is None
    # a diverged run on the right is a side too
    assert bowl_vertex([*rows[:3], (1.0, PENALTY, True)]) is not None


def test_a_published_law_runs_nothing_and_its_own_data_are_marked():
    entry = named("published-step")
    asked, (answer,) = replayed(entry, job(), runs=5)
    assert asked == []
    assert answer.learning_rate == LEARNING_RATE_LAWS["step"].learning_rate(TARGET)
    assert "steplaw_dense" in entry.in_sample
    assert not named("published-porian").in_sample.count("steplaw_dense")


def test_the_target_has_the_top_fidelity_and_runs_keep_their_cost():
    cube = Cube(job())
    assert cube.target == {1: 1.0, 2: 1.0}
    for point in cube.job.points[::17]:
        back = cube.point(cube.vector(point))
        assert back.learning_rate == pytest.approx(point.learning_rate, rel=1e-9)
        assert back.cost == pytest.approx(point.cost, rel=1e-9)
    dearest = max(cube.job.points, key=lambda point: point.cost)
    cheapest = min(cube.job.points, key=lambda point: point.cost)
    ratio = cube.log_relative_cost(cube.vectors([dearest])).exp()
    assert float(ratio) == pytest.approx(dearest.cost / cheapest.cost, rel=1e-9)


def test_the_initial_design_starts_at_the_centre_and_leaves_most_of_the_budget():
    given = job(budget=0.1)
    design = initial_design(Cube(given))
    assert len(design) == gaussian_process.DESIGN_SIZE
    assert design[0].learning_rate == given.center
    assert sum(point.cost for point in design) < 0.3 * given.budget


def test_a_diverged_run_counts_as_the_worst_that_trained():
    points = job().points
    runs = [(points[0], 2.0, False), (points[1], PENALTY, True), (points[2], 3.0, False)]
    assert winsorised(runs).squeeze(-1).tolist() == [2.0, 3.0, 3.0]
    assert winsorised(runs[1:2]).item() == PENALTY


def test_spectral_draws_have_the_posteriors_moments():
    cube = Cube(job())
    places = cube.vectors(cube.job.points[::4])
    values = -torch.tensor([[parabolic(p) or 3.0] for p in cube.job.points[::4]])
    values = values.double()
    model = plain_model(cube, places, values)
    with torch.no_grad():
        posterior = model.posterior(cube.at_target(5))
        draws = gaussian_process.drawn(posterior, seed=0)
    sd = posterior.variance.sqrt().squeeze(-1)
    # 256 draws: four standard errors, a false alarm in less than one of a thousand times
    error = (draws.mean(0) - posterior.mean.squeeze(-1)).abs() / sd
    assert float(error.max()) < 4 / math.sqrt(gaussian_process.DRAWS)
    assert float((draws.std(0) / sd - 1).abs().max()) < 4 / math.sqrt(2 * gaussian_process.DRAWS)


def test_ples_regresses_the_power_law_of_its_paths():
    cube = Cube(job())
    scales = ples.scales_of(cube)
    places = ples.at_rates(scales)
    points = [cube.point(place) for place in places.tolist()]
    losses = [
        0.05 * (math.log(p.learning_rate) - log_optimum(p.params, p.tokens)) ** 2 for p in points
    ]
    paths = -torch.tensor(losses, dtype=torch.float64).expand(3, -1)
    mean, _ = ples.power_law(cube, scales, paths)
    # the grid of 65 rates rounds each optimum by up to 0.043
    expected = [math.log(1e-3 / cube.job.center), -0.4, 0.1]
    np.testing.assert_allclose(mean.numpy(), expected, atol=0.1)
