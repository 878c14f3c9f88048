"""Watch: what do a study and the curves in its runs' folders say of the large run that has begun?

`HorizonTuner` takes `watch` for a method of its own.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import numpy as np

from horizon_bo.core.batch.choice import best_batch
from horizon_bo.core.checks.curves import Curve
from horizon_bo.core.checks.watch import Watched, watched
from horizon_bo.core.decision import decide
from horizon_bo.errors import InvalidSpaceError, UnfinishedCurveError
from horizon_bo.runs.plan import Tuner
from horizon_bo.store.threads import one_thread
from horizon_bo.study.horizons import positive
from horizon_bo.study.inputs import checked_inputs
from horizon_bo.study.trials import Study

if TYPE_CHECKING:
    import pandas as pd

#: A last point so near to the target's tokens is the last one: steps do not end on them.
_ENDED = 0.999


def watch(
    tuner: Tuner,
    curve: "str | PathLike[str] | pd.DataFrame",
    *,
    learning_rate: float | None = None,
    columns: Mapping[str, str] | None = None,
    folder: str | PathLike[str] | None = None,
    warmup_share: float | None = None,
) -> Watched:
    """Hold the beginning of the large run against what the study foretells.

    Args:
        tuner: Whose study it is.
        curve: Its points so far, a file or data frame with a loss and tokens or steps.
        learning_rate: Its peak learning rate; `None` means the recommended one.
        columns: Where they bear other names, which column is `tokens` and which `loss`.
        folder: Where the study's runs keep their folders, whose `progress.jsonl` are learning
            curves to compare with; `None` compares with final losses alone.
        warmup_share: Share of the run in which its rate rises; `None` takes the target's, or 2 %.
    """
    from horizon_bo.tables.points import curve_points  # with pandas, which takes long to load

    study = tuner.refresh()
    if warmup_share is not None:
        warmup_share = checked_inputs({"warmup_share": warmup_share}, "watch")["warmup_share"]
    recorded = {} if folder is None else recorded_curves(study, Path(folder))
    with one_thread():
        belief = tuner.believed(study)
        tokens, losses, _ = curve_points(curve, columns, best_batch(study, belief))
        points = Curve(tokens, losses)
        if learning_rate is None:
            learning_rate = math.exp(decide(belief).log_lr)
        todo = "give the large run's peak rate"
        rate = positive(learning_rate, "learning_rate", InvalidSpaceError, todo)
        return watched(study, belief, points, rate, recorded, warmup_share)


def followed(
    look: Callable[[], Watched], curve: Path, target_tokens: float, every_s: float
) -> Iterator[Watched]:
    """What is seen each time that a curve's file has grown, until its run has ended.

    It has ended at the target's tokens, or once a `result.json` lies beside the curve.

    Args:
        look: Reads the curve and judges it.
        curve: Its file, which need not be there yet.
        target_tokens: Tokens at which the run ends, a count.
        every_s: Seconds between looks.
    """
    seen = None
    while True:
        ended = (curve.parent / "result.json").is_file()
        size = curve.stat().st_size if curve.is_file() else 0
        if size and size != seen:
            seen = size
            try:
                found = look()
            except UnfinishedCurveError:
                found = None
            if found is not None:
                yield found
                ended |= found.tokens >= _ENDED * target_tokens
        if ended:
            return
        sleep(every_s)


def recorded_curves(study: Study, folder: Path) -> Mapping[int, Curve]:
    """The curves by trial id: tokens and loss, a line each, of `FOLDER/ID/progress.jsonl`.

    Args:
        study: The study.
        folder: Where its runs keep their folders.
    """
    found = {}
    for trial in study.trials:
        points = _points(folder / str(trial.id) / "progress.jsonl")
        if points and trial.trunk is None:
            tokens, losses = zip(*points, strict=True)
            found[trial.id] = Curve(np.array(tokens), np.array(losses))
    return found


def _points(path: Path) -> list[tuple[float, float]]:
    """Tokens and losses of a log's whole lines, in order; none where there is no log."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    points = []
    for line in lines:
        try:
            record = json.loads(line)
            point = (float(record["tokens"]), float(record["loss"]))
        except (ValueError, TypeError, KeyError):  # half a line, or one of something else
            continue
        if point[0] > 0 and math.isfinite(point[0]):
            points.append(point)
    return points
