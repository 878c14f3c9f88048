"""Doubts: what about somebody's runs looks wrong, for this study or for any?

Nothing is refused here: each doubt is one line that names how many rows, the first, and what to
look at. Units are judged by the target, recipes by the study's own.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from horizon_bo.study.horizons import (
    FLOPS_PER_PARAM_TOKEN,
    MOST_STEPS,
    anchored,
    open_batches,
)
from horizon_bo.study.inputs import INPUTS
from horizon_bo.study.outliers import far_apart
from horizon_bo.study.quantities import shown_count, shown_rate
from horizon_bo.study.trials import LoggedRun, Study
from horizon_bo.tables.cells import quoted_name, readable
from horizon_bo.tables.columns import COLUMNS
from horizon_bo.tables.guesses import name_parts
from horizon_bo.tables.input_doubts import input_remarks

#: Counts below this are of millions, or of nothing that is trained.
_LEAST_COUNT = 1000.0
#: How far a size, a length or a batch may lie from the target's, as a factor.
_FAR_BELOW, _FAR_ABOVE = 1e6, 100.0
#: Tokens a parameter beyond which one of the two is in another unit.
_LEAST_PER_PARAM, _MOST_PER_PARAM = 1e-2, 1e5
#: Measured compute over 6 · params · tokens beyond which it is in another unit.
_LEAST_FLOPS, _MOST_FLOPS = 0.1, 30.0
#: Tokens a step at least; fewer are sequences.
_LEAST_BATCH = 100.0

#: Fewest values of a quantity before it is asked whether it goes with another, and the share of its
#: spread in logs that the others must leave over.
_FEWEST_VALUES, _GOES_WITH = 2, 0.1

#: Settings of a run whose change moves the best rate or the loss.
_SETTINGS = (
    r"(\w+_)?(learning_rate|lr)(_\w+)?|(\w+_)?(weight_decay|wd)|beta_?[12s]|(adam_)?beta(_)?[12]|betas"
    r"|momentum|eps|epsilon|(\w+_)?warmup(_\w+)?|(\w+_)?dropout|(\w+_)?clip(_\w+)?|max_grad_norm"
    r"|optimizer(_name|_type)?|optim|(lr_)?schedul(e|er)(_\w+)?|(\w+_)?decay(_\w+)?|label_smoothing"
    r"|batch_size|global_batch_size|train_batch_size|batch|z_loss(_\w+)?|(\w+_)?init(_std|_scale)?"
    r"|precision|dtype|tokenizer|dataset(_name)?|data(_mix|_mixture|_name)?|activation|norm|qk_norm"
    r"|seq_len|sequence_length|context_length|block_size|averaging|ema(_\w+)?"
)
#: Settings that are named at most.
_MOST_NAMED = 6


def remarks_about(runs: Sequence[LoggedRun], rows: Sequence[int], study: Study) -> tuple[str, ...]:
    """What about these runs looks wrong for this study: units, other recipes, all diverged."""
    low, high = study.space.learning_rate
    column = lambda name: np.array(  # noqa: E731
        [np.nan if (value := getattr(run, name)) is None else value for run in runs], dtype=float
    )
    rates = column("learning_rate")
    outside = np.flatnonzero((rates < low) | (rates > high))
    remarks = []
    if len(outside):
        remarks.append(
            f"learning_rate of {len(outside)} of {len(rates)} rows is outside the space "
            f"[{shown_rate(low)}, {shown_rate(high)}], first row {rows[outside[0]]} with "
            f"{shown_rate(float(rates[outside[0]]))}; check its unit"
        )
    counts = [column(name) for name in ("params", "tokens", "batch_tokens", "flops")]
    units = _units(counts[0], counts[1], counts[2], counts[3], study)
    for name, values, bad, why, todo in units:
        if bad.any():
            row = int(bad.argmax())
            remarks.append(
                f"{name} of {int(bad.sum())} of {len(runs)} rows {why}, first row {rows[row]} with "
                f"{shown_count(values[row])}; {todo}"
            )
    if runs and all(run.diverged for run in runs):
        remarks.append(f"all {len(rates)} rows diverged: they say only which rates are too high")
    return (
        *remarks,
        *_far_losses(runs, rows, study),
        *_without_batch(counts[2], rows, study),
        *_confounded(*counts[:3]),
        *input_remarks(runs, rows, study),
        *_recipes(runs, study),
    )


def _far_losses(runs: Sequence[LoggedRun], rows: Sequence[int], study: Study) -> tuple[str, ...]:
    """Losses far from all others, the study's included, in one line."""
    losses = np.array([np.nan if run.loss is None else run.loss for run in runs], dtype=float)
    told = losses[np.isfinite(losses)].tolist()
    if not told:
        return ()
    low, high = far_apart([*told, *(t.loss for t in study.informing if t.loss is not None)])
    far = (losses < low) | (losses > high)
    if not far.any():
        return ()
    row = int(far.argmax())
    return (
        f"loss of {int(far.sum())} of {len(runs)} rows is far from all others, which are {low:g} "
        f"to {high:g}, first row {rows[row]} with {losses[row]:g}: taken as it is; is it the final "
        "loss, in the same unit?",
    )


