"""Analysis cards, rendered, with the numbers they ought to show."""

import math

import numpy as np
import pytest

from horizon_bo.ax import horizon_analyses, horizon_recommendation, horizon_study
from horizon_bo.ax.analyses import LearningRateBowl
from tests.ax.loops import ax_client, completed
from tests.studies import TARGET


@pytest.fixture(scope="module")
def client():
    made = ax_client()
    completed(made, 4)
    return made


@pytest.fixture(scope="module")
def cards(client):
    return client.compute_analyses(horizon_analyses(), display=False)


def test_every_card_is_a_plotly_figure_that_renders(cards):
    assert [card.name for card in cards] == [
        "LearningRateBowl",
        "OptimumAgainstHorizon",
        "RegretAgainstSpend",
    ]
    for card in cards:
        figure = card.get_figure()
        assert figure.data
        assert "plotly-graph-div" in figure.to_html(full_html=False, include_plotlyjs=False)


def test_the_bowl_is_lowest_near_the_recommended_rate_and_shows_its_interval(client, cards):
    answer = horizon_recommendation(client)
    frame = cards[0].df
    lowest = frame["learning_rate"][frame["excess"].idxmin()]
    assert answer.interval_90[0] <= lowest <= answer.interval_90[1]
    assert (frame["low"] <= frame["excess"]).all()
    assert (frame["excess"] <= frame["high"]).all()
    assert (frame["low"] >= 0).all()
    figure = cards[0].get_figure()
    band, line = figure.layout.shapes
    assert (band.x0, band.x1) == answer.interval_90
    assert line.x0 == answer.learning_rate
    assert f"Use {answer.learning_rate:.3g}" in cards[0].subtitle


def test_the_best_rate_is_shown_for_every_cell_and_for_the_target(client, cards):
    frame = cards[1].df
    tried = {(t.params, t.tokens) for t in horizon_study(client).trials}
    shown = {(round(p), round(t)) for p, t in zip(frame["params"], frame["tokens"], strict=True)}
    assert shown == {(round(p), round(t)) for p, t in [*tried, (TARGET.params, TARGET.tokens)]}
    last = frame.iloc[-1]
    assert last["target"]
    assert last["flops"] == pytest.approx(TARGET.flops)
    # other draws of the same posterior: the interval agrees to within a fifth of an octave
    low, high = horizon_recommendation(client).interval_90
    assert abs(math.log2(last["low"] / low)) < 0.2
    assert abs(math.log2(last["high"] / high)) < 0.2


def test_regret_against_spend_has_a_point_for_each_suggestion_and_one_for_now(client, cards):
    frame = cards[2].df
    study, answer = horizon_study(client), horizon_recommendation(client)
    prices = [trial.flops / TARGET.flops for trial in study.trials]
    assert np.allclose(frame["spent"], [0.0, *np.cumsum(prices)])
    assert frame["expected_regret"].iloc[-1] == answer.expected_regret
    assert frame["learning_rate"].iloc[-1] == pytest.approx(answer.learning_rate, rel=1e-12)
    assert frame["expected_regret"].iloc[-1] < frame["expected_regret"].iloc[0]
    figure = cards[2].get_figure()
    assert np.allclose(figure.data[0].x, frame["spent"])


def test_before_the_first_trial_the_prior_is_shown():
    bowl, optimum, spend = ax_client().compute_analyses(horizon_analyses(), display=False)
    assert len(bowl.df) > 50
    assert len(optimum.df) == len(spend.df) == 1


def test_a_card_without_an_experiment_says_what_it_needs():
    card = LearningRateBowl().compute_or_error_card()
    assert "needs an experiment" in str(card.blob) + str(card.subtitle) + str(card.df)


def test_none_of_ax_s_own_overview_cards_fails(client):
    cards = [card for group in client.compute_analyses(display=False) for card in group.flatten()]
    assert len(cards) > 5
    assert not [card.name for card in cards if "Error" in type(card).__name__]


def test_cross_validation_forgets_the_trial_it_predicts(client):
    adapter = client._generation_strategy.adapter
    generator = adapter.generator
    trials = [t for t in generator.study.trials if t.status == "completed"]
    known = generator.predict(trials)
    for k, trial in enumerate(trials):
        forgotten = generator.predict([trial], without=frozenset([trial.id]))
        assert float(forgotten[0, 1]) > float(known[k, 1])
