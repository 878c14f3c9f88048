"""Standings: which state counts, how methods are compared, and what found means."""

import gzip
import json
import math

import numpy as np
import pytest

from benchmarks.report.page import between_marks
from benchmarks.report.standings import (
    SHARED,
    Replay,
    at_centers,
    by_cell,
    holm,
    load,
    paired,
    results,
    spend_until_found,
    together,
    twice,
)
from benchmarks.report.standings_tables import (
    detail_table,
    found_table,
    overhead_table,
    paired_table,
    regret_table,
    short_table,
)
from benchmarks.report.writing import filled
from horizon_bo.evaluation.cases import Case

#: Regret of 1 mnat per octave of rate; a thousandth of the loss is two octaves.
TRUTH = {
    "learning_rate": [2.0**-10, 2.0**-6, 2.0**-2],
    "excess": [4e-3, 0.0, 4e-3],
    "optimum": 2.0**-6,
    "minimum": 2.0,
    "loss_per_log_tokens": 0.1,
}
CASES = {
    f"same-{n}M": Case(
        name=f"same-{n}M", sweep="", target_params=n * 1e6, target_tokens=1e9, truth=TRUTH
    )
    for n in (1, 2, 3)
}


def state(step: int, spent: float, octaves: float, **changes) -> dict:
    given = {
        "step": step,
        "spent": spent,
        "learning_rate": 2.0 ** (-6 + octaves),
        "interval_50": None,
        "interval_90": None,
        "expected_regret": None,
        "readout": 2.0**-6,
        "target_params": 1e6,
        "target_tokens": 1e9,
        "wall_s": 1.0,
        "peak_mib": 100,
        "stop": False,
        "final": False,
        "versions": {},
    }
    return {**given, **changes}


def replay_of(method: str, *states: dict, **changes) -> Replay:
    given = {
        "experiment": "main",
        "method": method,
        "case": "same-1M",
        "center": 1e-3,
        "seed": 0,
        "budget": 0.1,
    }
    return Replay(**{**given, **changes}, states=states)


def test_a_budget_is_scored_on_the_replay_that_was_told_it():
    told_5 = replay_of("a", state(0, 0.0, 4), state(1, 0.05, 1), budget=0.05)
    told_10 = replay_of("a", state(0, 0.0, 4), state(1, 0.04, 2), state(2, 0.1, 0))
    at = {
        b: results([told_5, told_10], CASES, b)[0].outcome.regret for b in (0.02, 0.05, 0.07, 0.1)
    }
    assert at == pytest.approx({0.02: 4e-3, 0.05: 1e-3, 0.07: 2e-3, 0.1: 0.0}, abs=1e-12)


def test_a_replay_never_counts_at_a_budget_above_its_own():
    assert results([replay_of("a", state(0, 0.0, 4), budget=0.05)], CASES, 0.1) == []


def test_a_replay_that_failed_before_it_spoke_stands_by_its_guess():
    broken = replay_of("a", center=2.0**-5, error="no kernel")
    (result,) = results([broken], CASES, 0.1)
    assert result.outcome.regret == pytest.approx(1e-3)
    assert result.outcome.spent == 0


def test_the_shared_read_out_claims_no_interval():
    first = state(0, 0.0, 2, interval_90=[1e-3, 1e-2], stop=True)
    native = replay_of("a", first, state(1, 0.1, 2))
    as_it_was, read = twice([native])
    assert as_it_was is native
    assert read.method == "a" + SHARED
    assert read.states[0]["learning_rate"] == 2.0**-6
    assert read.states[0]["interval_90"] is None
    assert not read.states[0]["stop"]


def test_where_nothing_was_run_there_is_nothing_to_read():
    assert len(list(twice([replay_of("a", state(0, 0.0, 2))]))) == 1


