"""Changes: which study is it after a run was started, has ended, or was logged by others?

Pure functions: each takes a `Study` and gives another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from horizon_bo.errors import InvalidSpaceError, InvalidTrialError
from horizon_bo.study.branches import awaited, branch_trials, charged
from horizon_bo.study.trials import LoggedRun, Study, Suggestion


def start(study: Study, suggestions: Sequence[Suggestion]) -> Study:
    """The study with the suggested runs pending, each branch a trial of its own."""
    for run in suggestions:
        study = study.with_trials(*branch_trials(run, len(study.trials), study.source))
    return study


def observe(
    study: Study,
    run: Suggestion | LoggedRun | int,
    *,
    loss: float | None = None,
    loss_sd: float | None = None,
    diverged: bool = False,
    failed: bool = False,
    flops: float | None = None,
    branch: float | None = None,
) -> Study:
    """The study with a run's outcome; a loss that is not finite means that it diverged.

    Branches of one trunk enter the likelihood as independent runs. Their noise is not (see
    `core.gains.SHARED_NOISE`), and the worth of a trunk takes that into account; the likelihood
    does not, because its outliers are told one by one, by a latent factor on each run's variance.
    So k branches at one rate count for somewhat more than they are, never for more than k runs.

    Args:
        study: The study.
        run: A suggestion, its id, or a run that was never suggested, which is charged.
        loss: Final loss.
        loss_sd: Known standard deviation of `loss`.
        diverged: Training blew up.
        failed: The run says nothing about the loss; its compute is charged all the same.
        flops: Compute it really took, FLOP; `None` keeps what was planned.
        branch: Token count of the branch, for a run with branches. Without it, `diverged` and
            `failed` are said of all branches still pending.
    """
    if isinstance(run, LoggedRun):
        if branch is not None:
            raise InvalidTrialError(
                f"branch of a logged run is {branch!r}, expected none; "
                "log each branch as a run of its own"
            )
        run = replace(
            run,
            loss=run.loss if loss is None else loss,
            loss_sd=run.loss_sd if loss_sd is None else loss_sd,
            diverged=run.diverged or diverged,
            failed=run.failed or failed,
            flops=run.flops if flops is None else flops,
        )
        return study.with_trials(study.trial_from(run, trial_id=len(study.trials), charged=True))
    run_id = run.id if isinstance(run, Suggestion) else run
    if _is_repeat(study, run_id, branch, loss, diverged=diverged, failed=failed):
        return study
    trials = awaited(study, run_id, branch, whole=loss is None)
    require_one(trials[0].id, {"loss": loss is not None, "diverged": diverged, "failed": failed})
    for trial in charged(trials, flops):
        ended = (
            replace(trial, status="diverged" if diverged else "failed")
            if loss is None
            else trial.completed(loss, loss_sd)
        )
        study = study.with_outcome(ended)
    return study


def require_one(trial_id: int, outcome: Mapping[str, bool]) -> None:
    """Refuse an outcome that is none, or more than one."""
    said = [name for name, given in outcome.items() if given]
    if len(said) != 1:
        raise InvalidTrialError(
            f"outcome of trial {trial_id} is {' and '.join(said) or 'missing'}, "
            "expected exactly one of loss, diverged or failed; report one"
        )


def without_scales(study: Study, params: Sequence[float]) -> Study:
    """The study as if it had not the scales of these sizes, counts of parameters."""
    if not params:
        return study
    sizes = [scale.params for scale in study.space.scales]
    kept = [scale for scale in study.space.scales if scale.params not in params]
    if len(kept) != len(sizes) - len(set(params)):
        raise InvalidSpaceError(
            f"the scales to leave out are {list(params)}, expected some of {sizes}; "
            "give their counts of parameters"
        )
    return replace(study, space=replace(study.space, scales=kept))


def _is_repeat(
    study: Study,
    run_id: int,
    branch: float | None,
    loss: float | None,
    *,
    diverged: bool,
    failed: bool,
) -> bool:
    """Whether the study holds this very outcome already, or held it before it was corrected.

    Two processes may report the same.
    """
    lost = diverged or (isinstance(loss, float | int) and not math.isfinite(loss))
    status = "failed" if failed else "diverged" if lost else "completed"
    value = loss if status == "completed" else None
    siblings = [t for t in study.trials if run_id == (t.id if t.trunk is None else t.trunk)]
    told = [t for t in siblings if branch in (None, t.tokens)]
    said = lambda trial: [(t.status, t.loss) for t in (trial, *trial.earlier)]  # noqa: E731
    return bool(told) and all((status, value) in said(trial) for trial in told)


def import_runs(study: Study, runs: Sequence[LoggedRun], *, count_cost: bool = False) -> Study:
    """The study with logged runs added; they cost nothing unless `count_cost`."""
    first = len(study.trials)
    trials = [
        study.trial_from(run, trial_id=first + k, charged=count_cost, row=k)
        for k, run in enumerate(runs)
    ]
    return study.with_trials(*trials)
