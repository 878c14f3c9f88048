"""Paradigms: laws find what follows them, rules carry what does not move, each run is made once."""

import json
import math

import pytest

from benchmarks.measurements.paradigms import known, trained
from benchmarks.problems.paradigm_runs import FULL, SMOKE, Stack, plan, targets
from benchmarks.report.paradigms import Score, truth, whole, words
from benchmarks.rivals.paradigms import (
    PARADIGMS,
    fitting,
    fitting_losses,
    transfer_all,
    transfer_long,
    transfer_same,
)

TARGET = targets(FULL)[0]
#: Of the best rate under the standard parametrization, in parameters and in steps.
PER_PARAM, PER_STEP = -0.4, -0.2
UNDER_RULES = -7.3


def optimum(stack: Stack, steps: int) -> float:
    """A law's best rate, log₂; rules keep it where it is but for length."""
    if stack.model.parametrization == "mup" or stack.name == TARGET.proxy.name:
        return UNDER_RULES
    params, longer = stack.model.params / 1e5, steps / 1000
    return -7.0 + PER_PARAM * math.log2(params) + PER_STEP * math.log2(longer)


def lines(best) -> dict:
    """Bowls about a law's best rates on all of the plan, the same for every seed."""
    found = {}
    for stack in plan(FULL):
        losses = {
            str(steps): [
                [1.5 + 0.01 * (rate - best(stack, steps)) ** 2] * len(stack.seeds)
                for rate in stack.log2_rates
            ]
            for steps in stack.steps
        }
        found[stack.name] = {
            "losses": losses, "seeds": stack.seeds, "log2_rates": stack.log2_rates
        }  # fmt: skip
    return found


def law(stack: Stack, steps: int) -> float:
    """The law, proxies of it too."""
    params, longer = stack.model.params / 1e5, steps / 1000
    return -7.0 + PER_PARAM * math.log2(params) + PER_STEP * math.log2(longer)


def test_fitting_finds_the_rate_of_a_law_and_pays_all_that_it_was_fitted_to():
    answer = fitting(TARGET, 0, lines(law))
    assert answer.log2_rate == pytest.approx(law(TARGET.truth("standard"), TARGET.steps))
    alone = sum(stack.flops((steps,)) for stack in TARGET.ladder for steps in FULL.steps)
    assert 0.5 * alone < answer.flops / 4 < alone  # lengths share a trunk


def test_fitting_through_losses_finds_the_rate_where_it_does_not_move_with_length():
    still = lambda stack, _: law(stack, 1000)  # noqa: E731
    answer = fitting_losses(TARGET, 0, lines(still))
    assert answer.log2_rate == pytest.approx(law(TARGET.truth("standard"), 1000))


def test_transfer_keeps_the_proxy_s_rate_and_its_rule_for_length_takes_a_root():
    found = lines(optimum)
    assert transfer_long(TARGET, 0, found).log2_rate == pytest.approx(UNDER_RULES)
    assert transfer_same(TARGET, 0, found).log2_rate == pytest.approx(UNDER_RULES)
    root = -0.5 * math.log2(TARGET.steps / TARGET.middle)
    assert transfer_all(TARGET, 0, found).log2_rate == pytest.approx(UNDER_RULES + root)


def test_nobody_may_spend_more_than_fitting():
    found = lines(optimum)
    for target in targets(FULL):
        most = fitting(target, 0, found).flops
        for paradigm in (transfer_long, transfer_all, transfer_same):
            assert 0.5 * most < paradigm(target, 0, found).flops <= most


def test_a_target_s_own_grid_says_what_an_answer_loses():
    stack = TARGET.truth("standard")
    own = truth(lines(law), stack)
    best = law(stack, TARGET.steps)
    assert own.optimum == pytest.approx(best, abs=0.02)
    assert own.regret(best + 1) == pytest.approx(0.01, rel=0.05)
    assert own.noise == pytest.approx(0, abs=1e-12)


def test_the_first_half_of_the_plan_is_two_whole_targets_and_every_model_is_there_once():
    names = [stack.name for stack in plan(FULL)]
    assert len(set(names)) == len(names) == 15
    half = {name: {} for name in names[:11]}
    assert [whole(target, half) for target in targets(FULL)] == [True, True, False, False]


def test_a_stack_is_trained_for_real_and_read_back_unless_its_line_was_cut_off(tmp_path):
    stack = min(plan(SMOKE), key=lambda stack: stack.model.params * max(stack.steps))
    line = json.dumps(trained(stack, "cpu", eager=False))
    path = tmp_path / "runs.jsonl"
    path.write_text(line + "\n" + line[:100])
    held = known(path, SMOKE)
    assert list(held) == [stack.name]
    assert not known(path, FULL)
    shortest, *_, longest = (held[stack.name]["losses"][str(steps)] for steps in stack.steps)
    assert len(longest) == len(stack.log2_rates)
    lowest = lambda rows: min(loss for row in rows for loss in row if loss is not None)  # noqa: E731
    assert lowest(longest) < lowest(shortest) < math.log(256)


def test_where_each_fails_is_said_in_words():
    """Every paradigm is right but the first, which names rates two octaves low at one target."""
    wrong = targets(FULL)[1]
    scores = [
        Score(name, target, seed, 0.04, -2.0, 0.05, 0.3)
        if name == "fitting" and target == wrong
        else Score(name, target, seed, 0.001, 0.1, 0.002, 0.3)
        for name in PARADIGMS
        for target in targets(FULL)
        for seed in range(3)
    ]
    said = words(scores)
    worst = f"`fitting` loses more than 10 mnat in 3 of 12, most at {wrong.name}: 40 mnat, 2.0 oct"
    assert f"{worst}aves too low." in said
    assert said.count("nowhere") == len(PARADIGMS) - 1
