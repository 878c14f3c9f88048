"""README: its loop and its commands work as printed."""

import os
import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.tuner import HorizonTuner
from tests.drawings import marked
from tests.studies import tuner_with_pending

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_loop_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    losses = iter([3.0, 2.9, 2.95])

    def train(learning_rate: float, params: float, tokens: float) -> float:
        return next(losses)

    # three runs are enough to see that the loop turns
    code = code.replace("while not tuner.recommend().stop:", "while len(tuner.study.trials) < 3:")
    exec(compile(code, "README", "exec"), {"train": train})
    assert "Recommendation(learning_rate=" in capsys.readouterr().out


def test_the_loop_through_ax_works(capsys):
    plain, code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    definitions = plain.split("tuner =")[0]
    exec(compile(definitions + code, "README", "exec"), {"train": lambda **_: 3.0})
    assert "Recommendation(learning_rate=" in capsys.readouterr().out


def test_the_commands_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = README.split("## On the command line")[1].split("```")[1]
    lines = section.strip().replace("\\\n", " ").splitlines()
    assert len(lines) == 4
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line.removeprefix("horizon-bo ")))
        assert result.exit_code == 0, result.output


def test_the_command_that_trains_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuner_with_pending(tmp_path / "runs.db", 2)
    Path("train.py").write_text("print('loss: 3.5')\n")
    Path("python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    line = README.split("## Let it train")[1].split("```")[1].strip().replace("\\\n", " ")
    call = shlex.split(line.removeprefix("horizon-bo "))
    result = CliRunner().invoke(app, [*call, "--max-runs", "2"])  # as many as are pending
    assert result.exit_code == 0, result.output
    assert [trial.loss for trial in HorizonTuner.open("runs.db").study.trials] == [3.5, 3.5]


def test_a_table_of_ones_own_becomes_a_recommendation_with_a_figure(tmp_path, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    Path("export.csv").write_text(
        "Name,State,optim.lr,n_params,steps,val/loss\n"
        "a,finished,1e-3,6.0e7,4000,3.2\nb,finished,2e-3,6.0e7,4000,3.1\nc,crashed,8e-3,6.0e7,4000,NaN\n"
    )
    block = README.split("### From your own logs")[1].split("```")[1]
    lines = block.strip().replace("\\\n", " ").splitlines()
    assert len(lines) == 2
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line.removeprefix("horizon-bo ")))
        assert result.exit_code == 0, result.output
    statuses = [trial.status for trial in HorizonTuner.open("mine.db").study.trials]
    assert statuses == ["completed", "completed", "diverged"]
    best = HorizonTuner.open("mine.db").recommend()
    assert marked(drawn["bowl.png"], "recommended") == (best.learning_rate, best.expected_regret)
