"""Optuna: what do TPE and the GP sampler find with the search as their users set it up?

Optuna has neither cost nor a numeric fidelity. The run really made is added as a finished trial,
and the trial that was asked is closed as failed, which its samplers ignore.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.rivals.protocol import Entry, Job, Rival
from benchmarks.rivals.searches import AT_PROXY, JOINT, AtProxy, Joint, Ranges, Search

#: Runs before the model is asked; the default of 10 would leave two of a proxy's twelve to it.
STARTUP_RUNS = 5


def tpe(seed: int) -> Any:
    """TPE over all inputs together, pending trials counted as bad: its users' usual choice."""
    from optuna.samplers import TPESampler

    return TPESampler(
        seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_RUNS
    )


def gaussian_process(seed: int) -> Any:
    """Optuna's own GP with expected improvement."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=STARTUP_RUNS)


class OptunaSearch:
    """A study in memory whose first trial is the guess of the rate."""

    def __init__(self, job: Job, ranges: Ranges, sampler: Callable[[int], Any]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning):
            warnings.simplefilter("ignore")
            self._study = optuna.create_study(sampler=sampler(job.seed))
        self._distributions = {
            name: optuna.distributions.FloatDistribution(low, high, log=True)
            for name, (low, high) in ranges.items()
        }
        self._study.enqueue_trial({"learning_rate": job.center})
        self._asked: Any = None

    def ask(self) -> Mapping[str, float]:
        """The study's next trial, closed at once so that it does not stay pending."""
        from optuna.trial import TrialState

        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=TrialState.FAIL)
        return trial.params

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """A finished trial; a diverged one has the penalty for its value."""
        from optuna.trial import create_trial

        self._study.add_trial(
            create_trial(params=dict(inputs), distributions=self._distributions, value=loss)
        )


def _at_proxy(job: Job, sampler: Callable[[int], Any]) -> Rival:
    return AtProxy(job, partial(_search, sampler=sampler))


def _joint(job: Job, sampler: Callable[[int], Any]) -> Rival:
    return Joint(job, partial(_search, sampler=sampler))


def _search(job: Job, ranges: Ranges, sampler: Callable[[int], Any]) -> Search:
    return OptunaSearch(job, ranges, sampler)


_ALL = "The guess is enqueued first, 5 start-up trials, a diverged run has the penalty as value."

ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        name=name,
        make=partial(make, sampler=sampler),
        given=f"{job_given} {sampler_given} {_ALL}",
        needs=("optuna",),
    )
    for name, make, sampler, job_given, sampler_given in (
        ("optuna-tpe", _at_proxy, tpe, AT_PROXY, "Multivariate TPE with constant liar."),
        ("optuna-tpe-joint", _joint, tpe, JOINT, "Multivariate TPE with constant liar."),
        ("optuna-gp", _at_proxy, gaussian_process, AT_PROXY, "GPSampler."),
        ("optuna-gp-joint", _joint, gaussian_process, JOINT, "GPSampler."),
    )
)
