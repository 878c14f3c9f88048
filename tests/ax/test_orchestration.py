"""Ax runs a training command: real processes, real losses."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace

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
from horizon_bo.ax.orchestration import CommandLoss, CommandRunner
from horizon_bo.errors import InvalidObjectiveError, InvalidTrialError
from horizon_bo.study.records import study_record
from tests.ax.loops import ax_client, completed, loss_at
from tests.quick import child
from tests.quick import ended as exit_status
from tests.studies import SPACE, TARGET, small_study

RUN = {"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9}

#: A command that does nothing for long.
SLEEPS = "env LR={learning_rate} sleep 30"


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


def command_runner(command: str, folder, **settings: str) -> CommandRunner:
    """A runner for the small study, whose first scale has these settings."""
    scales = [replace(SPACE.scales[0], settings=settings), *SPACE.scales[1:]]
    study = small_study(space=replace(SPACE, scales=scales))
    return CommandRunner(command, str(folder), study_record(study))


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
    said = json.loads((tmp_path / "runs" / "trial_0" / "run.json").read_text())["argv"]
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
    attach_command(client, f"{sys.executable} -c exit(3) {{learning_rate}}", tmp_path)
    with pytest.raises(AxError, match="tolerated trial failure rate"):
        client.run_trials(max_trials=1, initial_seconds_between_polls=0)
    (trial,) = horizon_study(client).trials
    assert trial.status == "failed"
    assert horizon_study(client).spent == trial.flops


def test_arguments_are_never_seen_by_a_shell(tmp_path):
    runner = command_runner(
        "env LR={learning_rate} printf '%s\\nloss=%s\\n' {note} {params}",
        tmp_path,
        note="$(id); a b",
    )
    runner.settings["space"]["scales"] = runner.settings["space"]["scales"][:1]
    metadata = runner.run_trial(0, RUN)
    assert ended(runner, 0, metadata) == TrialStatus.COMPLETED
    assert (tmp_path / "trial_0" / "stdout.log").read_text() == "$(id); a b\nloss=60000000\n"


def test_another_process_sees_that_a_command_runs_and_how_it_ended(tmp_path):
    slow = "sh -c 'sleep 0.3; echo 2.5' {learning_rate}"
    runner, again = (command_runner(slow, tmp_path) for _ in range(2))
    metadata = runner.run_trial(0, RUN)
    assert again.poll_trial(0, metadata) == TrialStatus.RUNNING
    assert ended(runner, 0, metadata) == TrialStatus.COMPLETED
    assert again.poll_trial(0, metadata) == TrialStatus.COMPLETED
    assert CommandLoss("loss").fetch(0, metadata)[1][0] == 2.5


def test_a_command_ends_with_the_process_that_ran_it_and_its_trial_has_failed(tmp_path):
    process = child(lambda: command_runner(SLEEPS, tmp_path).run_trial(0, RUN))
    assert exit_status(process) == 0
    metadata = {"folder": str(tmp_path / "trial_0")}
    assert ended(command_runner(SLEEPS, tmp_path), 0, metadata) == TrialStatus.FAILED


def test_a_stopped_trial_ends_all_that_it_started_and_frees_the_folder(tmp_path):
    runner = command_runner("sh -c 'echo $$; sleep 30 & wait' {learning_rate}", tmp_path)
    metadata = runner.run_trial(0, RUN)
    log = tmp_path / "trial_0" / "stdout.log"
    while not log.read_text().strip():
        time.sleep(0.02)
    assert runner.stop_trial(0, metadata) == {"stopped": True}
    assert ended(runner, 0, metadata) == TrialStatus.FAILED
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-g", log.read_text().strip()], capture_output=True, text=True
    ).stdout.split()
    assert all(state.startswith("Z") for state in listed), listed
    assert runner.stop_trial(0, metadata) == {}
    assert command_runner(SLEEPS, tmp_path).poll_trial(1, {"folder": "no"}) == TrialStatus.FAILED


@pytest.mark.parametrize(
    "template", ["true {width}", "true {learning_rat}", "true 'a", "", "no_such_program {params}"]
)
def test_a_command_that_cannot_be_run_is_refused_before_the_first_trial(tmp_path, template):
    client = ax_client()
    with pytest.raises(InvalidObjectiveError, match="expected") as caught:
        attach_command(client, template, tmp_path)  # one of the two scales has no width
    assert len(str(caught.value).splitlines()) == 1


def test_the_loss_and_its_deviation_are_read_from_result_json(tmp_path):
    record = '{"loss": 2.5, "loss_sd": 0.01}'
    runner = command_runner(
        f"sh -c 'echo {json.dumps(record)} > $0/result.json' {{folder}}", tmp_path
    )
    metadata = runner.run_trial(0, RUN)
    assert ended(runner, 0, metadata) == TrialStatus.COMPLETED
    assert CommandLoss("loss").fetch(0, metadata) == (0, (2.5, 0.01))


def test_a_command_that_says_no_loss_fails_and_says_why(tmp_path, caplog):
    runner = command_runner("sh -c 'echo done' {learning_rate}", tmp_path)
    metadata = runner.run_trial(0, RUN)
    with caplog.at_level("WARNING", "horizon_bo.ax.orchestration"):
        assert ended(runner, 0, metadata) == TrialStatus.FAILED
    assert "the last line of output is 'done'" in caplog.text
    with pytest.raises(InvalidTrialError, match="has no loss"):
        CommandLoss("loss").fetch(0, metadata)


def test_nan_in_the_last_line_is_a_loss_that_diverged(tmp_path):
    runner = command_runner("sh -c 'echo nan' {learning_rate}", tmp_path)
    metadata = runner.run_trial(0, RUN)
    assert ended(runner, 0, metadata) == TrialStatus.COMPLETED
    assert math.isnan(CommandLoss("loss").fetch(0, metadata)[1][0])


def test_a_runner_saved_without_its_study_says_what_to_do(tmp_path):
    runner = CommandRunner("true", str(tmp_path), {"60000000.0": {"width": 512}})
    with pytest.raises(InvalidObjectiveError, match="call attach_command"):
        runner.run_trial(0, RUN)


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