def _without_batch(batch: np.ndarray, rows: Sequence[int], study: Study) -> tuple[str, ...]:
    """Runs of no batch where it is to be chosen among several, in one line."""
    batches, absent = open_batches(study.target, study.space), np.isnan(batch)
    if not batches or not absent.any():
        return ()
    middle = anchored(study.target, study.space).batch_tokens
    return (
        f"{int(absent.sum())} of {len(batch)} rows name no batch_tokens, first row "
        f"{rows[int(absent.argmax())]}: taken as made in batches of {middle:.12g}, the middle "
        "one of the study's; if they were not, say --map batch_tokens=COLUMN, or a number",
    )


_Unit = tuple[str, np.ndarray, np.ndarray, str, str]


def _units(
    params: np.ndarray, tokens: np.ndarray, batch: np.ndarray, flops: np.ndarray, study: Study
) -> list[_Unit]:
    """Counts that are probably of another unit: which, where, why, and what to do."""
    target = study.target
    found: list[_Unit] = []
    sound = np.ones(len(params), dtype=bool)
    for name, values, own, least in (
        ("params", params, target.params, min(scale.params for scale in study.space.scales)),
        ("tokens", tokens, target.tokens, min(study.space.tokens)),
    ):
        small = values < max(_LEAST_COUNT, own / _FAR_BELOW)
        large = values > own * _FAR_ABOVE
        todo = f"check the unit: {name} are a count"
        todo_small = f"{todo}, so perhaps --map {name}={name}*1e6 or *1e9"
        found.append((name, values, small, "is too small for a trained model", todo_small))
        far = f"is more than {_FAR_ABOVE:g} times the target's {shown_count(own)}"
        found.append((name, values, large, far, todo))
        below = (_FAR_ABOVE * values < least) & ~small
        below &= (below | small).all()  # of one unit, which is not the study's
        why = f"is less than a hundredth of the study's smallest, {shown_count(least)}"
        found.append((name, values, below, why, todo))
        sound &= ~(small | large)
    ratio = tokens / params
    few = sound & (ratio < _LEAST_PER_PARAM)
    many = sound & (ratio > _MOST_PER_PARAM)
    todo = "check the units of params and tokens: both are counts"
    fewer = np.full(len(ratio), (ratio < 1).all() and not few.any())
    found.append(("tokens", tokens, fewer, "is less than params, as if exchanged", todo))
    found.append(("tokens", tokens, few, "is less than 1 per 100 parameters", todo))
    found.append(("tokens", tokens, many, f"is more than {_MOST_PER_PARAM:g} a parameter", todo))
    todo = "check the unit: tokens a step, that is sequences times their length"
    short = batch < max(_LEAST_BATCH, (target.batch_tokens or 0.0) / (10 * _FAR_ABOVE))
    short |= sound & (tokens / batch > MOST_STEPS)
    found.append(("batch_tokens", batch, short, "is too small for a step", todo))
    found.append(("batch_tokens", batch, batch > tokens, "is more than the run's tokens", todo))
    share = flops / FLOPS_PER_PARAM_TOKEN / params / tokens
    odd = (share < _LEAST_FLOPS) | (share > _MOST_FLOPS)
    why = "is far from 6 times params times tokens"
    found.append(("flops", flops, odd, why, "check the unit: FLOP of the whole run"))
    return found


