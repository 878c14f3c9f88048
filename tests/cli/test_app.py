"""Every command: exit code, stdout for results, stderr for remarks, and its own example."""

import json
import math
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from horizon_bo import HorizonTuner
from horizon_bo.cli.app import FILES, app, application
from horizon_bo.evaluation.replay import METHODS
from horizon_bo.examples import demo
from tests.drawings import marked
from tests.studies import tuner_with_pending

COMMANDS = dict(get_command(app).commands)  # type: ignore[attr-defined]
INIT = (
    "init runs.db --target-params 1e9 --target-tokens 2e10 --batch-tokens 262144 "
    "--scales 6e7,1.2e8 --tokens 1e9,4e9 --learning-rate 1e-4,2e-2 --budget 0.05"
)


def call(line: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, shlex.split(line))


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A study with one pending run in the working directory."""
    monkeypatch.chdir(tmp_path)
    tuner_with_pending(tmp_path / "runs.db")
    return tmp_path / "runs.db"


def example(name: str) -> str:
    """The example at the end of a command's help, as one line without the program's name."""
    text = COMMANDS[name].epilog.split("Example:")[1]
    return " ".join(text.replace("\\\n", " ").split()).removeprefix("horizon-bo ")


def write_inputs_of_examples(folder: Path) -> None:
    rates = [5e-4, 1e-3, 2e-3, 4e-3]
    table = pd.DataFrame({"learning_rate": rates, "params": 6e7, "tokens": 2e9, "loss": 3.0})
    table.to_csv(folder / "sweep.csv", index=False)
    theirs = table.rename(columns={"learning_rate": "optim.lr", "tokens": "steps"})
    theirs.assign(steps=4000, State="finished").to_csv(folder / "export.csv", index=False)


def write_cases_of(lines: Path) -> None:
    """A cases file with a made-up truth for the replays that are there."""
    first = json.loads(lines.read_text().splitlines()[0])
    truth = {
        "learning_rate": [1e-3, 1e-2, 1e-1],
        "excess": [0.1, 0.0, 0.1],
        "optimum": 1e-2,
        "loss_per_log_tokens": 0.1,
    }
    keys = ("sweep", "target_params", "target_tokens")
    case = {"name": first["case"], **{key: first[key] for key in keys}, "truth": truth}
    (lines.parent / "cases.json").write_text(json.dumps([case]))


def test_every_example_in_the_help_works(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    write_inputs_of_examples(tmp_path)
    names = ("init", "suggest", "observe", "import", "recommend", "export", "replay", "score")
    for name in (*names, "backtest"):
        if name == "score":
            write_cases_of(tmp_path / "out.jsonl")
        result = call(example(name))
        assert result.exit_code == 0, (name, result.output)
        assert result.stdout
    states = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    regret, overhead = drawn["f.png"].axes
    for ax in (regret, overhead):  # a curve a method, over spends up to the budget
        assert {line.get_label() for line in ax.lines} == {state["method"] for state in states}
        assert all(np.isclose(max(line.get_xdata()), 10.0) for line in ax.lines)
    coverage, claims, spend = drawn["backtest.png"].axes
    assert coverage.has_data()
    assert claims.has_data()
    assert all(np.isfinite(line.get_ydata()).any() for line in spend.lines)


@pytest.mark.slow
def test_the_demo_example_works_on_small_runs(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)  # the other cores run other tests
    monkeypatch.setattr(demo, "TARGET_SHAPE", "32x2")
    monkeypatch.setattr(demo, "TARGET_TOKENS", 20_480)
    monkeypatch.setattr(demo, "SHAPES", ("16x2",))
    monkeypatch.setattr(demo, "TOKENS", (4_096.0, 8_192.0))
    monkeypatch.setattr(demo, "BUDGET", 0.06)
    result = call(example("demo"))
    assert result.exit_code == 0, result.output
    assert "the target, trained at five rates" in result.stdout
    assert all(ax.has_data() for ax in drawn["demo.png"].axes)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example_and_offers_json(name):
    result = call(f"{name} --help")
    assert result.exit_code == 0
    assert f"horizon-bo {name} " in result.stdout.split("Example:")[1]
    assert "--json" in result.stdout or name in ("law", "prior")


def test_the_help_names_every_command_once_under_what_one_wants():
    said = call("--help").stdout.split("By what you want:")[1]
    named = [word.strip(",") for line in said.splitlines() for word in line[24:].split()]
    assert sorted(named) == sorted(COMMANDS)


def test_the_help_of_replay_names_every_method():
    text = " ".join(call("replay --help").stdout.split())
    assert ", ".join(METHODS) in text


def test_examples_of_working_and_looking_work(study):
    Path("train.py").write_text("print('loss 3.1')\n")
    for name in ("worker", "status", "report"):
        result = call(example(name).replace("'python", f"'{sys.executable}"))
        assert result.exit_code == 0, (name, result.output)
    assert Path("report.html").stat().st_size > 1e6
    assert 3.1 in {trial.loss for trial in HorizonTuner.open(study).study.trials}


def test_the_kept_help_is_what_is_printed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = CliRunner().invoke(app, ["--help"], prog_name="horizon-bo").stdout
    kept = files("horizon_bo") / "cli" / "help.txt"
    assert kept.read_text() == said, "write into horizon_bo/cli/help.txt what is printed"


def test_a_call_loads_the_commands_of_one_file():
    for name, commands in FILES.items():
        assert set(get_command(application((name,))).commands) == set(commands)  # type: ignore[attr-defined]
    assert sorted(sum(FILES.values(), ())) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("asked", "unneeded"),
    [("--help", {"typer", "horizon_bo.cli.app"}), ("init --help", {"horizon_bo.cli.laws"})],
)
def test_help_imports_nothing_that_takes_long(asked, unneeded):
    heavy = {"torch", "botorch", "ax", "pandas", "scipy", "matplotlib", "sqlalchemy", *unneeded}
    code = (
        "import sys\n"
        "from horizon_bo.cli.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *asked.split()], check=True, capture_output=True, text=True
    )
    assert "Usage: horizon-bo" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


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
