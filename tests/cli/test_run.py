"""`horizon-bo run`: output, exit codes, Ctrl-C, and SIGKILL of the whole loop."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app
from horizon_bo.runs.folder import default_folder
from horizon_bo.tuner import HorizonTuner
from tests.bowl import bowl
from tests.studies import small_tuner, tuner_with_pending

SCRIPT = Path(__file__).parents[1] / "training_script.py"
TRAIN = (
    f"{sys.executable} -S {SCRIPT} --lr {{learning_rate}} --params {{params}} "
    "--tokens {tokens} --folder {folder} --hang-once 1"
)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["run", "runs.db", *arguments])


def loop_process(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command line in a process of its own."""
    code = "from horizon_bo.cli.app import app; app()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", "runs.db", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def hanging_pid(folder: Path) -> int:
    """Process id of the training script once it hangs."""
    mark = folder / "runs.runs" / "1" / "hangs"
    for _ in range(1200):
        if mark.exists() and (said := mark.read_text()):
            return int(said)
        time.sleep(0.05)
    raise AssertionError("run 1 never started")


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie; it may vanish between two looks."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends_within(pid: int, seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A study with two pending runs in the working directory."""
    monkeypatch.chdir(tmp_path)
    tuner_with_pending(tmp_path / "runs.db", 2)
    return tmp_path / "runs.db"


def test_json_gives_one_object_per_run_and_the_recommendation_last(study):
    result = call("--json", "--max-runs", "1", "--train-target", "--command", TRAIN)
    assert result.exit_code == 0, result.output
    run, last = map(json.loads, result.stdout.splitlines())
    trial = HorizonTuner.open(study).study.trials[0]
    assert (run["id"], run["status"], run["loss"]) == (0, "completed", trial.loss)
    assert run["folder"] == "runs.runs/0"
    assert last["ended"] == "as many runs as asked for were started (1)"
    assert last["interval_90"][0] < last["learning_rate"] < last["interval_90"][1]
    assert last["target"]["loss"] > 0
    assert last["target"]["learning_rate"] == last["learning_rate"]


def test_without_a_terminal_each_event_is_one_plain_line_on_stderr(study):
    result = call("--max-runs", "1", "--train-target", "--command", f"{TRAIN} --wait 0")
    started, ended, target = result.stderr.splitlines()[:3]
    assert started.startswith("run 0: started in slot 0 (rate 0.002, 6e+07 parameters, 1e+09 tok")
    assert ended.startswith("run 0: loss ")
    assert target.startswith("run target: the target itself started")
    assert "target  loss 3.0" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--command", "trian --lr {learning_rate}"], "'trian' is not found"),
        (["--command", "python --lr {rate}"], "the placeholder {rate}, expected one of"),
        (["--command", "true {learning_rate}", "--parallel", "0"], "parallel is 0"),
        (["--command", "true {learning_rate}", "--timeout", "soon"], "--timeout is 'soon'"),
        (["--command", "true {learning_rate}", "--without", "7e7"], "the scales to leave out are"),
        (
            ["--command", "true {learning_rate}", "--target-settings", "[1]"],
            "--target-settings is '[1]'",
        ),
        (
            ["--command", "true {learning_rate}", "--on", "moon"],
            "on is 'moon', expected one of local, slurm, ray",
        ),
        (
            ["--command", "true {learning_rate}", "--on", "slurm", "--gpus", "0,1"],
            "gpus is 0,1 with on='slurm'",
        ),
        (
            ["--command", "true {learning_rate}", "--resources", "gpus"],
            "--resources is 'gpus', expected NAME=VAL",
        ),
        (
            ["--command", "true {learning_rate}", "--resources", "time=soon"],
            "time is 'soon', expected minutes",
        ),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_started(study, arguments, expected):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert {t.status for t in HorizonTuner.open(study).study.trials} == {"pending"}


def test_a_command_that_keeps_failing_exits_2_with_its_last_error_last(study):
    HorizonTuner.open(study).suggest()
    fails = f"{sys.executable} -S -c 'raise SystemExit(\"no data\")' {{learning_rate}}"
    result = call("--command", fails)
    assert result.exit_code == 2
    assert "by exit code (exit code 1: no data)" in result.stderr.splitlines()[-1]
    assert {t.status for t in HorizonTuner.open(study).study.trials} == {"failed"}


def test_the_folder_is_beside_the_study_and_a_url_needs_one():
    assert default_folder("some/runs.db") == Path("some/runs.runs")
    result = CliRunner().invoke(app, ["run", "sqlite:///x.db", "--command", "true"])
    assert result.exit_code == 2


def test_a_loop_that_was_killed_and_goes_on_equals_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_tuner(study=tmp_path / "runs.db")
    killed = loop_process(tmp_path, "--max-runs", "3", "--command", TRAIN)
    training = hanging_pid(tmp_path)
    second = call("--command", TRAIN)
    assert second.exit_code == 2
    assert "runs.runs is held by another loop" in second.stderr
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert ends_within(training, seconds=2)
    assert [t.status for t in HorizonTuner.open("runs.db").study.trials] == ["completed", "pending"]
    assert call("--max-runs", "1", "--command", TRAIN).exit_code == 0
    attempts = json.loads((tmp_path / "runs.runs" / "1" / "run.json").read_text())["attempt"]
    assert attempts == 2
    whole = small_tuner()
    whole.run(bowl, folder=tmp_path / "whole", max_runs=2, watch=lambda _, event: None)
    assert HorizonTuner.open("runs.db").study == whole.study


def test_ctrl_c_ends_the_children_leaves_them_pending_and_says_how_to_go_on(study):
    loop = loop_process(study.parent, "--command", TRAIN)
    training = hanging_pid(study.parent)
    loop.send_signal(signal.SIGINT)
    _, said = loop.communicate()
    assert loop.returncode == 130
    assert not is_alive(training)
    last = said.splitlines()[-1]
    assert "interrupted, 1 runs stay pending; go on with: horizon-bo run runs.db" in last
    statuses = [t.status for t in HorizonTuner.open(study).study.trials]
    assert statuses == ["completed", "pending"]


def test_the_example_in_the_help_works(study, monkeypatch):
    text = get_command(app).commands["run"].epilog.split("Example:")[1]  # type: ignore[attr-defined]
    line = text.replace("\\\n", " ").strip().removeprefix("horizon-bo ")
    Path("train.py").write_text("print('loss: 3.5')\n")
    Path("python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{study.parent}:{os.environ['PATH']}")
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, result.output
    assert {t.status for t in HorizonTuner.open(study).study.trials} == {"completed"}
