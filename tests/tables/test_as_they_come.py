"""Logs as they come: is a table read whatever its separators, encoding, units and states?"""

import gzip
import json

import pytest

from horizon_bo.tables.logged import logged_table, remarks_about
from tests.studies import small_study
from tests.tables.sweeps import CSV, PLAIN, read, refused, sweep


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
        (
            {"tokens": 2e10, "batch_tokens": 1024},
            "batch_tokens of 4 of 4 rows is too small for a step",
        ),
        ({"batch_tokens": 2e9}, "batch_tokens of 4 of 4 rows is more than the run's tokens"),
        ({"flops": 270.0}, "flops of 4 of 4 rows is far from 6 times params times tokens"),
        ({"learning_rate": [0.5, 1, 2, 4]}, "learning_rate of 4 of 4 rows is outside the space"),
    ],
)
def test_counts_and_rates_in_another_unit_are_questioned(columns, said):
    table = logged_table(sweep(**columns))
    assert any(line.startswith(said) for line in remarks_about(table, small_study()))


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
