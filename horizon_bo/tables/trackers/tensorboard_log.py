"""TensorBoard: how is a study logged as event files, a folder a trial?

Logged again, a trial's own event file takes the place of the one before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from horizon_bo.core.policy import Recommendation
from horizon_bo.errors import StorageError
from horizon_bo.study.trials import Study
from horizon_bo.tables.trackers.address import missing_extra
from horizon_bo.tables.trackers.logged import (
    LoggedTrial,
    logged_numbers,
    logged_trial,
    logged_words,
)
from horizon_bo.tables.trackers.tensorboard_runs import RECOMMENDATION, STATUSES

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: End of the names of event files that may be replaced: no other file is touched.
_SUFFIX = ".horizon-bo"

_ENDED = {"pending": "running", "completed": "success", "diverged": "success", "failed": "failure"}


def tensorboard_log(folder: str, study: Study, best: Recommendation) -> None:
    """Log each trial as a run with hyperparameters, and the recommendation as one more.

    A trial's metrics stand at its tokens, the recommendation at the count of trials behind it.
    """
    for trial in map(logged_trial, study.trials):
        with _writer(Path(folder) / f"trial-{trial.id:04d}") as writer:
            _write_hparams(writer, trial)
            _write_scalars(writer, trial.metrics, step=int(study.trials[trial.id].tokens))
    with _writer(Path(folder) / RECOMMENDATION) as writer:
        _write_scalars(writer, logged_numbers(best), step=len(study.trials))
        for name, words in logged_words(best).items():
            writer.add_text(name, words, len(study.trials))


def _writer(place: Path) -> "SummaryWriter":
    """A writer to a folder, from which the file of an earlier call is gone."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_extra("tensorboard", f"tensorboard:{place.parent}", error) from error
    try:
        for old in place.glob(f"*tfevents*{_SUFFIX}"):
            old.unlink()
        return SummaryWriter(str(place), filename_suffix=_SUFFIX)
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written ({error}), expected a writable folder; name another"
        ) from error


def _write_hparams(writer: "SummaryWriter", trial: LoggedTrial) -> None:
    from tensorboard.compat.proto import summary_pb2 as summaries
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams import plugin_data_pb2 as messages
    from torch.utils.tensorboard.summary import hparams

    experiment, start, _ = hparams(trial.params, trial.metrics)  # which says of all: success
    code = next(code for code, word in STATUSES.items() if word == _ENDED[trial.status])
    # protobuf makes the classes below at import, out of a type checker's sight
    info = messages.SessionEndInfo(status=code)  # type: ignore[attr-defined]
    ended = messages.HParamsPluginData(session_end_info=info)  # type: ignore[attr-defined]
    value = summaries.Summary.Value(  # type: ignore[attr-defined]
        tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(ended)
    )
    end = summaries.Summary(value=[value])  # type: ignore[attr-defined]
    for summary in (experiment, start, end):
        writer._get_file_writer().add_summary(summary)


def _write_scalars(writer: "SummaryWriter", numbers: Mapping[str, float], step: int) -> None:
    for name, value in numbers.items():
        writer.add_scalar(name, value, step)
