"""Logs as they come: each way in which somebody's table was misread, by its symptom."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from horizon_bo.errors import HorizonBOError, InvalidTableError
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tables.logged import LoggedTable, logged_table, remarks_about
from tests.studies import small_study, small_tuner

RATES = (5e-4, 1e-3, 2e-3, 4e-3)
LOSSES = (3.4105, 3.3716, 3.3587, 3.3776)


def sweep(**columns: Any) -> pd.DataFrame:
    """A small sweep; further columns and other values by name."""
    plain = {"learning_rate": RATES, "params": 45_000_000, "tokens": 1_000_000_000, "loss": LOSSES}
    return pd.DataFrame({**plain, **columns}).copy()


PLAIN = [
    LoggedRun(learning_rate=rate, params=45e6, tokens=1e9, loss=loss)
    for rate, loss in zip(RATES, LOSSES, strict=True)
]


def written(folder: Path, text: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(folder: Path, text: str | bytes, name: str = "runs.csv", **given: Any) -> LoggedTable:
    return logged_table(written(folder, text, name), **given)


def refused(folder: Path, text: str | bytes, name: str = "runs.csv", **given: Any) -> str:
    with pytest.raises(HorizonBOError) as caught:
        read(folder, text, name, **given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


CSV = sweep().to_csv(index=False)


# ---- separators, encodings, headers, suffixes -------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_a_separator_other_than_a_comma_is_read(tmp_path, separator, decimal):
    text = sweep().to_csv(index=False, sep=separator, decimal=decimal)
    assert list(read(tmp_path, text).runs) == PLAIN


def test_thousands_are_grouped_by_whatever_is_not_the_decimal_sign(tmp_path):
    english = 'learning_rate,params,tokens,batch_tokens,loss\n1e-3,"45,000,000",1e9,"524,288",3.4\n'
    german = "learning_rate;params;tokens;batch_tokens;loss\n0,001;45.000.000;1e9;524288;3,4\n"
    for text in (english, german):
        (run,) = read(tmp_path, text).runs
        assert (run.params, run.batch_tokens, run.loss) == (45e6, 524_288.0, 3.4)


def test_a_comma_that_may_mean_two_things_is_refused_by_row_and_column(tmp_path):
    said = refused(tmp_path, 'learning_rate,params,tokens,loss\n1e-3,45e6,1e9,"4,105"\n')
    assert "loss of row 0" in said
    assert "is '4,105', expected a number" in said


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_bytes_in_any_usual_encoding_are_read(tmp_path, encoding, suffix):
    frame = sweep(Name=["río-1", "río-2", "río-3", "río-4"])
    text = frame.to_csv(index=False)
    if suffix != ".csv":
        rows = [json.dumps(row, ensure_ascii=False) for row in frame.to_dict("records")]
        text = "\n".join(rows) + "\n" if suffix == ".jsonl" else f"[{','.join(rows)}]"
    table = read(tmp_path, text.encode(encoding), f"runs{suffix}")
    assert list(table.runs) == PLAIN
    assert [run.name for run in table.runs] == ["río-1", "río-2", "río-3", "río-4"]


@pytest.mark.parametrize(
    "name", ["RUNS.CSV", "runs.Csv", "runs.tsv", "runs.TAB", "runs.txt", "runs.CSV.GZ"]
)
def test_a_suffix_may_be_in_upper_case_or_another_usual_one(tmp_path, name):
    text = CSV.replace(",", "\t") if name[-3:].lower() in ("tsv", "tab") else CSV
    given = gzip.compress(text.encode()) if name.endswith("GZ") else text
    assert list(read(tmp_path, given, name).runs) == PLAIN


def test_json_lines_are_also_called_ndjson(tmp_path):
    text = sweep().to_json(orient="records", lines=True, double_precision=15)
    assert list(read(tmp_path, text, "runs.ndjson").runs) == PLAIN


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "frame"])
def test_a_header_is_matched_whatever_its_case_and_spaces(tmp_path, kind):
    header = [" Learning_Rate", "Params ", "TOKENS", "Loss"]
    frame = sweep().set_axis(header, axis=1)
    path = tmp_path / f"runs.{kind}"
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        case "parquet":
            frame.to_parquet(path)
    assert list(logged_table(frame if kind == "frame" else path).runs) == PLAIN
    spaced = sweep().rename(columns={"learning_rate": "Learning Rate"})
    assert list(logged_table(spaced).runs) == PLAIN


# ---- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "tokens"),
    [("45M", "1B"), ("0.045 B", "1000M"), ("45e6", "1_000_000_000"), ("45 million", "1G")],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "frame"])
def test_units_in_cells_are_read(tmp_path, params, tokens, kind):
    frame = sweep(params=params, tokens=tokens)
    path = tmp_path / f"runs.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    elif kind == "parquet":
        frame.to_parquet(path)
    assert list(logged_table(frame if kind == "frame" else path).runs) == PLAIN


def test_units_are_read_in_a_mapping_too():
    frame = sweep().drop(columns=["params", "tokens"]).assign(steps=1000)
    columns = {"params": "45M", "tokens": "steps*1M"}
    assert list(logged_table(frame, columns=columns).runs) == PLAIN


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"params": 45}, "params of 4 of 4 rows is too small for a trained model, first row 0"),
        ({"tokens": 1}, "tokens of 4 of 4 rows is too small for a trained model, first row 0 with"),
        (
            {"tokens": [1e9, 1e9, 1e9, 2e22]},
            "tokens of 1 of 4 rows is more than 100 times the targ",
        ),
        ({"params": 6e13}, "params of 4 of 4 rows is more than 100 times the target's 1B"),
        ({"tokens": 5e4}, "tokens of 4 of 4 rows is less than 1 per 100 parameters"),
        ({"batch_tokens": 16}, "batch_tokens of 4 of 4 rows is too small for a step"),
        ({"batch_tokens": 2e9}, "batch_tokens of 4 of 4 rows is more than the run's tokens"),
        ({"flops": 270.0}, "flops of 4 of 4 rows is far from 6 times params times tokens"),
        ({"learning_rate": [0.5, 1, 2, 4]}, "learning_rate of 4 of 4 rows is outside the space"),
    ],
)
def test_counts_and_rates_in_another_unit_are_questioned(columns, said):
    table = logged_table(sweep(**columns))
    assert any(line.startswith(said) for line in remarks_about(table, small_study()))


# ---- curves, repeats, corrections -------------------------------------------------------------


def learning_curves(points: int = 5, **columns: Any) -> pd.DataFrame:
    rows = [
        {
            "run_name": f"run-{k}",
            "step": step,
            "learning_rate": rate,
            "params": 45_000_000,
            "tokens": step * 200_000_000,
            "loss": loss + 1.0 / step - 1.0 / points,
        }
        for k, (rate, loss) in enumerate(zip(RATES, LOSSES, strict=True))
        for step in range(1, points + 1)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_points_of_learning_curves_are_recognised_and_said():
    table = logged_table(learning_curves())
    assert len(table.runs) == 20
    (said,) = table.remarks
    assert "20 rows of the table look like 4 learning curves, by step" in said
    assert "--last-of run_name --by step keeps the last row of each" in said


@pytest.mark.parametrize("by", [None, "step", "tokens", "Step"])
def test_the_last_row_of_each_curve_is_kept_when_asked(tmp_path, by):
    shuffled = learning_curves().sample(frac=1.0, random_state=0)
    path = tmp_path / "curves.csv"
    shuffled.to_csv(path, index=False)
    table = logged_table(path, last_of="run_name", by=by)
    assert sorted(table.runs, key=lambda run: run.learning_rate) == [
        LoggedRun(learning_rate=run.learning_rate, params=45e6, tokens=1e9, loss=run.loss)
        for run in PLAIN
    ]
    assert "20 rows of" in table.remarks[0]
    assert "are 4 runs: the last row of each run_name" in table.remarks[0]


def test_curves_without_names_are_told_by_their_settings():
    frame = learning_curves().drop(columns="run_name")
    (said,) = logged_table(frame).remarks
    assert "--last-of learning_rate,params --by step" in said
    assert len(logged_table(frame, last_of="learning_rate,params").runs) == 4


def test_steps_that_were_not_evaluated_do_not_hide_the_last_loss():
    frame = learning_curves()
    frame.loc[frame["step"] == 5, "loss"] = math.nan
    frame["tokens"] = 1_000_000_000
    table = logged_table(frame, last_of="run_name")
    assert [run.diverged for run in table.runs] == [False] * 4
    assert table.runs[0].loss == pytest.approx(LOSSES[0] + 1 / 4 - 1 / 5)


def test_a_curve_that_ended_in_nan_is_a_diverged_run(tmp_path):
    text = learning_curves().to_csv(index=False)
    lines = text.splitlines()
    lines[-1] = lines[-1].rpartition(",")[0] + ",nan"
    table = read(tmp_path, "\n".join(lines) + "\n", last_of="run_name")
    assert [run.diverged for run in table.runs] == [False, False, False, True]


def test_a_run_that_ends_before_the_others_of_its_size_is_said():
    frame = learning_curves()
    partial = frame[~((frame["run_name"] == "run-2") & (frame["step"] > 2))]
    said = logged_table(partial, last_of="run_name").remarks
    assert any("1 of 4 runs end before others of their size" in line for line in said)


def test_finished_runs_that_stopped_before_their_plan_are_said():
    frame = sweep(_step=[1000, 1000, 400, 1000], max_steps=1000)
    said = logged_table(frame).remarks
    assert any("1 of 4 rows stopped before the max_steps that were planned" in s for s in said)
    assert not logged_table(sweep(_step=1000, max_steps=1000)).remarks


def test_a_branched_trunk_of_two_readings_is_no_learning_curve():
    rows = sweep(run=["a", "a", "b", "b"], learning_rate=[1e-3, 1e-3, 2e-3, 2e-3])
    assert logged_table(rows.assign(tokens=[1e9, 2e9, 1e9, 2e9])).remarks == ()


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "frame"])
def test_exact_repeats_are_said_and_counted_once_unless_they_are_meant(tmp_path, kind):
    frame = pd.concat([sweep(Name="run-1")] * 2, ignore_index=True)
    path = tmp_path / f"runs.{kind}"
    match kind:
        case "csv" | "tsv":
            frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
        case "json" | "jsonl":
            frame.to_json(path, orient="records", lines=kind == "jsonl", double_precision=15)
        case "parquet":
            frame.to_parquet(path)
    given = frame if kind == "frame" else path
    table = logged_table(given)
    assert list(table.runs) == PLAIN
    assert "4 of 8 rows of" in table.remarks[0]
    assert "repeat another row exactly, first row 4: counted once" in table.remarks[0]
    assert list(logged_table(given, repeats=True).runs) == PLAIN * 2


def test_seeds_that_agree_in_every_digit_are_no_repeats():
    frame = pd.concat([sweep(seed=0), sweep(seed=1)], ignore_index=True)
    assert len(logged_table(frame).runs) == 8


def test_a_corrected_table_takes_the_place_of_the_wrong_row_where_rows_have_an_id(tmp_path):
    names = ["r0", "r1", "r2", "r3"]
    wrong = (*LOSSES[:3], 33.776)
    tuner = small_tuner()
    tuner.import_runs(written(tmp_path, sweep(Name=names, loss=wrong).to_csv(index=False)))
    corrected = written(tmp_path, sweep(Name=names).to_csv(index=False), "corrected.csv")
    remarks = tuner.import_runs(corrected)
    assert [trial.loss for trial in tuner.study.trials] == list(LOSSES)
    assert "3 of 4 runs are in the study already: left out" in remarks
    assert "r3 took the place of trial 3: loss 33.776 → 3.3776" in remarks
    assert "4 of 4 runs are in the study already: left out" in tuner.import_runs(corrected)


def test_a_corrected_rate_takes_the_place_of_the_wrong_one_too():
    names = ["r0", "r1", "r2", "r3"]
    tuner = small_tuner()
    tuner.import_runs(sweep(run_id=names, learning_rate=(*RATES[:3], 4e-2)))
    (_, said) = tuner.import_runs(sweep(run_id=names))[:2]
    assert said == "r3 took the place of trial 3: learning_rate 0.04 → 0.004"
    assert len(tuner.study.trials) == 4


def test_a_corrected_table_without_ids_is_said():
    tuner = small_tuner()
    tuner.import_runs(sweep(loss=(*LOSSES[:3], 33.776)))
    remarks = tuner.import_runs(sweep())
    assert len(tuner.study.trials) == 5
    assert any("1 row differs from a held run only in its loss" in line for line in remarks)
    assert any("forget trial 3" in line for line in remarks)


def test_another_table_that_counts_its_rows_alike_replaces_nothing():
    tuner = small_tuner()
    tuner.import_runs(sweep(id=range(4)))
    tuner.import_runs(sweep(id=range(4), loss=[loss + 0.01 for loss in LOSSES]))
    assert len(tuner.study.trials) == 8


# ---- recipes and settings that are not used ---------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        {"source": ["node0", "node1", "node2", "node3"]},
        {"schedule": ["CosineAnnealingLR", "Cosine", "CosineAnnealingLR", "Cosine"]},
        {"averaging": "ema"},
    ],
)
def test_rows_of_another_recipe_are_said(columns):
    table = logged_table(sweep(**columns))
    (said,) = remarks_about(table, small_study())
    assert said.startswith("4 of 4 rows are of another recipe than the target's")


def test_a_second_rate_that_varies_is_said():
    frame = sweep(embedding_lr=[0.3, 0.2, 0.3, 0.2]).rename(columns={"learning_rate": "matrix_lr"})
    table = logged_table(frame, columns={"learning_rate": "matrix_lr"})
    (said,) = table.remarks
    assert "not used, though it differs between runs of one size: embedding_lr (0.3, 0.2)" in said
    with pytest.raises(InvalidTableError, match="may be matrix_lr or embedding_lr"):
        logged_table(frame, columns="auto")


@pytest.mark.parametrize(
    "name", ["weight_decay", "optim.beta2", "config/warmup_steps", "optimizer"]
)
def test_a_setting_that_varies_and_is_not_used_is_said(name):
    (said,) = logged_table(sweep(**{name: [0.1, 0.2, 0.1, 0.2]})).remarks
    assert name in said
    assert logged_table(sweep(**{name: 0.1})).remarks == ()


def test_a_setting_that_goes_with_the_size_is_not_said():
    sizes = {"params": [45e6, 45e6, 124e6, 124e6], "weight_decay": [0.1, 0.1, 0.2, 0.2]}
    assert logged_table(sweep(**sizes)).remarks == ()


# ---- states -----------------------------------------------------------------------------------

STATES = {
    "ended": "COMPLETED CD finished FINISHED TERMINATED SUCCEEDED COMPLETE TrialState.COMPLETE "
    "TrialStatus.COMPLETED success",
    "failed": "TIMEOUT FAILED NODE_FAIL OUT_OF_MEMORY OOM OUT_OF_ME+ CANCELLED CANCELLED+ "
    "BOOT_FAIL DEADLINE REVOKED crashed killed KILLED ERROR FAIL ABANDONED STOPPED TO CA F",
    "pruned": "PRUNED EARLY_STOPPED TrialState.PRUNED",
    "running": "RUNNING PENDING SUSPENDED REQUEUED CONFIGURING COMPLETING PREEMPTED SCHEDULED "
    "WAITING PAUSED CANDIDATE STAGED DISPATCHED preempting queued PD R",
}


@pytest.mark.parametrize(
    ("word", "meaning"),
    [(word, meaning) for meaning, words in STATES.items() for word in words.split()]
    + [("CANCELLED by 1000", "failed"), ("Node Fail", "failed"), ("early-stopped", "pruned")],
)
@pytest.mark.parametrize("column", ["State", "status", "JobState"])
def test_a_state_of_any_scheduler_or_tracker_is_known(word, meaning, column):
    table = logged_table(sweep(**{column: ["COMPLETED", "COMPLETED", "COMPLETED", word]}))
    ended = {"ended": (4, False), "failed": (4, True), "pruned": (4, True), "running": (3, False)}
    assert (len(table.runs), table.runs[-1].failed) == ended[meaning]


# ---- mappings ---------------------------------------------------------------------------------

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


# ---- nothing shifts ---------------------------------------------------------------------------


def test_trailing_commas_shift_no_column(tmp_path):
    rows = [line + "," for line in CSV.splitlines()]
    for text in ("\n".join([CSV.splitlines()[0], *rows[1:]]), "\n".join(rows)):
        assert list(read(tmp_path, text + "\n").runs) == PLAIN


def test_a_cell_beyond_the_header_is_refused_by_row(tmp_path):
    lines = CSV.splitlines()
    said = refused(tmp_path, "\n".join([*lines[:2], lines[2] + ",7", *lines[3:]]) + "\n")
    assert "row 1 of" in said
    assert "has more than 4 cells, the count of the header, and beyond it '7'" in said


def test_a_row_with_too_few_cells_is_refused_by_row(tmp_path):
    lines = CSV.splitlines()
    for row in (1, 3):
        short = [*lines[: row + 1], lines[row + 1].rpartition(",")[0], *lines[row + 2 :]]
        said = refused(tmp_path, "\n".join(short) + "\n")
        assert f"row {row} of" in said
        assert "has 3 cells, expected 4 as in the header" in said


@pytest.mark.parametrize("cut", [1, 3, 6, 7, 12, 20])
def test_a_half_written_last_line_is_left_out_and_said(tmp_path, cut):
    table = read(tmp_path, CSV[: -1 - cut])
    assert list(table.runs) == PLAIN[:3]
    assert "half-written: left out" in table.remarks[0]


def test_a_last_line_without_an_end_that_is_whole_is_read(tmp_path):
    assert list(read(tmp_path, CSV[:-1]).runs) == PLAIN


def test_a_half_written_quote_or_json_line_is_left_out_and_said(tmp_path):
    quoted = sweep(Name="run, 1").to_csv(
        index=False, columns=["learning_rate", "params", "tokens", "loss", "Name"]
    )
    lines = sweep().to_json(orient="records", lines=True, double_precision=15)
    for text, name in ((quoted[:-4], "a.csv"), (lines[:-9], "a.jsonl")):
        table = read(tmp_path, text, name)
        assert list(table.runs) == PLAIN[:3]
        assert "half-written" in table.remarks[0]


def test_a_half_written_line_in_the_middle_is_refused(tmp_path):
    lines = sweep().to_json(orient="records", lines=True).splitlines()
    said = refused(tmp_path, "\n".join([lines[0], lines[1][:-9], *lines[2:]]) + "\n", "a.jsonl")
    assert "line 2" in said


@pytest.mark.parametrize("column", ["loss", "learning_rate", "params"])
@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "frame"])
def test_a_boolean_is_no_number(tmp_path, column, kind):
    frame = sweep(**{column: [True, True, False, True]})
    path = tmp_path / f"runs.{kind}"
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "json" | "jsonl":
            frame.to_json(path, orient="records", lines=kind == "jsonl")
        case "parquet":
            frame.to_parquet(path)
    with pytest.raises(InvalidTableError, match=f"{column} of row 0 in .* is '?[Tt]rue"):
        logged_table(frame if kind == "frame" else path)


@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_second_columns_of_one_name_are_asked_about(tmp_path, kind):
    frame = sweep()
    frame.insert(4, "loss", [9.0, 9.1, 9.2, 9.3], allow_duplicates=True)
    given: Any = frame
    if kind == "csv":
        given = written(tmp_path, frame.to_csv(index=False))
    with pytest.raises(InvalidTableError) as caught:
        logged_table(given)
    assert "may be loss (column 4) or loss (column 5), expected to know which" in str(caught.value)
    assert list(logged_table(given, columns={"loss": "loss (column 4)"}).runs) == PLAIN


def test_second_columns_that_are_the_same_are_one():
    frame = sweep()
    frame.insert(4, "loss", frame["loss"].to_numpy(), allow_duplicates=True)
    assert list(logged_table(frame).runs) == PLAIN


def test_a_json_object_with_a_name_twice_is_refused(tmp_path):
    row = '{"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9, "loss": 3.1, "loss": 9.1}'
    for text, name in ((row + "\n", "a.jsonl"), (f"[{row}]", "a.json")):
        assert "an object has the name 'loss' twice" in refused(tmp_path, text, name)


def test_blank_rows_are_left_out(tmp_path):
    lines = CSV.splitlines()
    table = read(tmp_path, "\n".join([lines[0], "", *lines[1:3], ",,,", *lines[3:], "", ""]))
    assert list(table.runs) == PLAIN
    frame = pd.concat([sweep(), pd.DataFrame([{"loss": 1.0}])], ignore_index=True)
    table = logged_table(frame)
    assert list(table.runs) == PLAIN
    assert "1 of 5 rows of the table hold no rate, size and length" in table.remarks[0]


def test_an_index_with_a_name_is_a_column():
    assert list(logged_table(sweep().set_index("learning_rate")).runs) == PLAIN


# ---- what is no table -------------------------------------------------------------------------

HUGE = "1" + 400 * "0"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", CSV.replace("45000000", HUGE)),
        ("a.csv", CSV.replace("3.3587", HUGE)),
        ("a.jsonl", f'{{"learning_rate": 1e-3, "params": {HUGE}, "tokens": 1e9, "loss": 3}}\n'),
        ("a.jsonl", f'{{"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9, "loss": {HUGE}}}\n'),
        ("a.json", f'[{{"learning_rate": 1e-3, "params": {"9" * 5000}, "tokens": 1, "loss": 3}}]'),
        ("a.json", "[" * 100_000),
        ("a.json", "[" * 100_000 + "]" * 100_000),
        ("a.jsonl", '{"a": ' * 100_000 + "1" + "}" * 100_000 + "\n"),
        ("a.csv", 'config,loss\n"' + "{" * 100_000 + '",3.1\n'),
        ("a.csv", 'config,loss\n"' + "{'a':" * 50_000 + '",3.1\n'),
        ("a.csv", "x" * 100_000 + ",loss\n1,2\n"),
        ("a.csv", '"' + "x" * 2_000_000 + '",loss\n1,2\n'),
        ("a.csv", "a,b\n\0,2\n"),
        ("a.csv", ""),
        ("a.csv", "\n\n"),
        ("a.csv", "learning_rate,params,tokens,loss\n"),
        ("a.json", "3"),
        ("a.json", '"runs"'),
        ("a.json", '{"loss": 3}'),
        ("a.jsonl", "3\n"),
        ("a.jsonl", "[1]\n"),
        ("a.csv.gz", "no gzip"),
        ("a.csv", CSV.replace("45000000", "fast" * 5000)),
    ],
)
def test_what_is_no_table_is_one_clear_line(tmp_path, name, text):
    refused(tmp_path, text, name)


@pytest.mark.parametrize("value", [b"3.1", [3.1], {"a": 1}, np.array([3.1]), "x" * 9000, 1 + 2j])
@pytest.mark.parametrize("column", ["learning_rate", "loss", "source", "diverged", "status", "id"])
def test_bytes_lists_and_the_like_in_cells_are_one_clear_line_or_ignored(tmp_path, value, column):
    frame = sweep(**{column: pd.Series([value] * 4, dtype=object)})
    if not isinstance(value, complex | dict):
        frame.to_parquet(tmp_path / "runs.parquet")
        given: Any = tmp_path / "runs.parquet"
    else:
        given = frame
    try:
        runs = logged_table(given).runs
    except HorizonBOError as error:
        said = str(error)
    else:
        said, losses = "", [run.loss for run in runs]
        assert losses == list(LOSSES)
    assert "\n" not in said
    assert len(said) < 1000


def test_a_path_too_long_for_a_file_is_one_clear_line():
    with pytest.raises(InvalidTableError, match="is no file"):
        logged_table("x" * 5000 + ".csv")


def test_mappings_that_go_in_circles_end():
    ours = ["learning_rate", "params", "tokens", "loss", "batch_tokens", "flops", "loss_sd"]
    columns = {name: "*".join(other for other in ours if other != name) for name in ours}
    with pytest.raises(InvalidTableError, match="has no column"):
        logged_table(pd.DataFrame({"a": [1.0]}), columns=columns)
