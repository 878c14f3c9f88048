"""Orchestration: how does Ax run a user's training command and read its loss?

The command is a template such as `python train.py --lr {learning_rate} --width {width}`: it is
split into arguments first and filled afterwards, and no shell sees what it is filled with. Each
trial has a folder with its output and its exit code, so that another process can go on polling.

Early stopping is off, and stays off under `Client.run_trials`. A loss read before the schedule has
ended ranks learning rates wrongly: the best rate of the decayed run is up to four times that of the
stable phase, so a strategy that compares curves would stop the very runs that win.
"""

import json
import math
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ax.api.client import Client
from ax.api.protocols.metric import IMetric
from ax.api.protocols.runner import IRunner
from ax.api.types import TParameterization
from ax.core.trial_status import TrialStatus
from ax.orchestration.orchestrator import Orchestrator
from ax.orchestration.orchestrator_options import OrchestratorOptions

from horizon_bo.ax.client import horizon_study
from horizon_bo.ax.space import loss_metric
from horizon_bo.ax.stopping import HorizonStopping
from horizon_bo.errors import InvalidSpaceError, InvalidTrialError

#: Runs "$@" in folder $0. The exit code appears whole or not at all.
_WRAPPER = (
    '"$@" >"$0/output.txt" 2>"$0/errors.txt"; echo $? >"$0/exit.part"; mv "$0/exit.part" "$0/exit"'
)
#: Runs the script $0 in the background, and says the process group that all of it belongs to.
_DETACHED = 'sh -c "$0" "$@" >/dev/null 2>&1 & echo $$'
_KILLED = 143  # exit code of a process ended by SIGTERM


class CommandRunner(IRunner):
    """Runs a training command, one process a trial.

    Args:
        command: Template; its placeholders are the experiment's parameters and the settings of
            the scale, by name.
        folder: Where each trial gets a folder of its own.
        settings: Settings of each scale, by its `params`, as text so that JSON can hold it.
    """

    def __init__(
        self, command: str, folder: str, settings: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.command, self.folder = command, folder
        self.settings = {key: dict(values) for key, values in settings.items()}

    def run_trial(self, trial_index: int, parameterization: TParameterization) -> dict[str, Any]:
        """Start the command; what comes back tells any process how to find it again."""
        place = Path(self.folder).resolve() / f"trial_{trial_index}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "exit").unlink(missing_ok=True)
        known = {**self.settings.get(str(parameterization["params"]), {}), **parameterization}
        arguments = filled(self.command, known)
        (place / "command.json").write_text(json.dumps(arguments))
        process = subprocess.run(
            ["sh", "-c", _DETACHED, _WRAPPER, str(place), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            start_new_session=True,
        )
        return {"folder": str(place), "group": int(process.stdout)}

    def poll_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> TrialStatus:
        """Completed with exit code 0, failed with any other or once the process is gone."""
        ended = Path(trial_metadata["folder"]) / "exit"
        alive = _alive(trial_metadata["group"])
        if ended.exists():  # looked for after the process, which writes it last
            return TrialStatus.COMPLETED if ended.read_text().strip() == "0" else TrialStatus.FAILED
        return TrialStatus.RUNNING if alive else TrialStatus.FAILED

    def stop_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> dict[str, Any]:
        """End the command and all that it started."""
        try:
            os.killpg(trial_metadata["group"], signal.SIGTERM)
        except ProcessLookupError:
            return {}
        (Path(trial_metadata["folder"]) / "exit").write_text(f"{_KILLED}\n")
        return {"stopped": True}


class CommandLoss(IMetric):
    """Reads the loss of a command from the last line of its output.

    The line is a number, or a JSON object with the metric's name. NaN means that it diverged.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.lower_is_better = True  # Ax leaves it open, and then refuses to compare trials

    def fetch(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> tuple[int, tuple[float, float]]:
        """The final loss; its standard error is unknown."""
        output = Path(trial_metadata["folder"]) / "output.txt"
        return 0, (loss_in(output.read_text(), self.name, str(output)), math.nan)


def filled(command: str, known: Mapping[str, Any]) -> list[str]:
    """The arguments of a command template, its placeholders filled."""
    try:
        arguments = [piece.format(**known) for piece in shlex.split(command)]
    except (KeyError, IndexError, ValueError) as error:
        raise InvalidSpaceError(
            f"the command {command!r} cannot be filled ({error!r}), expected placeholders among "
            f"{', '.join(sorted(known))}; correct it, or add the name to every scale's settings"
        ) from error
    if not arguments:
        raise InvalidSpaceError("the command is empty, expected a program; name one")
    return arguments


def loss_in(output: str, name: str, where: str) -> float:
    """The loss in the last line of a command's output."""
    lines = output.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        said = json.loads(last) if last.startswith("{") else {name: float(last)}
        return float(said[name])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidTrialError(
            f"the last line of {where} is {last[:80]!r}, expected a loss or a JSON object with "
            f"{name!r}; print it last"
        ) from error


def run_command(
    client: Client,
    command: str,
    *,
    folder: str | os.PathLike[str],
    max_trials: int,
    parallelism: int = 1,
    seconds_between_polls: int = 1,
) -> str:
    """Let Ax run a training command until the tuner says stop; returns why it ended.

    Args:
        client: From `horizon_client`.
        command: Template of the training command.
        folder: Where outputs and exit codes are kept.
        max_trials: Stop after this many trials at the latest.
        parallelism: Commands running at once.
        seconds_between_polls: How long to wait before looking again, in seconds.
    """
    attach_command(client, command, folder)
    options = OrchestratorOptions(
        max_pending_trials=parallelism,
        init_seconds_between_polls=seconds_between_polls,
        global_stopping_strategy=HorizonStopping(client._generation_strategy),
    )
    orchestrator = Orchestrator(
        experiment=client._experiment,
        generation_strategy=client._generation_strategy,
        options=options,
        db_settings=client.db_settings if client.db_settings_set else None,
    )
    orchestrator.run_n_trials(max_trials=max_trials)
    return HorizonStopping(client._generation_strategy).should_stop_optimization(
        client._experiment
    )[1]


def attach_command(client: Client, command: str, folder: str | os.PathLike[str]) -> None:
    """Give a client the runner and the metric that `Client.run_trials` needs."""
    scales = horizon_study(client).space.scales
    settings = {str(scale.params): dict(scale.settings) for scale in scales}
    _check_template(command, client, [dict(scale.settings) for scale in scales])
    client.configure_runner(CommandRunner(command, os.fspath(folder), settings))
    client.configure_metrics([CommandLoss(loss_metric(client._experiment))])


def _check_template(command: str, client: Client, settings: Sequence[dict[str, Any]]) -> None:
    """Refuse a template at once, rather than at the first trial of the scale it does not fit."""
    parameters = dict.fromkeys(client._experiment.search_space.parameters, 1.0)
    for known in settings:
        filled(command, {**known, **parameters})


def _alive(group: int) -> bool:
    """Whether any process of a group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
