"""Ax runs a training command: real processes, real losses."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import AxError

from horizon_bo.ax import (
    HorizonStopping,
    attach_command,
    horizon_recommendation,
    horizon_study,
    run_command,
)
from horizon_bo.ax.orchestration import CommandLoss, CommandRunner, filled, loss_in
from horizon_bo.errors import InvalidSpaceError, InvalidTrialError
from tests.ax.loops import ax_client, completed, loss_at
from tests.studies import TARGET

RUN = {"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9}


@pytest.fixture
def command(tmp_path) -> str:
    """A training command that prints progress and then its loss; high rates blow up."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "rate, params, tokens = map(float, sys.argv[1:4])\n"
        "print('step 1 loss 11.0')\n"
        "print('nan' if rate > 1e-2 else 2.5 + (rate - 2e-3) ** 2)\n"
    )
    return f"{sys.executable} {script} {{learning_rate}} {{params}} {{tokens}}"


def ended(runner: CommandRunner, index: int, metadata: dict) -> TrialStatus:
    """The status of a trial once it has ended."""
    for _ in range(600):
        status = runner.poll_trial(index, metadata)
        if status != TrialStatus.RUNNING:
            return status
        time.sleep(0.05)
    raise AssertionError("the command still runs after 30 s")


def test_run_trials_launches_the_command_and_reads_its_loss(tmp_path, command):
    client = ax_client()
    attach_command(client, command, tmp_path / "runs")
    client.run_trials(max_trials=2, initial_seconds_between_polls=0)
    trials = horizon_study(client).trials
    for trial in trials:
        if trial.learning_rate > 1e-2:
            assert trial.status == "diverged"
        else:
            assert trial.loss == round(2.5 + (trial.learning_rate - 2e-3) ** 2, 10)
    assert len(trials) == 2
    said = json.loads((tmp_path / "runs" / "trial_0" / "command.json").read_text())
    assert float(said[2]) == trials[0].learning_rate


def test_run_command_ends_when_the_budget_does_and_says_so(tmp_path, command):
    client = ax_client(budget=1.2 * 6 * 6e7 * 1e9)
    said = run_command(client, command, folder=tmp_path, max_trials=5, seconds_between_polls=0)
    assert said == "no run fits into what is left of the budget"
    assert len(horizon_study(client).trials) == 1


def test_ax_s_own_run_trials_ends_when_the_budget_does(tmp_path, command):
    client = ax_client(budget=1.2 * 6 * 6e7 * 1e9)
    attach_command(client, command, tmp_path)
    client.run_trials(max_trials=3, initial_seconds_between_polls=0)
    assert len(horizon_study(client).trials) == 1


def test_a_failing_command_fails_its_trial_costs_its_price_and_ax_says_so(tmp_path):
    client = ax_client()
    attach_command(client, f"{sys.executable} -c exit(3)", tmp_path)
    with pytest.raises(AxError, match="tolerated trial failure rate"):
        client.run_trials(max_trials=1, initial_seconds_between_polls=0)
    (trial,) = horizon_study(client).trials
    assert trial.status == "failed"
    assert horizon_study(client).spent == trial.flops


def test_arguments_are_never_seen_by_a_shell(tmp_path):
    runner = CommandRunner(
        "printf '%s\\n' {note} {params}", str(tmp_path), {"60000000.0": {"note": "$(id); a b"}}
    )
    metadata = runner.run_trial(0, RUN)
    assert ended(runner, 0, metadata) == TrialStatus.COMPLETED
    assert (tmp_path / "trial_0" / "output.txt").read_text() == "$(id); a b\n60000000.0\n"


def test_another_process_goes_on_polling(tmp_path):
    runner = CommandRunner("sleep 0.2", str(tmp_path), {})
    metadata = runner.run_trial(0, RUN)
    again = CommandRunner("sleep 0.2", str(tmp_path), {})
    assert again.poll_trial(0, metadata) == TrialStatus.RUNNING
    assert ended(again, 0, metadata) == TrialStatus.COMPLETED


