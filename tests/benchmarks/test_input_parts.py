"""Parts of sweeps that vary a number of the recipe: what is hidden, and what tells of it."""

import pytest

from benchmarks.measurements.inputs import told
from benchmarks.problems.input_parts import FEWEST_RATES, SHIPPED, VARYING, VaryingInput, parts

OURS = [varying for varying in VARYING if varying.sweep == SHIPPED]


@pytest.mark.parametrize("varying", OURS, ids=lambda varying: varying.name)
def test_a_part_hides_one_setting_of_a_cell_and_shows_the_others(varying: VaryingInput):
    found = list(parts(varying))
    assert found
    for part in found:
        (setting,) = {run.source for run in part.hidden}
        (place,) = {(run.params, run.tokens) for run in part.hidden}
        assert len({run.learning_rate for run in part.hidden}) >= FEWEST_RATES
        beside = {run.source for run in part.seen if (run.params, run.tokens) == place}
        assert beside
        assert setting not in beside
        assert setting in {run.source for run in part.seen}


def test_a_setting_is_told_as_an_input_as_nothing_or_as_a_recipe():
    part = next(parts(OURS[0]))
    own, other = part.hidden[0], next(r for r in part.seen if r.source != part.hidden[0].source)
    as_input = told(other, "input", own.source)
    assert (as_input.inputs, as_input.source) == (other.inputs, None)
    as_equal = told(other, "as equal", own.source)
    assert (as_equal.inputs, as_equal.source) == ({}, None)
    as_recipe = told(other, "as recipes", own.source)
    assert (as_recipe.inputs, as_recipe.source) == ({}, other.source)
    assert told(own, "as recipes", own.source).source is None
