"""Open race: anything may be run, everybody meets the same world, and differences are paired."""

import gzip
import json
import math

import numpy as np
import pytest

from benchmarks.harness.open_race import OURS, race, share_of
from benchmarks.problems.continuous import CHEAPEST, TARGETS, Contest
from benchmarks.report.open_standings import (
    Race,
    agreement,
    balanced,
    critical_difference,
    groups_alike,
    layered,
    load,
    mean_ranks,
    paired,
    shared,
    table,
)
from benchmarks.report.open_words import losses, rivals, verdict
from tests.benchmarks.test_emulators import standard

(TARGET,) = (t for t in TARGETS if t.recipe == "stdlib standard" and t.params == 221_184)


def contest(seed: int = 0) -> Contest:
    return Contest(TARGET, standard(), seed)


def test_every_method_meets_the_same_world_guess_and_offer():
    study, job = contest().study(0.1), contest().job(0.1)
    assert job.budget == study.budget == pytest.approx(0.1 * study.target.flops)
    assert job.prior_center == study.prior_center
    assert min(p.cost for p in job.points) >= CHEAPEST * study.target.flops * (1 - 1e-9)
    assert max(p.params for p in job.points) <= TARGET.params / 2 * (1 + 1e-9)
    assert {p.params for p in job.points} == {s.params for s in study.space.scales}
    assert any(p.learning_rate == pytest.approx(job.prior_center) for p in job.points)


def test_nothing_learnt_from_the_sweep_speaks_in_its_race():
    assert "stdlib_gpt" in contest().study(0.1).excluded_data


def test_the_truth_is_the_noiseless_world_at_the_target():
    posed = contest()
    rate = posed.truth["optimum"]
    inputs = posed.world.inputs([rate], TARGET.params, TARGET.tokens, TARGET.batch_tokens)
    assert posed.world.loss(inputs)[0] == pytest.approx(posed.truth["minimum"], rel=1e-12)
    assert min(posed.truth["excess"]) == 0
    assert contest(1).truth["optimum"] != rate  # another seed, another world


@pytest.mark.parametrize("method", ["optuna-gp", "deepseek-checked", "grid-law-spread"])
def test_a_rival_runs_what_it_asks_for_and_never_spends_more_than_its_budget(method):
    lines = list(race(contest(), method))
    assert "error" not in lines[-1]
    assert lines[-1]["final"]
    assert lines[-1]["step"] >= 4
    assert 0 < lines[-1]["spent"] <= 0.1 + 1e-9
    asked = [line["made"][0] for line in lines[1:]]
    assert len(set(asked)) > 3


def test_a_search_at_a_proxy_proposes_rates_between_those_of_the_lattice():
    lattice = {round(math.log(p.learning_rate), 4) for p in contest().job(0.1).points}
    made = [line["made"] for line in race(contest(), "optuna-gp") if "made" in line]
    assert any(round(math.log(rate), 4) not in lattice for rate, *_ in made)
    assert len({(params, tokens) for _, params, tokens, _ in made}) == 1


def test_a_hand_made_grid_ends_once_its_bowl_is_bracketed():
    made = [line["made"] for line in race(contest(), "deepseek-checked") if "made" in line]
    everything = {p.learning_rate for p in contest().job(0.1).points}
    assert 3 <= len(made) < len(everything)


def test_ours_is_told_what_the_others_are_and_starts_from_the_guess():
    first = next(race(contest(), OURS))
    assert first["spent"] == 0
    assert first["prior_center"] == pytest.approx(contest().guess)


def test_a_method_that_fails_is_a_line_with_its_error():
    (line,) = race(contest(), "no-such-method")
    assert line["final"]
    assert "no-such-method" in line["error"]


def test_shares_hold_every_task_once():
    tasks = list(range(17))
    assert sorted(t for k in (1, 2, 3) for t in share_of(tasks, f"{k}/3")) == tasks


def made_up(method: str, group: str, case: str, seed: int, overhead: float) -> Race:
    state = {"step": 0, "spent": 0.0, "overhead": overhead, "regret": overhead, "minimum": 1.0}
    return Race(method, group, case, seed, ({**state, "stop": False},), None)


def test_groups_count_alike_however_many_seeds_they_have():
    worlds = [("a", "a1", k) for k in range(9)] + [("b", "b1", 0)]
    assert balanced(worlds, np.array([1.0] * 9 + [3.0])) == pytest.approx(2.0)