def test_a_killed_command_fails_its_trial(tmp_path):
    runner = CommandRunner("sleep 30", str(tmp_path), {})
    metadata = runner.run_trial(0, RUN)
    os.killpg(metadata["group"], signal.SIGKILL)
    assert ended(runner, 0, metadata) == TrialStatus.FAILED


def test_a_stopped_trial_ends_all_that_it_started(tmp_path):
    runner = CommandRunner(f"{sys.executable} -c 'import time; time.sleep(30)'", str(tmp_path), {})
    metadata = runner.run_trial(0, RUN)
    assert runner.stop_trial(0, metadata) == {"stopped": True}
    assert ended(runner, 0, metadata) == TrialStatus.FAILED
    for _ in range(100):
        listed = subprocess.run(
            ["ps", "-o", "stat=", "-g", str(metadata["group"])], capture_output=True, text=True
        ).stdout.split()
        if all(state.startswith("Z") for state in listed):
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {listed}")


def test_a_program_that_does_not_exist_fails_its_trial(tmp_path):
    runner = CommandRunner("no_such_program {params}", str(tmp_path), {})
    assert ended(runner, 0, runner.run_trial(0, RUN)) == TrialStatus.FAILED
    assert "no_such_program" in (tmp_path / "trial_0" / "errors.txt").read_text()


@pytest.mark.parametrize("template", ["train {width}", "train {learning_rat}", "train {", ""])
def test_a_template_that_cannot_be_filled_is_refused_before_the_first_trial(tmp_path, template):
    client = ax_client()
    with pytest.raises(InvalidSpaceError, match="expected") as caught:
        attach_command(client, template, tmp_path)  # one of the two scales has no width
    assert len(str(caught.value).splitlines()) == 1


def test_settings_of_a_scale_fill_the_template():
    assert filled("t --w {width} --lr={learning_rate}", {"width": 512, "learning_rate": 1e-3}) == [
        "t",
        "--w",
        "512",
        "--lr=0.001",
    ]


@pytest.mark.parametrize(
    ("output", "loss"),
    [("11\n2.5\n", 2.5), ('x\n{"loss": 2.5, "step": 3}', 2.5), ("2.5\n\n  \n", 2.5), ("1e1", 10)],
)
def test_the_loss_is_in_the_last_line(output, loss):
    assert loss_in(output, "loss", "a file") == loss


def test_nan_in_the_last_line_is_a_loss_that_diverged():
    assert math.isnan(loss_in("3.0\nnan\n", "loss", "a file"))
    assert math.isnan(loss_in('{"loss": NaN}', "loss", "a file"))


@pytest.mark.parametrize("output", ["", "done\n", '{"accuracy": 1}', '{"loss": null}', "{"])
def test_an_output_without_a_loss_is_said_in_one_line(output):
    with pytest.raises(InvalidTrialError, match="the last line of out is") as caught:
        loss_in(output, "loss", "out")
    assert len(str(caught.value).splitlines()) == 1


def test_the_metric_says_that_lower_is_better():
    assert CommandLoss("loss").lower_is_better is True


@pytest.mark.filterwarnings("ignore:.*out-of-design:RuntimeWarning")
def test_the_stopping_strategy_stops_when_the_recommendation_does():
    client = ax_client()
    completed(client, 1)
    stopping = HorizonStopping(client._generation_strategy)
    answer = horizon_recommendation(client)
    assert stopping.should_stop_optimization(client._experiment) == (answer.stop, answer.reason)
    assert not answer.stop
    client.attach_trial({"learning_rate": 1e-3, "params": 1.2e8, "tokens": 4e9})
    waiting, why = stopping.should_stop_optimization(client._experiment)
    assert (waiting, why) == (False, "There are pending trials in the experiment.")
    client.complete_trial(1, {"loss": loss_at(1e-3, 1.2e8, 4e9)})
    client.complete_trial(client.attach_trial({**RUN, "tokens": 0.045 * TARGET.flops / 3.6e8}))
    assert stopping.should_stop_optimization(client._experiment) == (
        True,
        "no run fits into what is left of the budget",
    )
