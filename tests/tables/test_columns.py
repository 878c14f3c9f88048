"""Columns of somebody's table: mapped, multiplied, spread, or found behind a tracker's word."""

import json
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import LoggedRun
from horizon_bo.errors import InvalidTableError
from horizon_bo.study.inputs import INPUTS
from horizon_bo.tables.columns import COLUMNS, ours
from horizon_bo.tables.logged import logged_table

#: What the W&B web UI exports: config and summary side by side, under names of the user's own.
WANDB = pd.DataFrame(
    {
        "Name": ["bright-sun-1", "calm-sea-2", "wild-wind-3"],
        "State": ["finished", "finished", "finished"],
        "optim.lr": [1e-3, 2e-3, 4e-3],
        "n_params": [60.0] * 3,
        "batch_size": [128, 128, 256],
        "steps": [2000, 2000, 1000],
        "val/loss": [3.1, 3.0, 3.05],
    }
)
MAPPING = {
    "learning_rate": "optim.lr",
    "params": "n_params*1e6",
    "batch_tokens": "batch_size*2048",
    "tokens": "steps*batch_tokens",
    "loss": "val/loss",
}


def test_a_wandb_export_is_read_through_a_mapping(tmp_path):
    WANDB.to_csv(tmp_path / "export.csv", index=False)
    table = logged_table(tmp_path / "export.csv", columns=MAPPING)
    assert table.runs[2] == LoggedRun(
        learning_rate=4e-3,
        params=6e7,
        batch_tokens=256 * 2048,
        tokens=1000 * 256 * 2048,
        loss=3.05,
    )
    assert table.remarks == ()


def test_a_number_fills_a_column():
    mapping = MAPPING | {"batch_tokens": "524288"}
    runs = logged_table(WANDB, columns=mapping).runs
    assert [run.batch_tokens for run in runs] == [524_288] * 3
    assert [run.tokens for run in runs] == [2000 * 524_288, 2000 * 524_288, 1000 * 524_288]


@given(st.lists(st.floats(min_value=1e-3, max_value=1e6), min_size=1, max_size=4))
def test_a_product_does_not_depend_on_the_order_of_its_factors(factors):
    frame = pd.DataFrame(
        {"learning_rate": [1e-3], "params": 1.0, "loss": 3.0}
        | {f"f{k}": [factor] for k, factor in enumerate(factors)}
    )
    names = [f"f{k}" for k in range(len(factors))]
    for text in ("*".join(names), " * ".join(reversed(names))):
        found = ours(frame, {"tokens": text}, "t").frame["tokens"].tolist()
        assert math.isclose(found[0], math.prod(factors), rel_tol=1e-12)


def test_a_column_may_be_defined_by_itself():
    frame = WANDB.rename(columns={"steps": "tokens"})
    mapping = MAPPING | {"tokens": "tokens*batch_tokens"}
    assert logged_table(frame, columns=mapping).runs[0].tokens == 2000 * 128 * 2048


def test_a_column_of_that_very_name_is_meant_before_a_product():
    frame = WANDB.rename(columns={"steps": "steps*2"})
    mapping = MAPPING | {"tokens": "steps*2"}
    assert logged_table(frame, columns=mapping).runs[0].tokens == 2000


API_RUNS = [
    {
        "name": "bright-sun-1",
        "state": "finished",
        "config": {"optim": {"lr": 1e-3}, "params": 6e7, "tokens": 1e9},
        "summary": {"loss": 3.1, "_step": 2000},
    },
    {
        "name": "wild-wind-3",
        "state": "crashed",
        "config": {"optim": {"lr": 2e-2}, "params": 6e7, "tokens": 1e9},
        "summary": {"loss": math.nan, "_step": 150},
    },
]


@pytest.mark.parametrize("written", ["script's csv", "json list", "json columns", "mappings"])
def test_config_and_summary_of_wandbs_interface_are_spread(tmp_path, written):
    frame = pd.DataFrame(API_RUNS)
    if written == "script's csv":
        path = tmp_path / "project.csv"
        frame.to_csv(path)  # as W&B's documentation does, mappings printed as Python prints them
    else:
        path = tmp_path / "project.json"
        columns = {name: dict(enumerate(frame[name])) for name in frame}
        path.write_text(json.dumps(API_RUNS if written == "json list" else columns))
    table = API_RUNS if written == "mappings" else path
    read = logged_table(table, columns={"learning_rate": "optim.lr"})
    first, second = read.runs
    assert first == LoggedRun(learning_rate=1e-3, params=6e7, tokens=1e9, loss=3.1)
    assert second.learning_rate == 2e-2
    # in a list in memory a loss of NaN may be one that never was
    assert (second.diverged, second.failed) == (written != "mappings", written == "mappings")


def test_a_word_that_could_mean_two_columns_is_asked_for():
    rows = [{"config": {"loss": "z-loss", **API_RUNS[0]["config"]}, "summary": {"loss": 3.1}}]
    with pytest.raises(InvalidTableError, match=r"config\.loss or summary\.loss") as caught:
        logged_table(rows, columns={"learning_rate": "optim.lr"})
    assert "--map loss=config.loss" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": "lr"}, "has no column 'lr', which learning_rate is mapped to"),
        ({"tokens": "steps*seq_len"}, "has no column 'seq_len', which tokens is mapped to"),
        ({"lr": "optim.lr"}, "the mapping names 'lr', expected one of learning_rate, params"),
        ({"tokens": "State*2"}, "State of row 0 in the table is 'finished', expected a number"),
        ({"tokens": "params", "params": "tokens"}, "has no column 'params', which tokens"),
    ],
)
def test_a_mapping_that_cannot_be_is_one_line(change, said):
    with pytest.raises(InvalidTableError) as caught:
        logged_table(WANDB, columns=MAPPING | change)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_and_what_there_is_are_both_said():
    with pytest.raises(InvalidTableError) as caught:
        logged_table(WANDB, columns={"learning_rate": "optim.lr"})
    said = str(caught.value)
    assert "no column 'params' and no column 'tokens' and no column 'loss'" in said
    assert "it has Name, State, batch_size, n_params, optim.lr, steps, val/loss" in said


def test_a_wide_export_is_not_named_in_full():
    wide = pd.DataFrame({f"gradient/{k:03d}": [1.0] for k in range(300)})
    with pytest.raises(InvalidTableError, match="gradient/039 and 260 more"):
        logged_table(wide)


def test_every_column_of_a_logged_run_can_be_mapped():
    fields = set(LoggedRun.__dataclass_fields__)
    assert fields - {"failed", "name", "inputs"} | set(INPUTS) == set(COLUMNS) - {"status"}
