"""Guesses: is the complete mapping proposed, and is the same one taken?"""

import pandas as pd
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.logged import logged_table
from tests.tables.sweeps import LOSSES, RATES, sweep

EXPORTS = {
    "W&B": {
        "Name": ["a-1", "b-2", "c-3", "d-4"],
        "State": "finished",
        "Runtime": [3601, 3602, 3603, 3604],
        "optimizer.lr": RATES,
        "optimizer.name": "adamw",
        "model.n_params_non_embedding": 45_000_000,
        "model.n_params": 60_000_000,
        "data.seq_len": 2048,
        "train.global_batch_size": 256,
        "train.max_steps": 2000,
        "_step": 2000,
        "train/loss": [loss - 0.02 for loss in LOSSES],
        "val/loss": LOSSES,
        "val/perplexity": [30.1, 29.2, 28.8, 29.3],
    },
    "Hugging Face": {
        "config/learning_rate": RATES,
        "config/num_parameters": 45_000_000,
        "config/max_steps": 2000,
        "config/per_device_train_batch_size": 16,
        "config/gradient_accumulation_steps": 2,
        "config/world_size": 8,
        "config/max_seq_length": 2048,
        "train/learning_rate": [0.0, 0.0, 0.0, 0.0],
        "train/loss": [loss - 0.02 for loss in LOSSES],
        "eval/loss": LOSSES,
    },
    "nanoGPT": {
        "learning_rate": RATES,
        "min_lr": 1e-5,
        "batch_size": 16,
        "gradient_accumulation_steps": 16,
        "block_size": 2048,
        "max_iters": 2000,
        "n_params": 45_000_000,
        "val/loss": LOSSES,
        "train/loss": [loss - 0.02 for loss in LOSSES],
    },
    "MLflow": {
        "params.lr": [str(rate) for rate in RATES],
        "params.n_params": "45000000",
        "params.train_tokens": "1048576000",
        "params.batch_tokens": "524288",
        "metrics.val_loss": LOSSES,
        "status": "FINISHED",
    },
    "Optuna": {
        "params.peak_lr": RATES,
        "user_attrs.non_embedding_params": 45e6,
        "user_attrs.tokens_seen": 1048576000,
        "user_attrs.tokens_per_step": 524288,
        "loss": LOSSES,
        "state": "COMPLETE",
    },
    "units in names": {
        "peak_lr": RATES,
        "params_M": 45,
        "tokens (B)": 1.048576,
        "tokens_per_batch": 524_288,
        "final loss": LOSSES,
    },
}


@pytest.mark.parametrize("name", EXPORTS)
def test_the_complete_mapping_is_proposed_and_auto_takes_it(tmp_path, name):
    frame = pd.DataFrame(EXPORTS[name])
    path = tmp_path / "export.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(InvalidTableError) as caught:
        logged_table(path)
    proposed = str(caught.value).partition("probably meant is ")[2]
    table = logged_table(path, columns="auto")
    assert [
        (run.learning_rate, run.params, run.tokens, run.batch_tokens, run.loss)
        for run in table.runs
    ] == [
        (rate, 45e6, 1_048_576_000.0, 524_288.0, loss)
        for rate, loss in zip(RATES, LOSSES, strict=True)
    ]
    (said,) = [line for line in table.remarks if line.startswith("columns taken from")]
    assert said.partition(": ")[2] in proposed
    assert proposed.endswith(", which --map auto takes")


def test_auto_fills_in_what_a_mapping_leaves_out():
    frame = pd.DataFrame(EXPORTS["W&B"])
    columns = dict.fromkeys(("learning_rate", "tokens", "loss"), "auto") | {"params": "60M"}
    columns |= {"batch_tokens": "524288"}
    assert {run.params for run in logged_table(frame, columns=columns).runs} == {6e7}


def test_auto_asks_where_two_columns_are_as_likely():
    frame = sweep(**{"val/loss": LOSSES, "eval/loss": LOSSES[::-1]}).drop(columns="loss")
    with pytest.raises(InvalidTableError, match="loss in the table may be val/loss or eval/loss"):
        logged_table(frame, columns="auto")


def test_counts_that_may_be_millions_are_asked_about_before_auto_takes_them():
    frame = sweep(n_params=[45, 45, 124, 124]).drop(columns="params")
    with pytest.raises(InvalidTableError, match=r"params in the table may be n_params\*1e6 or n_p"):
        logged_table(frame, columns="auto")


def test_auto_that_finds_nothing_says_which_column_is_missing():
    with pytest.raises(InvalidTableError, match="has no column 'loss'"):
        logged_table(sweep().rename(columns={"loss": "colour"}), columns="auto")
