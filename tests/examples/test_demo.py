"""Demo: it tells what really happened, and a small one runs from the guess to the check."""

import math
from dataclasses import replace

import numpy as np
import pytest

from horizon_bo.core.policy import Recommendation
from horizon_bo.examples import demo
from horizon_bo.examples.demo import (
    PRIOR_CENTER,
    Story,
    check_target,
    demo_tuner,
    draw_demo,
    ending,
    opening,
    target_config,
    tune,
)
from horizon_bo.runs.plan import RunReport
from horizon_bo.training.config import ModelConfig
from tests.studies import pending_trial

BEST = Recommendation(
    learning_rate=6e-3,
    interval_50=(5e-3, 8e-3),
    interval_90=(3e-3, 1e-2),
    expected_regret=0.01,
    predicted_loss=1.8,
    expected_overhead=0.3,
    divergence_probability=0.01,
    spent=2e11,
    value_of_next_run=0.0,
    stop=True,
    reason="enough is known",
    warnings=(),
)


def story(best_rate: float = 8e-3, curvature: float = 0.05) -> Story:
    """A story whose target's losses lie on a parabola."""
    rates = [6e-3 * 2.0**k for k in (0, -1, 1, -2, 2)]
    checked = tuple((r, 1.7 + curvature * math.log(r / best_rate) ** 2) for r in rates)
    first = replace(BEST, learning_rate=PRIOR_CENTER, spent=0.0)
    trials = tuple(
        replace(pending_trial(k).completed(2.0 + k), params=6e3 * k + 5e3) for k in range(3)
    )
    report = RunReport(
        recommendation=BEST, observed=(0, 1, 2), reason="enough is known", target=None
    )
    return Story(report, trials, ((0.0, first), (0.25, BEST)), checked, 8e11)


def test_the_best_rate_and_the_regret_are_the_parabolas():
    told = story()
    assert told.best_rate == pytest.approx(8e-3)
    assert told.regret(8e-3) == pytest.approx(0.0, abs=1e-12)
    assert told.regret(6e-3) == pytest.approx(0.05 * math.log(6 / 8) ** 2)
    # a best rate beyond those trained is not made up
    assert story(best_rate=1.0).best_rate == pytest.approx(24e-3)
    assert story(curvature=-0.05).best_rate in [rate for rate, _ in story().checked]


def test_the_last_words_say_what_the_numbers_say():
    said = ending(story())
    assert "after 3 runs, 25% of a target run: enough is known" in said
    assert "the best rate by a parabola through them is 8.00e-03: the interval holds it" in said
    assert f"loses {1e3 * 0.05 * math.log(6 / 8) ** 2:.0f} mnat" in said
    assert f"would have lost {1e3 * 0.05 * math.log(PRIOR_CENTER / 8e-3) ** 2:.0f}" in said
    assert "misses" in ending(story(best_rate=2e-2))


def test_the_figure_shows_belief_and_losses(tmp_path, drawn):
    draw_demo(story(), tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"
    shown = [
        np.ravel(part)
        for ax in drawn["demo.png"].axes
        for line in ax.lines
        for part in (line.get_xdata(), line.get_ydata())
    ]
    shown += [np.ravel(c.get_offsets()) for ax in drawn["demo.png"].axes for c in ax.collections]
    everything = np.concatenate([np.asarray(part, dtype=float) for part in shown])
    for rate, loss in story().checked:  # every rate that the target was trained at, and its loss
        assert np.isclose(everything, rate).any()
        assert np.isclose(everything, loss).any()


def test_small_runs_are_smaller_than_the_target_and_at_most_half_as_long(tmp_path):
    tuner = demo_tuner(tmp_path)
    target = tuner.study.target
    assert "97,280 parameters on 1,000,448 bytes" in opening(tuner)
    assert all(scale.params < target.params for scale in tuner.study.space.scales)
    assert tuner.study.space.tokens[1] <= target.tokens / 2
    config = target_config(tuner.study, [0.01, 0.02])
    assert config.model == ModelConfig(width=64, depth=2, base_width=64, base_depth=2)
    assert (config.learning_rates, config.tokens) == ((0.01, 0.02), 1_000_448)
    assert len(set(config.seeds)) == 1
    assert demo_tuner(tmp_path).study == tuner.study


@pytest.mark.slow
def test_a_small_demo_runs_from_the_guess_to_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TARGET_SHAPE", "48x2")
    monkeypatch.setattr(demo, "TARGET_TOKENS", 40_960)
    monkeypatch.setattr(demo, "SHAPES", ("16x2", "32x2"))
    monkeypatch.setattr(demo, "TOKENS", (8_192.0, 16_384.0))
    monkeypatch.setattr(demo, "BUDGET", 0.1)
    tuner = demo_tuner(tmp_path)
    before = tuner.recommend().learning_rate  # the guess, held together with what laws say
    assert PRIOR_CENTER < before < 4 * PRIOR_CENTER
    seen = []
    report, beliefs = tune(tuner, tmp_path, 2, lambda state, event: seen.append(event))
    assert report.observed
    assert {trial.status for trial in tuner.study.trials} == {"completed"}
    assert beliefs[0][1].learning_rate == pytest.approx(before)
    spends = [spend for spend, _ in beliefs]
    assert spends == sorted(spends)
    assert spends[-1] <= demo.BUDGET * (1 + 1e-9)
    shares = []
    told = lambda progress: shares.append(progress["tokens"] / progress["of"])  # noqa: E731
    checked = check_target(tuner.study, report.recommendation.learning_rate, tmp_path / "t", told)
    assert shares[-1] == pytest.approx(1.0)
    rates = np.array([rate for rate, _ in checked])
    assert np.log2(rates / rates[0]) == pytest.approx([0, -1, 1, -2, 2])
    # forty steps teach a model of any of these rates more than the small runs learned
    assert min(loss for _, loss in checked) < min(t.loss for t in tuner.study.trials if t.loss)
