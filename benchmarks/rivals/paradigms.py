"""Paradigms: which rate does each paradigm name for a target, and what do its runs cost?

    fitting             η*(N, D) = C · N^−α · D^−β by least squares on the best rates of every size
                        and length, each a parabola's vertex in ln η
    fitting, losses     loss at fixed size and rate is a power law in tokens, which says it at the
                        target's length; a parabola in ln η there; η* ∝ N^−α over sizes
    transfer            the best rate of one proxy under µP, carried by its rules
    published laws      the best rate of one proxy, carried by the median ratio of published laws
    ours                the tuner, told the runs that fitting has, and nothing of its own sweep

Fitting takes every other rate of three sizes at three lengths. Nobody else may spend more.
Source: Zhou et al. (2026), arXiv:2601.05049, eq. 2, 4 and 6, for fitting; transfer's rules are
those of `horizon_bo.published.mup` and of the trainer. Changed: losses go to zero rather than to a
level, which three lengths do not tell.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurements.bowls import vertex
from benchmarks.problems.paradigm_runs import PROXY_SEEDS, RATES, Stack, Target
from horizon_bo.core import policy
from horizon_bo.core.inference import believe
from horizon_bo.published.mup import Growth, transfer_factors
from horizon_bo.published.transfer import transfer
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.trials import LoggedRun, Study
from horizon_bo.training.flops import flops_per_token

Array = NDArray[np.float64]
#: Finished stacks by name.
Lines = Mapping[str, Mapping[str, Any]]

#: Which rates of a grid each number of runs takes, as evenly as the middle allows.
_TAKEN = {7: range(7), 5: range(1, 6), 4: range(0, 7, 2), 3: range(1, 6, 2)}
_FITTED = tuple(_TAKEN[4])


@dataclass(frozen=True)
class Answer:
    """A paradigm's rate for a target under a parametrization, and the FLOP of its runs."""

    log2_rate: float
    parametrization: str
    flops: float


def curve(lines: Lines, stack: Stack, steps: int, seed: int) -> Array:
    """A proxy's losses over its rates; infinite where a run diverged."""
    column = list(lines[stack.name]["seeds"]).index(PROXY_SEEDS[seed])
    found = [row[column] for row in lines[stack.name]["losses"][str(steps)]]
    return np.array([np.inf if loss is None else loss for loss in found])


def best(stack: Stack, losses: Array, taken: Sequence[int] = range(RATES)) -> float:
    """Natural log of the best of some of a grid's rates, by a parabola."""
    log_rates = math.log(2) * np.array(stack.log2_rates)
    return vertex(log_rates[list(taken)], losses[list(taken)])


def horizon(target: Target, stack: Stack, steps: int) -> Horizon:
    """A run of a stack."""
    batch = target.sizes.batch
    return Horizon(params=stack.model.params, tokens=steps * batch, batch_tokens=batch)


def budget(target: Target) -> float:
    """What fitting's runs take, FLOP: all lengths of a run are branches of one trunk."""
    return len(_FITTED) * sum(stack.flops(target.sizes.steps) for stack in target.ladder)


def fitting(target: Target, seed: int, lines: Lines) -> Answer:
    """Zhou's law through the best rates of all cells."""
    cells, found = [], []
    for stack in target.ladder:
        for steps in target.sizes.steps:
            cells.append((1.0, math.log(stack.model.params), math.log(steps)))
            found.append(best(stack, curve(lines, stack, steps, seed), _FITTED))
    law, *_ = np.linalg.lstsq(np.array(cells), np.array(found))
    own = target.truth("standard").model.params
    at = float(law @ (1.0, math.log(own), math.log(target.steps)))
    return Answer(at / math.log(2), "standard", budget(target))


def fitting_losses(target: Target, seed: int, lines: Lines) -> Answer:
    """Losses carried to the target's length, then the best rate carried over sizes."""
    log_steps = np.log(target.sizes.steps)
    found = []
    for stack in target.ladder:
        lengths = [np.log(curve(lines, stack, steps, seed)) for steps in target.sizes.steps]
        carried = np.full(RATES, np.inf)
        for k in _FITTED:
            own = np.array([length[k] for length in lengths])
            if np.isfinite(own).all():
                carried[k] = np.polyval(np.polyfit(log_steps, own, 1), math.log(target.steps))
        found.append(best(stack, np.exp(carried), _FITTED))
    sizes = [math.log(stack.model.params) for stack in target.ladder]
    law = np.polyfit(sizes, found, 1)
    at = float(np.polyval(law, math.log(target.truth("standard").model.params)))
    return Answer(at / math.log(2), "standard", budget(target))


