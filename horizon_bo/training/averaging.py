"""Averaging: which past weights make the mean that is read at a horizon?

LAWA is the uniform mean of the last k checkpoints, spaced evenly over a last share of the run;
SWA that of every tenth step since three quarters of it; EMA an exponential mean. Shares are of
the horizon at which the mean is read, so a mean reaches back equally far, in relative terms, at
every horizon of one trunk.

Source: LAWA by Sanyal et al. (2023), arXiv:2306.03241, k = 5 (their code); SWA by Izmailov et al.
(2018), arXiv:1803.05407, started at 75 %, with the ten steps of Sanyal et al.'s comparison.
Changed: LAWA's spacing is a share of the horizon rather than a number of steps; EMA's memory is
one, for the same reason.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

LAWA_CHECKPOINTS = 5
#: The last quarter of a run; their 5 × 2000 of 70,000 steps reach back 11 %, a small model's
#: noise asks for more.
LAWA_WINDOW = 0.25
SWA_START, SWA_SPACING = 0.75, 10
#: Mean age of an exponential average, as a share of the horizon: that of LAWA's checkpoints.
EMA_AGE = LAWA_WINDOW * (LAWA_CHECKPOINTS - 1) / 2 / LAWA_CHECKPOINTS


@lru_cache
def averaged_steps(averaging: str, horizon: int) -> frozenset[int]:
    """Steps after which the weights enter a uniform mean that is read after `horizon` steps."""
    if averaging == "lawa":
        spacing = LAWA_WINDOW * horizon / LAWA_CHECKPOINTS
        return frozenset(
            max(1, round(horizon - spacing * back)) for back in range(LAWA_CHECKPOINTS)
        )
    assert averaging == "swa", f"{averaging} is no uniform mean"
    return frozenset(range(horizon, max(0, int(SWA_START * horizon)), -SWA_SPACING))


@dataclass
class Average:
    """A mean of weights under way, updated in place after each step.

    Args:
        averaging: `"lawa"`, `"swa"` or `"ema"`.
        horizon: Step after which it is read.
        mean: The mean so far, one row a run.
        count: Weights in it.
    """

    averaging: str
    horizon: int
    mean: Tensor
    count: int = 0

    def update(self, theta: Tensor, step: int) -> None:
        """Take in the weights after `step` steps."""
        if step > self.horizon:
            return
        if self.averaging == "ema":
            weight = 1.0 if not self.count else min(1.0, 1 / (EMA_AGE * self.horizon))
        elif step in averaged_steps(self.averaging, self.horizon):
            weight = 1 / (self.count + 1)
        else:
            return
        self.mean.lerp_(theta, weight)
        self.count += 1


def averages(
    averagings: tuple[str, ...], horizons: tuple[int, ...], theta: Tensor
) -> list[Average]:
    """One empty mean per averaging and horizon."""
    return [
        Average(averaging, horizon, torch.zeros_like(theta))
        for averaging in averagings
        for horizon in horizons
    ]
