"""Cliff: how likely is a run to diverge?

    P(diverged) = 1 / (1 + exp(−(u − c − c_n n − c_d d − c_b b) / w)),   u = ln η − ln η*

with the law's η*: the most probable coefficients under priors that say where sweeps have their
cliff. A sweep without divergences puts it beyond its rates, no further than those priors want.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.emulators.law import Law
from benchmarks.emulators.rows import FloatArray, Rows

#: Distance above the optimum, exponents and ln width: mean and standard deviation. Public sweeps
#: have their cliff at 1.0 to 3.9 above the optimum, ragged by about half of that scatter's floor.
_BELIEFS = ((2.8, 1.0), (0.0, 0.3), (0.0, 0.3), (0.0, 0.3), (math.log(0.25), 0.5))


@dataclass(frozen=True)
class Cliff:
    """Distance of the cliff above the law's optimum in ln η, exponents, and width."""

    distance: float
    slopes: tuple[float, float, float]
    width: float

    def probability(self, law: Law, inputs: FloatArray) -> FloatArray:
        """Chance that runs `(run, 4)` diverge."""
        at = self.distance + inputs[:, 1:] @ np.array(self.slopes)
        return expit((law.offset(inputs) - at) / self.width)


def fitted_cliff(law: Law, rows: Rows) -> Cliff:
    """The cliff of a sweep."""
    offset, sign = law.offset(rows.inputs), np.where(rows.diverged, 1.0, -1.0)
    location, scale = np.array(_BELIEFS).T

    def objective(theta: FloatArray) -> float:
        at = theta[0] + rows.inputs[:, 1:] @ theta[1:4]
        score = sign * (offset - at) / math.exp(theta[4])
        return float(
            np.logaddexp(0, -score).sum() + 0.5 * (((theta - location) / scale) ** 2).sum()
        )

    found = minimize(objective, location, method="L-BFGS-B").x
    slopes = (float(found[1]), float(found[2]), float(found[3]))
    return Cliff(float(found[0]), slopes, math.exp(float(found[4])))
