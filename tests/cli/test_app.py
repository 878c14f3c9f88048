"""Every command: exit code, stdout for results, stderr for remarks."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from horizon_bo import HorizonTuner
from tests.cli.calls import call, write_inputs_of_examples
from tests.drawings import marked

INIT = (
    "init runs.db --target-params 1e9 --target-tokens 2e10 --batch-tokens 262144 "
    "--scales 6e7,1.2e8 --tokens 1e9,4e9 --learning-rate 1e-4,2e-2 --budget 0.05"
)


def test_a_loop_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(INIT).exit_code == 0
    run = json.loads(call("suggest runs.db --json").stdout)
    assert set(run) == {
        "id",
        "learning_rate",
        "params",
        "tokens",
        "batch_tokens",
        "flops",
        "schedule",
        "averaging",
        "settings",
        "branches",
        "cooldown",
    }
    assert 1e-4 <= run["learning_rate"] <= 2e-2
    observed = json.loads(call(f"observe runs.db {run['id']} --loss 3.0 --json").stdout)
    assert observed == {"id": 0, "status": "completed", "loss": 3.0}
    best = json.loads(call("recommend runs.db --json").stdout)
    assert best["spent"] == run["flops"]
    low, high = best["interval_90"]
    assert low < best["learning_rate"] < high


def test_init_reports_its_budget_in_flops(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = json.loads(call(INIT + " --json").stdout)
    assert math.isclose(made["budget_flops"], 0.05 * 6 * 1e9 * 2e10)


def test_scales_come_with_settings_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scales = [{"params": 6e7, "settings": {"width": 512}}]
    (tmp_path / "scales.json").write_text(json.dumps(scales))
    assert call(INIT.replace("6e7,1.2e8", "scales.json")).exit_code == 0
    assert json.loads(call("suggest runs.db --json").stdout)["settings"] == {"width": 512}


def test_a_budget_in_gpu_hours_is_taken_where_scales_say_how_fast_they_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scales = [{"params": 6e7, "gpus": 8, "tokens_per_second": 4e5}]
    (tmp_path / "scales.json").write_text(json.dumps(scales))
    asked = INIT.replace("--budget 0.05", "--budget '20 GPU-hours' --json")
    unknown = call(asked)
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (2, 1)
    assert "nothing tells how fast runs train" in unknown.stderr
    assert not Path("runs.db").exists()
    made = json.loads(call(asked.replace("6e7,1.2e8", "scales.json")).stdout)
    assert math.isclose(made["budget_flops"], 20 * 3600 / 8 * 4e5 * 6 * 6e7)
    more = json.loads(call("extend runs.db --budget 30gpu-hours --json").stdout)
    assert math.isclose(more["gpu_hours"]["budget"], 30)


def test_several_suggestions_are_one_object_a_line(study):
    lines = call("suggest runs.db -n 3 --json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2, 3]


def test_remarks_go_to_stderr(study):
    result = call("observe runs.db 0 --loss nan")
    assert result.exit_code == 0
    assert result.stdout == "trial 0 is diverged\n"
    assert result.stderr == "note: loss of trial 0 is nan: recorded as diverged\n"


def test_rates_in_another_unit_are_imported_with_a_remark(study):
    Path("odd.csv").write_text("learning_rate,params,tokens,loss\n3,6e7,1e9,3.1\n")
    result = call("import runs.db odd.csv")
    assert result.exit_code == 0
    assert "outside the space" in result.stderr


def test_a_table_of_ones_own_becomes_a_recommendation_in_two_commands(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    write_inputs_of_examples(tmp_path)
    mapped = "--import export.csv --map learning_rate=optim.lr --map tokens=steps*524288"
    made = json.loads(call(f"{INIT} {mapped} --json").stdout)
    assert made["imported"] == 4
    best = json.loads(call("recommend runs.db --figure bowl.png --json").stdout)
    tuner = HorizonTuner.open("runs.db")
    assert {trial.tokens for trial in tuner.study.trials} == {4000 * 524_288}
    assert best["learning_rate"] == tuner.recommend().learning_rate
    at = marked(drawn["bowl.png"], "recommended")
    assert at == (best["learning_rate"], best["expected_regret"])


def test_a_table_that_cannot_be_read_leaves_no_study_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("column.csv").write_text("learning_rate,params,tokens\n1e-3,6e7,1e9\n")
    assert call(f"{INIT} --import column.csv").exit_code == 2
    assert not Path("runs.db").exists()
    assert call(INIT).exit_code == 0


def test_a_study_is_exported_and_said_so(study):
    result = call("export runs.db tensorboard:events")
    assert result.exit_code == 0, result.output
    assert result.stdout == "1 trials and the recommendation are in tensorboard:events\n"


BAD_LINES = {
    "no study": ("recommend no.db", "horizon-bo init"),
    "no batch": ("recommend runs.db --batch-tokens 1024,0", "--batch-tokens is 0"),
    "a batch above the tokens": ("recommend runs.db --batch-tokens 1e12", "no more than the tar"),
    "existing study": (INIT, "already holds a study"),
    "unknown id": ("observe runs.db 5 --loss 2.9", "trial 5 is unknown"),
    "no id": ("observe runs.db first --loss 2.9", "whole number"),
    "negative loss": ("observe runs.db 0 --loss -2.9", "loss of trial 0 is -2.9"),
    "zero loss": ("observe runs.db 0 --loss 0", "loss of trial 0 is 0.0"),
    "a word as loss": ("observe runs.db 0 --loss low", "--loss is 'low'"),
    "no outcome": ("observe runs.db 0", "0 outcomes arrived"),
    "two outcomes": ("observe runs.db 0 --loss 2 --failed", "2 outcomes arrived"),
    "no table": ("import runs.db no.csv", "is no file"),
    "no column": ("import runs.db column.csv", "has no column 'loss'"),
    "no such column": ("import runs.db column.csv --map loss=eval", "it has learning_rate, "),
    "half a mapping": ("import runs.db column.csv --map loss", "--map is 'loss', expected OURS="),
    "mapped twice": (
        "import runs.db column.csv --map loss=a --map loss=b",
        "--map is 'loss=b', expected OURS=THEIRS with each of ours once",
    ),
    "no tracker": ("import runs.db mlflow:sqlite:///no.db", "no.db is no file"),
    "nowhere to export": ("export runs.db wandb:team/project", "names no tracker"),
    "no columns to start from": (
        INIT.replace("runs", "new") + " --import column.csv",
        "has no column 'loss'",
    ),
    "no rows": ("import runs.db empty.csv", "has 0 rows"),
    "a bad row": ("import runs.db bad.csv", "tokens of row 1 in bad.csv is -1"),
    "repeated ids": ("import runs.db ids.csv", "id of row 1"),
    "no study at all": ("suggest notes.db", "damaged or no study"),
    "too many runs": ("suggest runs.db -n 0", "n is 0"),
    "zero size": (INIT.replace("1e9 ", "0 ", 1).replace("runs", "new"), "--target-params is 0"),
    "infinite": (INIT.replace("2e10", "inf").replace("runs", "new"), "--target-tokens is inf"),
    "a word": (INIT.replace("1e-4,", "low,").replace("runs", "new"), "--learning-rate is 'low'"),
    "all over active": (
        INIT.replace("1e9 ", "1e9/1e8 ", 1).replace("runs", "new"),
        "expected active parameters over all",
    ),
    "two sparsities": (
        INIT.replace("1e9 ", "1e9/8e9 ", 1).replace("runs", "new") + " --inputs sparsity=4",
        "has a sparsity of 8 and --inputs says 4",
    ),
    "an endless vocabulary": (
        INIT.replace("runs", "new") + " --vocabulary 1e30",
        "leaves 2.59e-68 of the smallest scale's 60M parameters",
    ),
    "no sparsity of the target": (
        INIT.replace("6e7,1.2e8", "6e7/4e8").replace("runs", "new"),
        "says its sparsity, 6.66667, and the target does not",
    ),
    "swapped": (INIT.replace("1e-4,2e-2", "2e-2,1e-4").replace("runs", "new"), "swap them"),
    "one bound": (INIT.replace("1e-4,2e-2", "2e-2").replace("runs", "new"), "LOW,HIGH"),
    "no scales": (INIT.replace("6e7,1.2e8", "no.json").replace("runs", "new"), "cannot be used"),
    "no sweep": ("replay --budget 0.1 --out o.jsonl", "no SWEEP and no --cases"),
    "lost sweep": (
        "replay no.csv --target-params 1 --target-tokens 1 --budget 0.1 --out o.jsonl",
        "'no.csv' is in none of",
    ),
    "no target": ("replay stdlib_gpt.csv --budget 0.1 --out o.jsonl", "--target-params is missing"),
    "no method": (
        "replay stdlib_gpt.csv --target-params 97280 --target-tokens 3999744 --budget 0.1 "
        "--methods best --out o.jsonl",
        "method 'best' is unknown",
    ),
    "no lines": ("score no.jsonl --cases cases.json", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_input_is_one_line_exit_code_2_and_nothing_lost(study, name):
    Path("column.csv").write_text("learning_rate,params,tokens\n1e-3,6e7,1e9\n")
    Path("empty.csv").write_text("learning_rate,params,tokens,loss\n")
    Path("bad.csv").write_text("learning_rate,params,tokens,loss\n1e-3,6e7,1e9,3\n1e-3,6e7,-1,3\n")
    Path("ids.csv").write_text(
        "id,learning_rate,params,tokens,loss\n1,1e-3,6e7,1e9,3\n1,2e-3,6e7,1e9,3\n"
    )
    Path("notes.db").write_text("no database at all, but some words\n" * 50)
    line, expected = BAD_LINES[name]
    result = call(line)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    observed = json.loads(call("observe runs.db 0 --loss 3 --json").stdout)
    assert observed["status"] == "completed"


def test_experts_are_said_as_active_over_all_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = INIT.replace("1e9 ", "1e9/8e9 ", 1).replace("6e7,1.2e8", "6e7/2.4e8,1.2e8")
    assert call(line + " --vocabulary 50304").exit_code == 0
    study = HorizonTuner.open("runs.db").study
    assert study.experts
    assert study.target.inputs == {"sparsity": 8.0}
    assert study.target.vocabulary == 50304
    assert [scale.sparsity for scale in study.space.scales] == [4.0, None]
    assert call("recommend runs.db --target 2e9/3.2e10,2e10 --json").exit_code == 0
    assert call("extend runs.db --target 2e9/3.2e10,2e10").exit_code == 0
    target = HorizonTuner.open("runs.db").study.target
    assert (target.inputs, target.vocabulary) == ({"sparsity": 16.0}, 50304)


def test_a_finished_run_is_not_observed_twice(study):
    call("observe runs.db 0 --loss 3")
    result = call("observe runs.db 0 --loss 2")
    assert result.exit_code == 2
    assert "already completed" in result.stderr


def test_a_budget_below_the_cheapest_run_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(INIT.replace("--budget 0.05", "--budget 1e-6")).exit_code == 0
    result = call("suggest runs.db")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert call("recommend runs.db").exit_code == 0


def test_a_bug_keeps_its_traceback_and_exits_1(study, monkeypatch):
    monkeypatch.setattr("horizon_bo.tuner.believe", lambda study: 1 / 0)
    result = call("recommend runs.db")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


SWEEP = {
    "Name": [f"run-{k}" for k in range(12)],
    "State": "finished",
    "optimizer.lr": [3e-4, 6e-4, 1.2e-3, 2.4e-3, 4.8e-3, 9.6e-3] * 2,
    "model.n_params_non_embedding": [45_000_000] * 6 + [124_000_000] * 6,
    "data.seq_len": 2048,
    "train.global_batch_size": 256,
    "train.max_steps": 2000,
    "_step": 2000,
    "val/loss": [3.52, 3.45, 3.41, 3.40, 3.43, 3.50, 3.12, 3.07, 3.05, 3.06, 3.11, 3.2],
}


def test_from_an_export_of_wandb_to_a_recommendation_with_a_figure_in_one_command(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(SWEEP).to_csv("wandb_export.csv", index=False)
    result = call(
        "init mine.db --target-params 1B --target-tokens 20B --batch-tokens 512Ki "
        "--scales 45M,124M --tokens 1B,10B --learning-rate 1e-4,2e-2 --budget 2% "
        "--import wandb_export.csv --map auto --figure bowl.png"
    )
    assert result.exit_code == 0, result.output
    assert "12 runs imported" in result.stdout
    assert "learning rate" in result.stdout
    assert "note: columns taken from wandb_export.csv: --map learning_rate=optimizer.lr" in (
        result.stderr
    )
    assert (tmp_path / "bowl.png").stat().st_size > 10_000
    tuner = HorizonTuner.open("mine.db")
    assert tuner.study.budget == 0.02 * 6 * 1e9 * 20e9
    assert tuner.study.target.batch_tokens == 524_288


def test_without_a_mapping_the_complete_one_is_proposed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(SWEEP).to_csv("wandb_export.csv", index=False)
    result = call(f"{INIT} --import wandb_export.csv")
    assert result.exit_code == 2
    assert "--map loss=val/loss, which --map auto takes" in result.stderr
    assert not Path("runs.db").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("--budget 1e20", "--budget is 1e20 target runs, expected at most 1"),
        ("--budget 5", "write 5% for a share of it"),
        ("--budget 0gpu-hours", "--budget is 0, expected a finite number > 0"),
        ("--budget abc", "--budget is 'abc', expected a number; write it like 3e-4"),
        ("--target-params 1", "params of the target is 1, expected a count of at least 1000"),
        ("--target-tokens 200", "tokens of the target is 200, expected a count"),
        ("--scales 45,124", "params of the smallest scale is 45, expected a count"),
        ("--scales 45M,7B", "the largest scale has 7B parameters, expected no more than the targ"),
        ("--tokens 1,10", "fewest tokens of small runs is 1, expected a count"),
        (f"--target-params 1{400 * '0'}", "expected a number"),
        (f"--target-params {'x' * 5000}", "expected a number"),
    ],
)
def test_sizes_and_budgets_in_another_unit_are_one_clear_line(tmp_path, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    flag = change.split()[0]
    before = INIT.split(f" {flag} ")
    line = before[0] + " " + change + " " + " ".join(before[1].split()[1:])
    result = call(line)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert len(result.stderr) < 600
    assert not Path("runs.db").exists()


def test_rates_are_shown_to_four_digits(study):
    HorizonTuner.open(study).observe(0, loss=3.1)
    shown = [line.split() for line in call("recommend runs.db").stdout.splitlines()]
    rate = next(words[2] for words in shown if words[:2] == ["learning", "rate"])
    assert len(rate.split("e")[0].replace(".", "").lstrip("0")) <= 4