def test_a_method_without_a_guess_counts_under_each_and_answers_it_before_its_first_run():
    blind = replay_of("a", state(0, 0.0, 4, guess=2.0**-2), state(1, 0.1, 1), center=None)
    others = [replay_of("b", center=1e-3), replay_of("b", center=2e-3)]
    elsewhere = replay_of("b", center=3e-3, case="same-2M")
    spread = [r for r in at_centers([blind, *others, elsewhere]) if r.method == "a"]
    assert [r.center for r in spread] == [1e-3, 2e-3]
    assert [r.states[0]["learning_rate"] for r in spread] == [1e-3, 2e-3]
    assert all(r.states[1] == blind.states[1] for r in spread)


def test_a_law_without_a_guess_keeps_its_own_answer_under_each_centre():
    law = replay_of("a", state(0, 0.0, 4, guess=1e-3), center=None)
    spread = list(at_centers([law, replay_of("b", center=1e-3), replay_of("b", center=2e-3)]))
    assert [r.states for r in spread if r.method == "a"] == [law.states] * 2


def test_found_is_where_the_regret_comes_to_stay():
    leaves = replay_of(
        "a", state(0, 0.0, 1), state(1, 0.02, 3), state(2, 0.04, 2), state(3, 0.06, 1)
    )
    assert spend_until_found(leaves, CASES["same-1M"]) == 0.04
    lost = replay_of("a", state(0, 0.0, 0), state(1, 0.02, 3))
    assert spend_until_found(lost, CASES["same-1M"]) == math.inf


def test_pairs_are_cases_whatever_the_number_of_centres():
    ours = [replay_of("a", state(0, 0, 0), center=c) for c in (1e-3, 2e-3)]
    theirs = [replay_of("b", state(0, 0, o), center=c) for c, o in ((1e-3, 1), (2e-3, 3))]
    mean, (low, high), p = paired(results(ours, CASES, 0.1), results(theirs, CASES, 0.1))
    assert mean == low == high == pytest.approx(2e-3 / 0.1)
    assert p == 1.0  # one pair can never be significant


def test_cells_not_replays_make_an_interval_wide():
    outcomes = [
        r.outcome
        for n in (1, 2)
        for r in results(
            [
                replay_of("a", state(0, 0, o, target_params=n * 1e6), center=c)
                for c, o in ((1e-3, n), (2e-3, n))
            ],
            CASES,
            0.1,
        )
    ]
    assert by_cell(outcomes, [o.regret for o in outcomes]) == pytest.approx((1e-3, 2e-3))
    assert by_cell(outcomes[:2], [1.0, 3.0]) == (2.0, 2.0)