def _swept(target: Target, stack: Stack, steps: int) -> tuple[Sequence[int], float]:
    """The most rates of one length that fitting's compute pays, and their FLOP."""
    each = stack.flops((steps,))
    payable = [count for count in _TAKEN if count * each <= budget(target)]
    count = max(payable, default=min(_TAKEN))
    return _TAKEN[count], count * each


def _carried(target: Target, seed: int, lines: Lines, steps: int, rules: Sequence[str]) -> Answer:
    """The proxy's best rate; µP's width, depth and experts are in the target's parametrization."""
    taken, flops = _swept(target, target.proxy, steps)
    log_rate = best(target.proxy, curve(lines, target.proxy, steps, seed), taken)
    factor = transfer_factors(Growth(tokens=target.steps / steps), rules).hidden_rate
    return Answer((log_rate + math.log(factor)) / math.log(2), "mup", flops)


def transfer_long(target: Target, seed: int, lines: Lines) -> Answer:
    """From a proxy as long as the target: only the size changes."""
    return _carried(target, seed, lines, target.steps, ())


def transfer_all(target: Target, seed: int, lines: Lines) -> Answer:
    """From a shorter proxy, by the rule for length too."""
    return _carried(target, seed, lines, target.middle, ("horizon",))


def transfer_same(target: Target, seed: int, lines: Lines) -> Answer:
    """From a shorter proxy, the rate unchanged."""
    return _carried(target, seed, lines, target.middle, ())


def published_laws(target: Target, seed: int, lines: Lines) -> Answer:
    """From the standard proxy by the published laws' median ratio."""
    stack = target.ladder[1]
    taken, flops = _swept(target, stack, target.middle)
    rate = math.exp(best(stack, curve(lines, stack, target.middle, seed), taken))
    start = horizon(target, stack, target.middle)
    end = horizon(target, target.truth("standard"), target.steps)
    return Answer(math.log2(transfer(rate, start, end).learning_rate), "standard", flops)


def ours(target: Target, seed: int, lines: Lines) -> Answer:
    """The tuner's recommendation from fitting's runs, without a guess."""
    truth, sizes = target.truth("standard"), target.sizes
    end = horizon(target, truth, target.steps)
    ladder = target.ladder
    rates = [2.0**rate for stack in (*ladder, truth) for rate in stack.log2_rates]
    study = Study(
        target=end,
        space=SearchSpace(
            learning_rate=(min(rates), max(rates)),
            scales=[
                Scale(params=s.model.params, flops_per_token=flops_per_token(s.model))
                for s in ladder
            ],
            tokens=[float(steps * sizes.batch) for steps in sizes.steps],
        ),
        budget=budget(target),
        experts=bool(target.experts),
        seed=seed,
        excluded_data=("stdlib_gpt",),
    )
    for stack in ladder:
        for steps in sizes.steps:
            losses = curve(lines, stack, steps, seed)
            for k in _FITTED:
                run = LoggedRun(
                    learning_rate=2.0 ** stack.log2_rates[k],
                    params=stack.model.params,
                    tokens=steps * sizes.batch,
                    batch_tokens=sizes.batch,
                    loss=float(losses[k]) if np.isfinite(losses[k]) else None,
                    diverged=not np.isfinite(losses[k]),
                )
                trial = study.trial_from(run, trial_id=len(study.trials), charged=False)
                study = study.with_trials(trial)
    rate = policy.recommend(study, believe(study)).learning_rate
    return Answer(math.log2(rate), "standard", budget(target))


#: Every paradigm by the name that tables show.
PARADIGMS: Mapping[str, Callable[[Target, int, Lines], Answer]] = {
    "fitting": fitting,
    "fitting, losses": fitting_losses,
    "transfer, target's length": transfer_long,
    "transfer, rule for length": transfer_all,
    "transfer, shorter": transfer_same,
    "published laws": published_laws,
    "ours": ours,
}