def _confounded(params: np.ndarray, tokens: np.ndarray, batch: np.ndarray) -> tuple[str, ...]:
    """Which of size, tokens and batch go with the others in all rows, in one line."""
    inputs = {"params": params, "tokens": tokens, "batch_tokens": batch}
    logs = {name: np.log(values) for name, values in inputs.items() if (values > 0).all()}
    varying = [name for name in logs if len(np.unique(logs[name].round(6))) >= _FEWEST_VALUES]
    for name, others, todo in (
        ("batch_tokens", ["params", "tokens"], "of one size and length at several batches"),
        ("tokens", ["params"], "of one size at several lengths"),
    ):
        with_ = [other for other in others if other in varying]
        if name not in varying or not with_:
            continue
        design = np.column_stack([np.ones(len(params)), *(logs[other] for other in with_)])
        left = logs[name] - design @ np.linalg.lstsq(design, logs[name], rcond=None)[0]
        if left.std() < _GOES_WITH * logs[name].std():
            return (
                f"{name} goes with {' and '.join(with_)} in all rows: their effects on the best "
                f"rate cannot be told apart, and each alone rests on the prior; add runs {todo}",
            )
    return ()


def _recipes(runs: Sequence[LoggedRun], study: Study) -> tuple[str, ...]:
    """How many runs are of another recipe than the target's, in one line."""
    own = (study.source, study.target.schedule, study.target.averaging)
    labels = [
        (study.source_of(run), run.schedule or own[1], run.averaging or own[2]) for run in runs
    ]
    others = [label for label in labels if label != own]
    if not others:
        return ()
    kinds = list(dict.fromkeys(others))
    named = ", ".join(
        quoted_name(" · ".join(part for part, mine in zip(kind, own, strict=True) if part != mine))
        for kind in kinds[:3]
    )
    more = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
    advice = "they tell how the optimum moves, not where it lies"
    if len(others) == len(runs):
        advice += "; leave the columns source, optimizer, schedule and averaging out if the runs "
        advice += "were made as yours will be"
    return (
        f"{len(others)} of {len(runs)} rows are of another recipe than the target's, {len(kinds)} "
        f"in all ({named}{more}): {advice}",
    )


def unused_settings(frame: pd.DataFrame, used: frozenset[str]) -> tuple[str, ...]:
    """Settings that differ between runs of one size and length and are not used, in one line."""
    cell = pd.DataFrame({name: readable(frame[name])[0] for name in ("params", "tokens")})
    groups = cell.groupby(["params", "tokens"]).ngroup().to_numpy()
    varying = []
    for k, column in enumerate(frame.columns):
        ours = column in used or column in COLUMNS or _is_measured(column)
        if ours or not any(re.fullmatch(_SETTINGS, key) for key in name_parts(column)):
            continue
        values = frame.iloc[:, k].astype(str)
        told = values[~values.str.strip().str.lower().isin(("", "nan", "none", "<na>"))]
        if told.nunique() > 1 and told.groupby(groups[told.index.to_numpy()]).nunique().max() > 1:
            varying.append(f"{quoted_name(column)} ({_some(told)})")
    if not varying:
        return ()
    more = f" and {len(varying) - _MOST_NAMED} more" if len(varying) > _MOST_NAMED else ""
    return (
        f"not used, though it differs between runs of one size: {', '.join(varying[:_MOST_NAMED])}"
        f"{more}: such runs are taken as alike; import one value of it, map it to an input "
        f"({', '.join(INPUTS)}), or name it as their source",
    )


def _some(values: pd.Series) -> str:
    """A few of the values of a setting."""
    different = [quoted_name(str(value)) for value in values.unique()]
    return f"{', '.join(different[:3])}{', …' if len(different) > 3 else ''}"


def _is_measured(column: str) -> bool:
    """Whether a tracker measured it on the way, such as `train/learning_rate`."""
    return (
        re.match(r"(scalars|metrics|summary)[./]|(train|val|valid|eval|test)/", column) is not None
    )
