"""Checkpoint: how does a killed run go on exactly where it was?

A checkpoint holds every value that later steps depend on, and is written beside the old one and
then put in its place, so that there is a whole one at every moment.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from horizon_bo.errors import HorizonBOError
from horizon_bo.training.averaging import Average
from horizon_bo.training.optimizers import State

NAME = "checkpoint.pt"


class CheckpointError(HorizonBOError, ValueError):
    """A checkpoint that does not fit the run, or cannot be written."""


@dataclass
class Progress:
    """Where a run is: its state, its means, what was read, and how long that took.

    Args:
        state: Weights and moments.
        means: Weight averages under way.
        readings: Records of what was read so far.
        smooth: Smoothed training loss of each run, nats per token; `None` before the first step.
        trained: Steps made, branches included.
        seconds: Time spent in those steps.
    """

    state: State
    means: list[Average]
    readings: list[dict[str, Any]]
    smooth: torch.Tensor | None = None
    trained: int = 0
    seconds: float = 0.0


def save(progress: Progress, identity: str, folder: Path) -> None:
    """Write a checkpoint of the run that `identity` describes."""
    record = {"identity": identity, **vars(progress)}
    record["state"] = vars(progress.state)
    record["means"] = [vars(mean) for mean in progress.means]
    partial = folder / f"{NAME}.partial"
    try:
        with partial.open("wb") as file:
            torch.save(record, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / NAME)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
        raise CheckpointError(
            f"{folder / NAME} cannot be written ({error}), expected room for "
            f"{progress.state.theta.nbytes * (3 + len(progress.means)):.3g} bytes; free some and "
            "start the run again"
        ) from error


def load(folder: Path, identity: str, device: str) -> Progress | None:
    """The progress of that run; `None` where the folder holds no checkpoint.

    Raises:
        CheckpointError: The folder holds another run's, or a damaged one.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        record = torch.load(path, map_location=device, weights_only=True)
        found = record.pop("identity")
        record["state"] = State(**record["state"])
        record["means"] = [Average(**mean) for mean in record["means"]]
        progress = Progress(**record)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(
            f"{path} cannot be read ({error}), expected a checkpoint of this run; delete it to "
            "start over"
        ) from error
    if found != identity:
        raise CheckpointError(
            f"{path} is of another run, expected one of the same config and text; choose an empty "
            "folder or delete it"
        )
    return progress
