"""Job: how is a run trained in a process of its own, and what does it leave in its folder?

`progress.jsonl` grows while it trains, `checkpoint.pt` lets a killed run go on, and `result.json`
appears, whole, when it has ended.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from horizon_bo.errors import HorizonBOError
from horizon_bo.training import checkpoint
from horizon_bo.training.config import RunConfig, TrainingConfigError, run_config
from horizon_bo.training.corpus import corpus
from horizon_bo.training.loop import Outcome, train

RESULT = "result.json"
PROGRESS = "progress.jsonl"
#: Seconds between lines of progress.
_PROGRESS_S = 1.0


class OutOfMemoryError(HorizonBOError, MemoryError):
    """A model that does not fit."""


def run_job(
    config: RunConfig,
    folder: Path,
    *,
    text: Sequence[str] = (),
    averaging: str = "none",
    device: str = "cpu",
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train in a folder, or go on there; the record that `result.json` holds.

    Args:
        config: The run, a stack of one.
        folder: Made if absent.
        text: Files to learn from; empty takes the standard library.
        averaging: Whose final loss is the run's loss: `"none"` or one of the config's.
        device: `"cpu"` or `"cuda"`.
        told: Told of the progress about once a second.

    Raises:
        OutOfMemoryError: The model does not fit on the device.
    """
    _write(folder, "config.json", config.as_json())
    last = 0.0

    def note(progress: Mapping[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last < _PROGRESS_S:
            return
        last = time.monotonic()
        _write(folder, PROGRESS, json.dumps(_told(progress)), mode="a")
        if told is not None:
            told(progress)

    try:
        outcome = train(config, corpus(text), device=device, folder=folder, progress=note)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise OutOfMemoryError(
            f"out of memory: a model of {config.model.params:,} parameters in batches of "
            f"{config.recipe.batch_tokens:,} tokens arrived, expected one that fits on {device}; "
            "leave this scale out or make the batch smaller"
        ) from error
    record = result_of(config, outcome, averaging)
    _write(folder, f"{RESULT}.partial", json.dumps(record))
    (folder / f"{RESULT}.partial").replace(folder / RESULT)
    (folder / checkpoint.NAME).unlink(missing_ok=True)
    return record


def result_of(config: RunConfig, outcome: Outcome, averaging: str = "none") -> dict[str, Any]:
    """What a run reached, as one JSON object.

    `loss` is that of the last reading under `averaging`, in nats per token; `flops` is the
    training compute of the whole run, branches included.
    """
    found = [r for r in outcome.readings if r["averaging"] == averaging]
    if not found:
        raise TrainingConfigError(
            f"averaging is {averaging!r}, expected 'none' or one of those read, "
            f"{config.averagings}; add it to averagings"
        )
    final = max(found, key=lambda r: (r["tokens"], r["schedule"] == config.recipe.schedule))
    return {
        "loss": final["loss"],
        "diverged": final["diverged"],
        "bits_per_byte": final["bits_per_byte"],
        "flops": outcome.flops,
        "tokens_per_second": outcome.tokens_per_second,
        "flops_utilization": outcome.flops_utilization,
        "readings": list(outcome.readings),
        "config": json.loads(config.as_json()),  # as reading the file gives it
    }


def config_at(path: Path) -> RunConfig:
    """The run that a JSON file describes."""
    try:
        return run_config(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        if isinstance(error, HorizonBOError):
            raise
        raise TrainingConfigError(
            f"{path} cannot be read as a run ({error}), expected a JSON object; correct it"
        ) from error


def _told(progress: Mapping[str, Any]) -> dict[str, Any]:
    return {**progress, "loss": progress["loss"][0]}


def _write(folder: Path, name: str, line: str, mode: str = "w") -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open(mode) as file:
            file.write(line + "\n")
    except OSError as error:
        raise checkpoint.CheckpointError(
            f"{folder / name} cannot be written ({error}), expected a folder with room; free some "
            "and start the run again"
        ) from error
