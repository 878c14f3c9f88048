"""Analysis cards, rendered, with the numbers they ought to show."""

import json
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


def test_the_bowl_is_lowest_at_the_recommended_rate_and_shows_its_interval(client, cards):
    answer, frame, figure = horizon_recommendation(client), cards[0].df, cards[0].get_figure()
    (here,) = np.flatnonzero(frame["learning_rate"] == answer.learning_rate)
    assert frame["expected_regret"][here] == pytest.approx(answer.expected_regret, rel=1e-9)
    # rates between the points of the recommendation's own grid may win by a hair
    assert frame["expected_regret"].min() > 0.999 * answer.expected_regret
    assert (frame["low"] <= frame["median"]).all()
    assert (frame["median"] <= frame["high"]).all()
    assert (frame["low"] >= 0).all()
    inner = figure.layout.shapes[0]
    assert (inner.x0, inner.x1) == answer.interval_90
    (mark,) = [trace for trace in figure.data if trace.name == "recommended"]
    assert (mark.x, mark.y) == ((answer.learning_rate,), (answer.expected_regret,))
    assert f"Use {answer.learning_rate:.3g}" in cards[0].subtitle


def test_the_best_rate_passes_through_the_target_with_every_run_on_it(client, cards):
    frame, figure = cards[1].df, cards[1].get_figure()
    (here,) = np.flatnonzero(np.isclose(frame["at"], TARGET.tokens))
    # other draws of the same posterior: the interval agrees to within a fifth of an octave
    low, high = horizon_recommendation(client).interval_90
    assert abs(math.log2(frame["low"][here] / low)) < 0.2
    assert abs(math.log2(frame["high"][here] / high)) < 0.2
    runs = [trace for trace in figure.data if trace.hovertext and trace.name != "recommended"]
    assert sum(len(trace.x) for trace in runs) == len(horizon_study(client).trials)


def test_regret_against_spend_starts_at_the_prior_and_ends_at_the_recommendation(client, cards):
    frame, figure = cards[2].df, cards[2].get_figure()
    study, answer = horizon_study(client), horizon_recommendation(client)
    prior = horizon_recommendation(ax_client())
    assert frame["spent"].iloc[-1] == pytest.approx(study.spent / TARGET.flops)
    assert frame["expected_regret"].iloc[[0, -1]].tolist() == [
        prior.expected_regret,
        answer.expected_regret,
    ]
    assert frame["learning_rate"].iloc[-1] == pytest.approx(answer.learning_rate, rel=1e-12)
    np.testing.assert_allclose(figure.data[0].y, frame["expected_regret"], rtol=1e-4)


def test_cards_are_drawn_in_the_page_s_light_colours(cards):
    drawn = json.dumps([card.get_figure().to_plotly_json() for card in cards], default=list)
    assert "#0072b2" in drawn
    assert "$" not in drawn


def test_before_the_first_trial_the_prior_is_shown():
    bowl, optimum, spend = ax_client().compute_analyses(horizon_analyses(), display=False)
    assert len(bowl.df) > 50
    assert len(optimum.df) > 10
    assert len(spend.df) == 1


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
