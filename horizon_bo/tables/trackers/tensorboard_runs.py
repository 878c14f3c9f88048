"""TensorBoard: which runs do the event files under a folder tell of?

A folder with event files is a run, as it is for TensorBoard. Its hyperparameters are those of the
HParams plugin, or what its name says, as in `lr=0.001,params=45M`. A run without any needs a
mapping that gives them, else it is left out, and said so.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.quantities import quoted
from horizon_bo.tables.trackers.address import TrackedRuns, missing_extra, told

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

#: Name of the folder that `tensorboard_log` writes beside trials.
RECOMMENDATION = "recommendation"

#: Hyperparameters that a folder's name may hold, as Hydra and Ray write them.
_IN_NAMES = re.compile(r"([A-Za-z_][\w.]*)=([^,;=/\s]+)")

_HPARAMS, _SCALARS = "hparams", "scalars"
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"

#: How a session ended, in numbers. Source: tensorboard/plugins/hparams/api.proto, `Status`.
STATUSES = {1: "success", 2: "failure", 3: "running"}


def tensorboard_runs(folder: str) -> TrackedRuns:
    """The runs under a folder: `hparams.lr`, `name.lr`, the last `scalars.loss`, and `status`."""
    try:
        from tensorboard.backend.event_processing import plugin_event_accumulator
    except ImportError as error:
        raise missing_extra("tensorboard", f"tensorboard:{folder}", error) from error
    files = sorted(Path(folder).rglob("*tfevents*"))
    if not files:
        raise InvalidTableError(
            f"tensorboard:{folder} has 0 event files, expected some; check the folder"
        )
    rows, without = [], []
    for place in dict.fromkeys(file.parent for file in files):
        # one value a series is enough: the accumulator always keeps the last
        events = plugin_event_accumulator.EventAccumulator(str(place), {"tensors": 1})
        events.Reload()
        if place.name == RECOMMENDATION:
            continue
        label = place.relative_to(folder).as_posix()
        hparams = _hparams(events) or {f"name.{k}": v for k, v in _IN_NAMES.findall(label)}
        rows.append({"id": label, **hparams, **_last_scalars(events)})
        without += [] if hparams else [label]
    remark = (
        f"{len(without)} folders have no hyperparameters, first {quoted(without[:1])}: left out "
        "unless --map gives them, as in --map params=45M"
    )
    return TrackedRuns(pd.DataFrame.from_records(rows), (remark,) if without else ())


def _last_scalars(events: "EventAccumulator") -> dict[str, Any]:
    from tensorboard.util import tensor_util

    return {
        f"scalars.{tag}": told(
            float(tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto))
        )
        for tag in _tags_of(events, _SCALARS)
    }


def _tags_of(events: "EventAccumulator", plugin: str) -> list[str]:
    return list(events.PluginTagToContent(plugin)) if plugin in events.ActivePlugins() else []


def _hparams(events: "EventAccumulator") -> dict[str, Any]:
    """Hyperparameters, and how the session ended where that is told."""
    from tensorboard.plugins.hparams import metadata

    if _START not in _tags_of(events, _HPARAMS):
        return {}
    contents = events.PluginTagToContent(_HPARAMS)
    start = metadata.parse_session_start_info_plugin_data(contents[_START])
    found = {
        f"hparams.{name}": told(getattr(value, value.WhichOneof("kind")))
        for name, value in start.hparams.items()
        if value.WhichOneof("kind") is not None
    }
    if _END in contents:
        end = metadata.parse_session_end_info_plugin_data(contents[_END])
        found |= {"status": STATUSES.get(end.status, "")}
    return found
