"""The help: it names every command, its examples work, and it loads nothing that takes long."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from horizon_bo import HorizonTuner
from horizon_bo.cli.app import FILES, app, application
from horizon_bo.evaluation.replay import METHODS
from horizon_bo.examples import demo
from tests.cli.calls import call, write_inputs_of_examples

COMMANDS = dict(get_command(app).commands)  # type: ignore[attr-defined]


def example(name: str) -> str:
    """The example at the end of a command's help, as one line without the program's name."""
    text = COMMANDS[name].epilog.split("Example:")[1]
    return " ".join(text.replace("\\\n", " ").split()).removeprefix("horizon-bo ")


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