def test_one_group_alone_leaves_no_doubt_between_groups_and_two_do():
    same = [("a", "a1", k) for k in range(20)]
    low, high = layered(same, np.ones(20))
    assert low == high == 1.0
    two = same + [("b", "b1", k) for k in range(20)]
    low, high = layered(two, np.array([1.0] * 20 + [3.0] * 20))
    assert (low, high) == (1.0, 3.0)  # both drawn alike happens half of the time


def test_pairing_takes_the_worlds_difference_off():
    races = [
        made_up(method, "g", f"c{c}", s, 10.0 * c + s + (0.5 if method == "late" else 0.0))
        for method in ("early", "late")
        for c in range(3)
        for s in range(4)
    ]
    found = paired(races, "early", "late", lambda r: r.overhead("stop"))
    assert found.difference == pytest.approx(-0.5)
    assert found.interval == pytest.approx((-0.5, -0.5))
    assert found.ahead == 1.0
    assert mean_ranks(races, lambda r: r.overhead("stop")) == {"early": 1.0, "late": 2.0}


def test_equal_rows_are_printed_once_and_only_shared_worlds_count():
    races = [made_up(m, "g", "c", s, 0.1 * s) for m in ("one", "two") for s in range(3)]
    assert "| one, two |" in table(races)
    assert len(shared(races[:-1])) == 4


def test_the_critical_difference_is_that_of_the_textbook():
    # Demšar (2006), table 5: q of 5 methods at 0.05 is 2.728; his example has 30 data sets
    assert critical_difference(5, 30) == pytest.approx(2.728 * math.sqrt(30 / 180), rel=1e-3)
    assert list(groups_alike([1.0, 1.5, 3.0, 3.2], 1.0)) == [(0, 1), (2, 3)]


def test_agreement_is_one_for_one_order_and_minus_one_for_its_reverse():
    order = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert agreement(order, {**order, "d": 9.0}) == (pytest.approx(1.0), 3)
    assert agreement(order, {k: -v for k, v in order.items()})[0] == pytest.approx(-1.0)


def made_of(methods: dict[str, float], scatter: float) -> list[Race]:
    """Races of two groups, two targets each, three seeds; overheads scatter about a mean."""
    draws = np.random.default_rng(0)
    return [
        made_up(method, group, f"{group}-{case}", seed, mean + scatter * draws.standard_normal())
        for method, mean in methods.items()
        for group in ("one", "two")
        for case in range(2)
        for seed in range(3)
    ]


def test_the_verdict_says_who_is_lowest_and_whether_the_interval_excludes_zero():
    ahead = verdict(made_of({OURS: 0.05, "sobol": 0.10}, 0.001))
    assert "ours has the lowest" in ahead
    assert "excludes zero." in ahead
    assert "12 worlds of 4 targets in 2 groups" in ahead
    behind = verdict(made_of({OURS: 0.10, "sobol": 0.05, "random": 0.2}, 0.001))
    assert "ours is not the lowest: `sobol`" in behind
    assert "+5.0 points" in behind
    assert "does not exclude zero" in verdict(made_of({OURS: 0.05, "sobol": 0.051}, 0.05))


def test_a_rule_fitted_to_a_raced_sweep_is_no_rival_there():
    races = [made_up(m, "steplaw", "case", 0, o) for m, o in ((OURS, 0.1), ("published-step", 0.0))]
    races.append(made_up("sobol", "steplaw", "case", 0, 0.2))
    assert rivals(races) == ["sobol"]
    assert "ours has the lowest" in verdict(races)
    assert "a single group of recipes, so nothing is shown" in verdict(races)


def test_losses_name_the_budgets_at_which_a_rival_is_lower():
    lost = losses(made_of({OURS: 0.10, "sobol": 0.05, "random": 0.2}, 0.001))
    assert lost.startswith("- `sobol`: at 0.2% +5.0")
    assert "random" not in lost
    assert losses(made_of({OURS: 0.01, "sobol": 0.05}, 0.001)).startswith("None")


def test_packed_races_are_read_back(tmp_path):
    line = {"method": OURS, "group": "g", "case": "c", "seed": 1, "spent": 0.0, "final": True}
    packed = tmp_path / "races.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(line).encode()))
    (found,) = load(packed)
    assert (found.method, found.world, found.states) == (OURS, ("g", "c", 1), (line,))
