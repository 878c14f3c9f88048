"""Demo: the story it tells is true of the sweep that ships with the package."""

import numpy as np
import pytest

from horizon_bo.adapters.demo import (
    PRIOR_CENTER,
    TARGET,
    demo_regret,
    demo_states,
    demo_truth,
    draw_demo,
    ending,
    opening,
    story_line,
)


def test_the_target_is_interior_and_the_parabola_fits():
    best, rates, losses, parabola = demo_truth()
    assert rates[1] < best < rates[-2]
    assert losses.argmin() not in (0, len(losses) - 1)
    # within a few times the scatter of one seed at this size, about 10 mnat
    assert np.abs(np.polyval(parabola, np.log(rates)) - losses).max() < 0.02
    assert demo_regret(best) == 0.0
    assert demo_regret(PRIOR_CENTER) > 0.03


def test_the_opening_says_what_is_hidden():
    assert f"{TARGET.target_params:,}" in opening()
    assert "never trained here" in opening()


@pytest.mark.slow
def test_the_demo_ends_closer_than_it_began(tmp_path):
    states = list(demo_states())
    bought = [state["run"] for state in states[1:]]
    cell = (TARGET.target_params, TARGET.target_tokens)
    assert all((run["params"], run["tokens"]) != cell for run in bought)
    assert demo_regret(states[-1]["learning_rate"]) < 0.7 * demo_regret(PRIOR_CENTER)
    assert f"run {len(bought)}:" in story_line(states[-1])
    assert f"after {len(bought)} runs" in ending(states[-1])
    draw_demo(states, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"
