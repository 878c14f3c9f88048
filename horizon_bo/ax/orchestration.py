"""Orchestration: how does Ax run a user's training command and read its loss?

Commands, folders and losses are those of `horizon-bo run`: a template is filled argument by
argument, no shell sees it, and the loss comes from `result.json` or the last line of output. A
command ends with the process that runs it.

Early stopping is off, and stays off under `Client.run_trials`. A loss read before the schedule has
ended ranks learning rates wrongly: the best rate of the decayed run is up to four times that of the
stable phase, so a strategy that compares curves would stop the very runs that win.
"""

import json
import logging
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ax.api.client import Client
from ax.api.protocols.metric import IMetric
from ax.api.protocols.runner import IRunner
from ax.api.types import TParameterization
from ax.core.parameter import FixedParameter
from ax.core.trial_status import TrialStatus
from ax.orchestration.orchestrator import Orchestrator
from ax.orchestration.orchestrator_options import OrchestratorOptions

from horizon_bo.ax.client import horizon_study
from horizon_bo.ax.space import loss_metric
from horizon_bo.ax.stopping import HorizonStopping
from horizon_bo.ax.trials import run_at
from horizon_bo.errors import InvalidObjectiveError, InvalidTrialError, StudyBusyError
from horizon_bo.runs.commands import Command, objective_from
from horizon_bo.runs.engines.protocol import Placed
from horizon_bo.runs.folder import locked, write_json
from horizon_bo.runs.jobs import Flight, begin
from horizon_bo.runs.outcomes import Exit, outcome_of, outcome_record, stored_outcome
from horizon_bo.runs.processes import Launch, Slot, launching
from horizon_bo.study.horizons import Scale
from horizon_bo.study.records import as_json, study_from, study_record
from horizon_bo.study.trials import Study, Suggestion, Trial

_LOGGER = logging.getLogger(__name__)


class CommandRunner(IRunner):
    """Runs a training command, one process a trial.

    Args:
        command: Template; its placeholders are those of `horizon-bo run`.
        folder: Where each trial gets a folder of its own; held while commands run.
        settings: The study without trials, as `records.study_record` writes it.
    """

    def __init__(self, command: str, folder: str, settings: Mapping[str, Any]) -> None:
        self.command, self.folder, self.settings = command, folder, dict(settings)
        self._flights: dict[int, Flight] = {}
        self._held = ExitStack()
        self._launch: Launch | None = None

    def run_trial(self, trial_index: int, parameterization: TParameterization) -> dict[str, Any]:
        """Start the command; what comes back says where its outcome will be."""
        study = self._study()
        root = Path(self.folder).resolve()
        place = root / f"trial_{trial_index}"
        command = _command(self.command, study)
        if self._launch is None:
            self._launch = self._held.enter_context(
                launching(self._held.enter_context(locked(root)), None)
            )
        run = _suggestion(study, trial_index, parameterization)
        slot = Slot(place.name, {})
        self._flights[trial_index] = begin(command, self._launch, run, place, slot, 1)
        return {"folder": str(place)}

    def poll_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> TrialStatus:
        """Completed with a loss, be it that the run diverged, failed with none."""
        flight = self._flights.get(trial_index)
        if flight is not None:
            ended = flight.exit()
            if ended is None:
                return TrialStatus.RUNNING
            self._keep(trial_index, flight, ended)
        outcome = stored_outcome(Path(trial_metadata["folder"]))
        if outcome is None and self._runs_elsewhere():
            return TrialStatus.RUNNING
        lost = outcome is None or outcome.status == "failed"
        return TrialStatus.FAILED if lost else TrialStatus.COMPLETED

    def stop_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> dict[str, Any]:
        """End the command and all that it started."""
        flight = self._flights.get(trial_index)
        if flight is None:
            return {}
        assert isinstance(flight.job, Placed)
        flight.job.cancel()
        ended = flight.exit()
        assert ended is not None
        self._keep(trial_index, flight, ended)
        return {"stopped": True}

    def _study(self) -> Study:
        if "target" not in self.settings:  # saved when a runner knew its scales alone
            raise InvalidObjectiveError(
                "the runner was saved by an earlier version without its study, expected one with "
                "it; call attach_command(client, command, folder) once more"
            )
        return study_from(self.settings)

    def _keep(self, trial_index: int, flight: Flight, ended: Exit) -> None:
        """Write down how a command ended; after the last one the folder is free again."""
        outcome = outcome_of(flight.run, flight.folder, ended)
        write_json(flight.folder / "outcome.json", outcome_record(outcome))
        if outcome.status == "failed":
            _LOGGER.warning("trial %d failed: %s", trial_index, outcome.detail or outcome.cause)
        del self._flights[trial_index]
        if not self._flights:
            self._held.close()
            self._launch = None

    def _runs_elsewhere(self) -> bool:
        """Whether another runner holds the folder, and with it a command that still runs."""
        if self._flights:
            return False
        try:
            with locked(Path(self.folder)):
                return False
        except StudyBusyError:
            return True


class CommandLoss(IMetric):
    """The loss of a command, NaN where it diverged."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.lower_is_better = True  # Ax leaves it open, and then refuses to compare trials

    def fetch(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> tuple[int, tuple[float, float]]:
        """The final loss and its standard deviation, NaN where that is unknown."""
        outcome = stored_outcome(Path(trial_metadata["folder"]))
        if outcome is None or outcome.status == "failed":
            why = "it has not ended" if outcome is None else outcome.detail
            raise InvalidTrialError(
                f"trial {trial_index} has no loss ({why}), expected one that has ended with a "
                "loss; mark it as failed"
            )
        known = (outcome.loss, outcome.loss_sd)
        loss, loss_sd = (math.nan if value is None else value for value in known)
        return 0, (loss, loss_sd)


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
    """Give a client the runner and the metric that `Client.run_trials` needs.

    Parameters that the experiment fixes beside the tuner's own are placeholders too.
    """
    study = replace(horizon_study(client), trials=())
    fixed = {
        name: parameter.value
        for name, parameter in client._experiment.search_space.parameters.items()
        if isinstance(parameter, FixedParameter) and name not in Trial.__dataclass_fields__
    }
    scales = [replace(s, settings={**fixed, **s.settings}) for s in study.space.scales]
    study = replace(study, space=replace(study.space, scales=scales))
    _command(command, study)  # refuses at once what cannot be filled for every scale
    settings = json.loads(as_json(study_record(study)))
    client.configure_runner(CommandRunner(command, os.fspath(folder), settings))
    client.configure_metrics([CommandLoss(loss_metric(client._experiment))])


def _command(template: str, study: Study) -> Command:
    command = objective_from(template, study, elsewhere=True, target_settings=None)
    assert isinstance(command, Command)
    return command


def _suggestion(study: Study, trial_index: int, parameters: TParameterization) -> Suggestion:
    """An Ax trial as a run that was suggested."""
    trial = run_at(study, trial_index, parameters)
    known = (s for s in study.space.scales if s.params == trial.params)
    return Suggestion(
        id=trial.id,
        learning_rate=trial.learning_rate,
        params=trial.params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
        flops=trial.flops,
        scale=next(known, Scale(params=trial.params)),
        schedule=trial.schedule,
        averaging=trial.averaging,
    )
