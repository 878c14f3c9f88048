"""BatchChoice: each batch gets the rate of its own bowl, and what it costs is the draws' own."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from horizon_bo import Horizon, LoggedRun, Scale, SearchSpace
from horizon_bo.core.batch.choice import (
    BatchDecision,
    Pairs,
    batch_decision,
    best_batch,
    pairs_at,
    settled,
)
from horizon_bo.core.checks.check import proposed
from horizon_bo.core.checks.curves import Curve
from horizon_bo.core.checks.watch import watched
from horizon_bo.core.decision import decide, probability_within
from horizon_bo.core.inference import Belief, believe, placed
from horizon_bo.core.policy import recommend, suggest
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from tests.beliefs import fresh, informed
from tests.studies import SPACE, TARGET, small_study

BATCHES = (65_536.0, 131_072.0, 262_144.0, 524_288.0)


def loss(log_lr: float, params: float, tokens: float, batch: float) -> float:
    """A world whose best batch at the target is 131,072 and grows as the square root of tokens."""
    n, d = math.log(params / TARGET.params), math.log(tokens / TARGET.tokens)
    b = math.log(batch / 131_072)
    optimum = math.log(1.5e-3) - 0.35 * n - 0.1 * d + 0.4 * b
    level = 1.8 + 0.25 * math.exp(-0.32 * n) + 0.25 * math.exp(-0.3 * d)
    return level + 0.04 * (b - 0.5 * d) ** 2 / 2 + 0.05 * (log_lr - optimum) ** 2 / 2


def sweep() -> list[LoggedRun]:
    """Every batch but the largest at two sizes and lengths, four rates each."""
    return [
        LoggedRun(
            learning_rate=rate,
            params=params,
            tokens=tokens,
            batch_tokens=batch,
            loss=loss(math.log(rate), params, tokens, batch),
        )
        for params, tokens in ((6e7, 1e9), (1.2e8, 4e9))
        for batch in BATCHES[:3]
        for rate in (1e-3, 2e-3, 4e-3, 8e-3)
    ]


def opened(target: Horizon) -> Study:
    space = replace(SPACE, batch_tokens=list(BATCHES))
    return import_runs(small_study(target=target, space=space, prior_center=1.5e-3), sweep())


@cache
def open_study() -> tuple[Study, Belief]:
    study = opened(replace(TARGET, batch_tokens=None))
    return study, believe(study)


def found(study: Study, belief: Belief) -> tuple[Pairs, BatchDecision]:
    pairs = pairs_at(study, belief, BATCHES)
    return pairs, batch_decision(study, belief, pairs)


def test_the_best_batch_and_what_others_cost_are_found_from_smaller_runs():
    _, told = found(*open_study())
    assert told.best.batch_tokens == 131_072
    slope = 0.3 * 0.25  # loss that an e-fold of tokens buys
    for choice in told.choices:
        true = 0.04 * math.log(choice.batch_tokens / 131_072) ** 2 / 2
        assert choice.excess_loss == pytest.approx(true, abs=8e-3)
        assert choice.cost == pytest.approx(true / slope, abs=0.1)
        best_rate = 1.5e-3 * (choice.batch_tokens / 131_072) ** 0.4
        assert choice.interval_90[0] < best_rate < choice.interval_90[1]
    assert [choice.runs for choice in told.choices] == [8, 8, 8, 0]


def test_costs_count_from_the_best_pair_and_the_largest_cheap_batch_grows_with_its_bound():
    study, belief = open_study()
    pairs, told = found(study, belief)
    assert min(choice.cost for choice in told.choices) == told.best.cost == 0
    sizes = []
    for most in (1e-9, 0.1, 0.5, 10.0):
        told = batch_decision(study, belief, pairs, most)
        assert told.largest.cost <= most
        sizes.append(told.largest.batch_tokens)
    assert sizes == sorted(sizes)
    assert sizes[0] == told.best.batch_tokens
    assert sizes[-1] == max(BATCHES)


def test_the_regret_of_a_pair_counts_the_wrong_batch_beside_the_wrong_rate():
    pairs, _ = found(*open_study())
    alone = pairs.decisions[pairs.best].expected_regret
    assert pairs.decision.expected_regret >= alone
    only = Pairs(
        batch_tokens=pairs.batch_tokens[pairs.best :][:1],
        log_batch=pairs.log_batch[pairs.best :][:1],
        draws=pairs.draws[pairs.best :][:1],
        decisions=pairs.decisions[pairs.best :][:1],
        loss=pairs.loss[pairs.best :][:1],
    )
    assert only.decision.expected_regret == pytest.approx(alone, rel=1e-9)


def test_the_targets_own_batch_alone_is_the_plain_recommendation():
    study, belief = informed()
    plain = recommend(study, belief)
    asked = recommend(study, belief, batches=[TARGET.batch_tokens or 0.0])
    assert plain.batch_tokens == asked.batch_tokens == TARGET.batch_tokens
    assert plain.batches is None
    # other draws of the target's departures
    assert asked.learning_rate == pytest.approx(plain.learning_rate, rel=0.03)
    study, belief = fresh()
    asked = recommend(study, belief, batches=BATCHES)
    assert asked.batches is not None
    rates = [choice.learning_rate for choice in asked.batches.choices]
    assert rates == sorted(rates)
    own = next(c for c in asked.batches.choices if c.batch_tokens == TARGET.batch_tokens)
    assert own.learning_rate == pytest.approx(math.exp(belief.center.log_lr), rel=1e-12)
    assert any("no two batches have been run" in said for said in asked.warnings)


def test_an_open_batch_is_answered_by_the_best_pair_everywhere():
    study, belief = open_study()
    best = recommend(study, belief)
    assert best.batch_tokens == 131_072
    assert best.batches is not None
    assert best.learning_rate == best.batches.best.learning_rate
    known = settled(study, belief)
    assert math.exp(decide(known).log_lr) == best.learning_rate
    middle = placed(study, study.trials[:1], ()).log_scales[0, 2]
    assert math.exp(middle) == pytest.approx(65_536 / 262_144)


def test_a_check_of_an_open_batch_is_made_at_the_best_one():
    study, belief = open_study()
    space = replace(study.space, scales=[*study.space.scales, Scale(params=2.4e8)])
    runs = proposed(replace(study, space=space), settled(study, belief), 0.1)
    assert {run.batch_tokens for run in runs} == {131_072}


def test_a_large_run_of_an_open_batch_is_watched_at_the_best_one_and_told_so():
    study, belief = open_study()
    curve = Curve(np.arange(1.0, 31.0) * 1e8, np.full((30,), 2.6))
    known = settled(study, belief)
    middle, best = (watched(study, each, curve, 1.5e-3, {}) for each in (belief, known))
    assert "in batches of 131072 tokens, the best of those left open" in best.sentence
    assert (middle.low, middle.high) != (best.low, best.high)
    assert best_batch(study, settled(study, belief)) == 131_072


def test_a_tolerated_regret_counts_the_wrong_batch():
    study, belief = open_study()
    pairs, _ = found(study, belief)
    known = settled(study, belief)
    for tolerance in (1e-4, 1e-3, 1e-2):
        alone = probability_within(known, decide(known).log_lr, tolerance)
        assert pairs.probability_within(tolerance) <= alone
    middling = 1e-3  # where the neighbouring batch may be the better one
    assert pairs.probability_within(middling) < probability_within(
        known, decide(known).log_lr, middling
    )
    assert pairs.probability_within(10.0) == 1
    sure = replace(study, regret_tolerance=5.0)
    assert recommend(sure, known).reason.startswith("the regret is at most 5 with probability 100")


def test_pairs_are_worked_out_once_for_a_belief_and_what_is_asked():
    study, belief = open_study()
    pairs = pairs_at(study, belief, BATCHES)
    assert pairs_at(study, settled(study, belief), list(reversed(BATCHES))) is pairs
    assert pairs_at(study, belief, BATCHES[:2]) is not pairs
    assert pairs_at(study, believe(study), BATCHES) is not pairs


def test_suggestions_for_an_open_batch_cover_several_batches_and_are_repeatable():
    study = small_study(
        target=replace(TARGET, batch_tokens=None),
        space=replace(SPACE, batch_tokens=list(BATCHES[:3])),
        prior_center=1.5e-3,
    )
    runs = suggest(study, believe(study), 9)
    assert runs == suggest(study, believe(study), 9)
    assert len({run.batch_tokens for run in runs}) > 1


def test_one_batch_on_offer_leaves_nothing_open():
    only = SearchSpace(
        learning_rate=SPACE.learning_rate,
        scales=SPACE.scales,
        tokens=SPACE.tokens,
        batch_tokens=[262_144],
    )
    given = {"space": only, "prior_center": 1.5e-3}
    without = small_study(target=replace(TARGET, batch_tokens=None), **given)
    same = suggest(small_study(**given), believe(small_study(**given)), 2)
    assert suggest(without, believe(without), 2) == same
