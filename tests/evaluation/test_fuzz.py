"""Fuzz: are any cases problems or one clear line?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import HorizonBOError
from horizon_bo.evaluation.cases import load_cases, problem_on
from tests.fuzzing import damaged, fuzzed, refused_or, spoilt
from tests.studies import logged

CASE = {
    "name": "a",
    "sweep": "s.csv",
    "target_params": 6e7,
    "target_tokens": 1e9,
    "batch_tokens": 262_144,
    "pool_batch": "any",
    "max_run_cost": 0.5,
    "recipe": None,
    "optimizer": "adamw",
    "experts": False,
    "truth": {"loss": 3.0},
}
RUNS = [logged(), logged(params=1.2e8), logged(learning_rate=1e-3, params=3e7, batch_tokens=1e5)]


@fuzzed("cases.json")
@given(data=st.data())
def test_any_cases_are_problems_or_one_clear_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "cases.json"
    text = json.dumps(spoilt(data.draw, [CASE, CASE])).encode()
    path.write_bytes(damaged(data.draw, text) if data.draw(st.integers(0, 3)) == 0 else text)
    for case in refused_or(lambda: load_cases(path)) or ():
        refused_or(lambda case=case: problem_on(case, RUNS))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_tokens", {}),
        ("sweep", 3),
        ("recipe", [1]),
        ("recipe", 5),
        ("truth", 1),
        ("name", []),
    ],
)
def test_a_field_of_a_case_that_is_of_another_kind_is_named(tmp_path, field, value):
    (tmp_path / "cases.json").write_text(json.dumps([{**CASE, field: value}]))
    with pytest.raises(
        HorizonBOError, match=f"{field} of case .* expected|cannot be read as cases"
    ):
        load_cases(tmp_path / "cases.json")
