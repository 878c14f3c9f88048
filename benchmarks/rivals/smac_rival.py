"""SMAC3: what do its GP facade and its multi-fidelity facade find?

SMAC has no cost. With a fidelity its Hyperband compares configurations by their own identity, so
there a run is told at the rate that was asked, not at the row that stood in for it.
"""

import logging
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rivals.protocol import Entry, Job
from benchmarks.rivals.searches import (
    AT_PROXY,
    JOINT,
    ON_LADDER,
    AtProxy,
    Joint,
    OnLadder,
    Ranges,
    quiet,
)

#: Runs of the initial design; its default of 8 per input would leave four of a proxy's twelve.
STARTUP_RUNS = 5
#: More than any replay makes: the harness ends it, not SMAC.
_MOST_RUNS = 10_000


class BlackBoxSearch:
    """The GP facade; asked configurations stay open, and the runs made are told instead."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        from smac import BlackBoxFacade

        space = _space(job, ranges)
        # SMAC writes its scenario to disk; the folder goes with this object.
        self._folder = tempfile.TemporaryDirectory()
        scenario = _scenario(space, job.seed, Path(self._folder.name))
        design = BlackBoxFacade.get_initial_design(
            scenario,
            n_configs=STARTUP_RUNS - 1,
            max_ratio=1.0,
            additional_configs=[space.get_default_configuration()],
        )
        self._space = space
        self._facade = BlackBoxFacade(
            scenario, _never_called, initial_design=design, overwrite=True, logging_level=False
        )
        self._asked: Any = None

    def ask(self) -> Mapping[str, float]:
        """Its next trial."""
        self._asked = _asked(self._facade)
        return {name: float(value) for name, value in self._asked.config.items()}

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The run made; a diverged one crashed, at the penalty."""
        from ConfigSpace import Configuration
        from smac.runhistory.dataclasses import TrialInfo

        made = Configuration(self._space, values=_inside(self._space, inputs))
        info = TrialInfo(config=made, seed=self._asked.seed)
        _tell(self._facade, info, loss, diverged)


class HyperbandSearch:
    """The multi-fidelity facade; tokens as the budget count in units of the shortest."""

    def __init__(self, job: Job, ranges: Ranges) -> None:
        from smac import MultiFidelityFacade

        self._shortest, longest = ranges["tokens"]
        space = _space(job, {"learning_rate": ranges["learning_rate"]})
        self._folder = tempfile.TemporaryDirectory()
        budgets = {"min_budget": 1.0, "max_budget": longest / self._shortest}
        scenario = _scenario(space, job.seed, Path(self._folder.name), **budgets)
        design = MultiFidelityFacade.get_initial_design(
            scenario,
            n_configs=STARTUP_RUNS - 1,
            max_ratio=1.0,
            additional_configs=[space.get_default_configuration()],
        )
        self._facade = MultiFidelityFacade(
            scenario, _never_called, initial_design=design, overwrite=True, logging_level=False
        )
        self._asked: Any = None

    def ask(self) -> Mapping[str, float]:
        """Its next trial with its rung."""
        self._asked = _asked(self._facade)
        tokens = self._asked.budget * self._shortest
        return {"learning_rate": float(self._asked.config["learning_rate"]), "tokens": tokens}

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The outcome of the trial that was asked; a diverged one crashed, at the penalty."""
        _tell(self._facade, self._asked, loss, diverged)


def _space(job: Job, ranges: Ranges) -> Any:
    """Log inputs; the default rate is the guess."""
    from ConfigSpace import ConfigurationSpace, Float

    space = ConfigurationSpace(seed=job.seed)
    for name, (low, high) in ranges.items():
        default = {"default": min(max(job.center, low), high)} if name == "learning_rate" else {}
        space.add(Float(name, (low, high), log=True, **default))
    return space


def _scenario(space: Any, seed: int, folder: Path, **budgets: float) -> Any:
    from smac import Scenario

    logging.getLogger("smac").setLevel(logging.CRITICAL)
    return Scenario(
        space,
        n_trials=_MOST_RUNS,
        deterministic=True,
        seed=seed,
        output_directory=folder,
        **budgets,
    )


def _asked(facade: Any) -> Any:
    with quiet():
        return facade.ask()


def _tell(facade: Any, info: Any, loss: float, diverged: bool) -> None:
    from smac.runhistory.dataclasses import TrialValue
    from smac.runhistory.enumerations import StatusType

    status = StatusType.CRASHED if diverged else StatusType.SUCCESS
    facade.tell(info, TrialValue(cost=loss, time=1.0, status=status), save=False)


def _inside(space: Any, inputs: Mapping[str, float]) -> dict[str, float]:
    """The inputs within the bounds, which logs and back may miss by a rounding."""
    return {
        name: min(max(value, space[name].lower), space[name].upper)
        for name, value in inputs.items()
    }


def _never_called(config: Any, seed: int = 0, budget: float | None = None) -> float:
    raise NotImplementedError("runs are told, not made by SMAC")


_GUESS = "the guess is the default configuration and is run first; "
_CRASH = "a diverged run crashed, at the penalty."

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="smac",
        make=partial(AtProxy, make=BlackBoxSearch),
        given=f"{AT_PROXY} BlackBoxFacade with 5 initial runs; {_GUESS}{_CRASH}",
        needs=("smac",),
    ),
    Entry(
        name="smac-joint",
        make=partial(Joint, make=BlackBoxSearch),
        given=f"{JOINT} BlackBoxFacade with 5 initial runs; {_GUESS}{_CRASH}",
        needs=("smac",),
    ),
    Entry(
        name="smac-hyperband",
        make=partial(OnLadder, make=HyperbandSearch),
        given=f"{ON_LADDER} MultiFidelityFacade's defaults with 5 initial runs; {_GUESS}{_CRASH}",
        needs=("smac",),
    ),
)
