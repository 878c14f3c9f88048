"""Branches: what does one long run cost that is read at several horizons, and which are they?

A run of schedule "wsd" keeps its rate constant after the warm-up and cools down over its last
share c of tokens. Its trunk does not depend on where it ends, so that one trunk may be cooled
down at several horizons h_1 < … < h_k. A branch at h uses the trunk up to (1 − c) h and c h
tokens of its own:

    tokens trained = max_i (1 − c) h_i + Σ_i c h_i = h_k + c Σ_{i<k} h_i

The longest branch is therefore an ordinary run, and is charged the trunk; each shorter one is
charged its cooldown. Every branch gives what an ordinary run of its length would have given,
warm-up and cooldown included, and has the recipe of one: nothing but the seed ties it to its
siblings.

Source: Hu et al. (2024), arXiv:2404.06395, section 4; Hägele et al. (2024), arXiv:2405.18392.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from horizon_bo.errors import InvalidTrialError, UnknownTrialError
from horizon_bo.study.horizons import BRANCHING_SCHEDULE, Scale, positive
from horizon_bo.study.trials import Study, Suggestion, Trial

#: A branch answers to its token count within this share: logs round to four digits, and trainers
#: to whole steps.
_TOLERANCE = 1e-3


def branch_flops(whole: Sequence[float], cooldown: float) -> list[float]:
    """Compute that each branch of one trunk adds, in FLOP; they sum to the price of the run.

    Args:
        whole: Compute of an ordinary run to each horizon, ascending, in FLOP.
        cooldown: Share of a run's tokens spent in its cooldown.
    """
    return [*(cooldown * flops for flops in whole[:-1]), whole[-1]]


def branch_trials(run: Suggestion, trial_id: int, source: str) -> list[Trial]:
    """The pending trials of a suggestion: one, or one for each branch, with ids from `trial_id`."""
    flops = [run.flops]
    if run.branches:
        assert run.cooldown is not None, "only runs with a cooldown branch"
        flops = branch_flops([run.scale.flops(tokens) for tokens in run.branches], run.cooldown)
    return [
        Trial(
            id=trial_id + k,
            learning_rate=run.learning_rate,
            params=run.params,
            tokens=tokens,
            batch_tokens=run.batch_tokens,
            flops=price,
            schedule=run.schedule,
            averaging=run.averaging,
            source=source,
            settings=run.scale.settings,
            row=run.row,
            trunk=trial_id if run.branches else None,
            inputs=run.inputs,
        )
        for k, (tokens, price) in enumerate(zip(run.branches or (run.tokens,), flops, strict=True))
    ]


def suggestion(read: Sequence[Trial], study: Study) -> Suggestion:
    """The run that these trials read, as a training command needs to know it.

    Args:
        read: One trial, or all branches of one trunk, the longest last.
        study: The study they belong to.
    """
    trial = read[-1]
    scale = next((s for s in study.space.scales if s.params == trial.params), None)
    return Suggestion(
        id=read[0].id,
        learning_rate=trial.learning_rate,
        params=trial.params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
        flops=math.fsum(t.flops for t in read),
        scale=scale or Scale(params=trial.params, settings=trial.settings),
        schedule=trial.schedule,
        averaging=trial.averaging,
        row=trial.row,
        branches=tuple(t.tokens for t in read) if len(read) > 1 else (),
        cooldown=study.space.cooldown if trial.schedule == BRANCHING_SCHEDULE else None,
        inputs=trial.inputs,
    )


def by_run(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    """Trials as the runs that they read: one each, or all branches of a trunk."""
    own = lambda trial: (trial.trunk is not None, trial.id if trial.trunk is None else trial.trunk)  # noqa: E731
    return [tuple(group) for _, group in groupby(trials, own)]


def run_of(study: Study, run_id: int) -> Suggestion:
    """The run of that id, as it was suggested."""
    read = [trial for trial in study.trials if run_id in (trial.id, trial.trunk)]
    return suggestion(read, study)


def awaited(
    study: Study, run_id: int, branch: float | None = None, *, whole: bool = False
) -> list[Trial]:
    """The pending trials that an outcome of a run is about.

    Args:
        study: The study.
        run_id: Id of the suggestion.
        branch: Token count of the branch, where the run has branches.
        whole: Without `branch`, take all branches still pending.
    """
    known = isinstance(run_id, int) and 0 <= run_id < len(study.trials)
    trunk = study.trials[run_id].trunk if known else None
    if trunk is None:
        trial = study.pending(run_id)
        if branch is not None:
            raise InvalidTrialError(
                f"branch of trial {run_id} is {branch!r}, expected none, since it is read once, "
                f"at {trial.tokens:g} tokens; leave branch out"
            )
        return [trial]
    siblings = [trial for trial in study.trials if trial.trunk == trunk]
    waiting = [trial for trial in siblings if trial.status == "pending"]
    if trunk != run_id:
        raise UnknownTrialError(
            f"trial {run_id} is a branch of run {trunk}, expected the id of a run; "
            f"report it as run {trunk} with branch {study.trials[run_id].tokens:.10g}"
        )
    if branch is not None:
        return [_branch(siblings, branch)]
    if not waiting:
        raise UnknownTrialError(
            f"run {trunk} has all of its branches {_counts(siblings)} reported, expected a pending "
            "one; an outcome is recorded once, log a repeat as a LoggedRun"
        )
    if not whole:
        raise InvalidTrialError(
            f"branch of run {trunk} is missing, expected one of {_counts(waiting)} tokens; "
            "name the branch that the loss was read at"
        )
    return waiting


def _branch(siblings: Sequence[Trial], branch: float) -> Trial:
    """The pending branch at a token count."""
    trunk = siblings[0].trunk
    todo = "name one of the suggested token counts"
    tokens = positive(branch, f"branch of run {trunk}", InvalidTrialError, todo)
    found = min(siblings, key=lambda trial: abs(math.log(trial.tokens / tokens)))
    if not math.isclose(found.tokens, tokens, rel_tol=_TOLERANCE):
        raise UnknownTrialError(
            f"branch of run {trunk} is {branch!r}, expected one of {_counts(siblings)} tokens; "
            "name one of them, log another one as a LoggedRun"
        )
    if found.status != "pending":
        waiting = [trial for trial in siblings if trial.status == "pending"]
        raise UnknownTrialError(
            f"branch {branch!r} of run {trunk} is already {found.status} (loss {found.loss}), "
            f"expected a pending one ({_counts(waiting) or 'none is left'}); "
            "an outcome is recorded once, log a repeat as a LoggedRun"
        )
    return found


def _counts(trials: Sequence[Trial]) -> str:
    return ", ".join(f"{trial.tokens:.10g}" for trial in trials)


def charged(trials: Sequence[Trial], flops: float | None) -> list[Trial]:
    """The trials with the compute they really took, shared in proportion to what was planned.

    Args:
        trials: Branches of one run.
        flops: Compute in all, FLOP; `None` keeps what was planned.
    """
    if flops is None:
        return list(trials)
    todo = "drop the trial or correct it"
    total = positive(flops, f"flops of trial {trials[0].id}", InvalidTrialError, todo)
    planned = math.fsum(trial.flops for trial in trials)
    return [replace(trial, flops=total * (trial.flops / planned)) for trial in trials]