def test_holm_multiplies_the_smallest_p_by_the_number_of_comparisons():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_files_are_read_plain_or_packed(tmp_path):
    line = {
        "method": "a",
        "case": "same-1M",
        "prior_center": 1e-3,
        "seed": 0,
        "budget": 0.1,
        **state(0, 0, 0, final=True),
    }
    text = json.dumps(line) + "\n"
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    (plain / "quarter-0.1").mkdir(parents=True)
    (plain / "quarter-0.1" / "a.jsonl").write_text(text)
    packed.mkdir()
    (packed / "quarter-0.1.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (first,), (second,) = load(plain), load(packed)
    assert first == second
    assert (first.experiment, first.budget) == ("quarter", 0.1)


def test_a_replay_under_way_does_not_count(tmp_path):
    line = {
        "method": "a",
        "case": "same-1M",
        "prior_center": 1e-3,
        "seed": 0,
        "budget": 0.1,
        **state(0, 0, 0),
    }
    (tmp_path / "main-0.1").mkdir()
    (tmp_path / "main-0.1" / "a.jsonl").write_text(json.dumps(line) + "\n")
    assert load(tmp_path) == []


def test_tables_show_the_figures_of_the_lines():
    replays = [
        replay_of("horizon", state(0, 0, 4), state(1, 0.02, 1, stop=True), state(2, 0.1, 0)),
        replay_of("zero", state(0, 0, 4)),
    ]
    regrets = regret_table(replays, CASES, (0.02, 0.1)).splitlines()
    assert regrets[2] == "| **horizon** | 1 | 0 | 1.0 (1.0 … 1.0) | 0.0 (0.0 … 0.0) |"
    overheads = overhead_table(replays, CASES, (0.02,)).splitlines()
    assert overheads[2].endswith("| 3.0% (3.0% … 3.0%) | 3.0% (3.0% … 3.0%) |")
    assert "| zero | +1.0% (+1.0% … +1.0%) |" in paired_table(replays, CASES)
    assert short_table(replays, CASES).splitlines()[2] == "| **horizon** | 1.0 | 1.0 | 0.0 | 3.0% |"


def test_methods_with_one_set_of_answers_are_one_row_with_all_their_names():
    ours = replay_of("horizon", state(0, 0, 0))
    same = [
        replay_of(name, state(0, 0, 4), state(1, 0.02, 2), state(2, 0.1, 1 + 1e-9 * k))
        for k, name in enumerate(("a-gp", "b-tpe"))
    ]
    dearer = replay_of("c", state(0, 0, 4), state(1, 0.03, 2), state(2, 0.1, 1))
    replays = [ours, *same, dearer]
    for table in (
        regret_table(replays, CASES, (0.02, 0.1)),
        overhead_table(replays, CASES, (0.02, 0.1)),
        short_table(replays, CASES),
        found_table(replays, CASES),
    ):
        names = [line.split(" | ")[0].strip("| *") for line in table.splitlines()[2:]]
        assert sorted(names) == ["a-gp, b-tpe", "c", "horizon"]
    # at the end of a tenth of a target run all three have one answer
    assert "| a-gp, c, b-tpe | +" in paired_table(replays, CASES)
    detail = detail_table(replays, CASES, 0.1).splitlines()[-1]
    assert detail.startswith("| a-gp, c, b-tpe |")
    assert detail.endswith("| 1 / 1 / 1 | 100 / 100 / 100 |")


def test_one_failed_or_lost_replay_more_makes_another_row():
    both = [replay_of(n, state(0, 0, 1), center=c) for n in "ab" for c in (1e-3, 2e-3)]
    ours = [replay_of("horizon", state(0, 0, 0), center=c) for c in (1e-3, 2e-3)]
    assert "| a, b | 2 | 0 |" in regret_table([*both, *ours], CASES, (0.1,))
    failed = [*both[:3], replay_of("b", state(0, 0, 1), center=2e-3, error="no kernel")]
    for replays in (failed, both[:3]):
        lines = regret_table([*replays, *ours], CASES, (0.1,)).splitlines()
        assert [line.split(" | ")[0] for line in lines[2:]] == ["| **horizon**", "| a", "| b"]


def test_a_read_out_that_methods_share_is_named_once():
    assert together(["a + law", "b + law"]) == "a, b + law"
    assert together(["a + law", "b"]) == "a + law, b"


def test_the_short_table_has_the_best_of_each_family():
    ours = replay_of("horizon", state(0, 0, 0))
    rivals = [
        replay_of(name, state(0, 0, k / 4))
        for k, name in enumerate(
            ("horizon-random", "no-drift + law", "grid-a", "grid-b", "a-gp", "zero", "d"), 1
        )
    ]
    lines = short_table([ours, *rivals], CASES).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| **horizon**",
        "| grid-a",
        "| a-gp",
        "| d",
    ]


def test_a_page_takes_each_part_and_keeps_what_stands_around_marks():
    assert filled("a {{x}} c", {"x": "b\n"}) == "a b c"
    with pytest.raises(KeyError):
        filled("{{unknown}}", {})
    text = "before\n<!-- t -->\nold\n<!-- /t -->\nafter\n"
    assert between_marks(text, "t", "new") == "before\n<!-- t -->\nnew\n<!-- /t -->\nafter\n"


def test_a_resampled_mean_lies_in_its_interval():
    rng = np.random.default_rng(0)
    outcomes = [
        result.outcome
        for n in (1, 2, 3)
        for result in results([replay_of("a", state(0, 0, 1, target_params=n * 1e6))], CASES, 0.1)
    ]
    values = rng.normal(size=3)
    low, high = by_cell(outcomes, values.tolist())
    assert low <= values.mean() <= high
