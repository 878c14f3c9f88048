"""Evidence travels as plain values, says where it comes from, and refuses what it cannot read."""

import json

import numpy as np
import pytest

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.evidence import (
    evidence_from,
    evidence_record,
    shipped,
    usable,
)
from tests.evidences import told


def test_evidence_written_and_read_is_the_same():
    evidence = (
        told("one", {"log_cliff": 1.5, "asymmetry": 0.25}),
        told("two", {"log_curvature": -4}),
    )
    assert evidence_from(json.loads(json.dumps(evidence_record(evidence))), "it") == evidence


@pytest.mark.parametrize(("key", "value"), [("format", 3), ("unit", "nats"), ("coefficients", [])])
def test_a_file_of_another_kind_is_refused_in_one_line(key, value):
    record = evidence_record([told("one", {"log_cliff": 1.5})]) | {key: value}
    with pytest.raises(InvalidSpaceError, match=f"{key} of ours.json is .* expected"):
        evidence_from(record, "ours.json")


def test_a_recipe_without_its_matrix_is_refused_in_one_line():
    record = evidence_record([told("one", {"log_cliff": 1.5})])
    del record["recipes"][0]["precision"]
    with pytest.raises(InvalidSpaceError, match="cannot be read"):
        evidence_from(record, "ours.json")


def test_a_file_of_the_format_before_is_read_with_the_ln_of_its_cliffs():
    record = evidence_record([told("one", {"log_cliff": 2.0, "asymmetry": 0.25}, sd=0.1)])
    names = [*record["coefficients"][:-1], "cliff"]  # two e-folds above the optimum, give or take
    old = json.loads(json.dumps(record)) | {"format": 1, "coefficients": names}
    (read,) = evidence_from(old, "ours.json")
    precision, score = np.array(read.precision), np.array(read.score)
    assert score[-1] / precision[-1, -1] == pytest.approx(np.log(2.0))
    assert precision[-1, -1] ** -0.5 == pytest.approx(0.1 / 2)  # d ln c = dc / c
    asymmetry = names.index("asymmetry")
    assert score[asymmetry] / precision[asymmetry, asymmetry] == pytest.approx(0.25)
    del old["recipes"][0]["score"]
    with pytest.raises(InvalidSpaceError, match="cannot be read"):
        evidence_from(old, "ours.json")


def test_shipped_recipes_say_where_they_come_from_and_never_less_than_nothing():
    names = [each.name for each in shipped()]
    assert len(set(names)) == len(names) >= 20
    for each in shipped():
        assert each.source
        assert each.data
        # five digits are kept, so an eigenvalue may be off by that share of the largest
        values = np.linalg.eigvalsh(np.array(each.precision))
        assert values.min() >= -1e-4 * values.max()


def test_both_steplaw_sweeps_are_refused_to_a_study_on_either():
    for data in ("steplaw_dense", "steplaw_moe"):
        groups = {each.group for each in usable(shipped(), [data])}
        assert "steplaw" not in groups
        assert {"fantastic", "stdlib", "misfitting"} <= groups
