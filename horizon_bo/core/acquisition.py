"""Acquisition: which runs tell most about the best learning rate at the target, per FLOP.

A *plan* is a sequence of candidates that fits the remaining budget; its worth is the reduction of

    expected regret = ½ κ · Var(ln η* | plan),

averaged over the coefficient sets of a `LinearGaussian`. Plans grow greedily, per FLOP, by single
runs and by pairs: one run in a new cell says nothing while its level is unknown, and looking at
single runs only would never open one. A trunk is one run that is read at several branches: it
enters alone and with another that has the same branches, a pair that tells the optimum's place in
all of its cells.

Sources: Bayesian c-optimal design, Chaloner & Verdinelli (1995), Statistical Science
10(3):273-304; greedy by the ratio of gain to cost, Sviridenko (2004), Operations Research
Letters 32(1):41-43.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from horizon_bo.core.gains import NO_TRUNKS, Trunks, cautious_reduction, given_trunk
from horizon_bo.core.linearized import Known, LinearGaussian, linearized
from horizon_bo.core.points import Candidates

#: Candidates that a plan chooses among; from more, the best per FLOP are kept.
_SHORTLIST = 240
_TRUNKS = 48  # the same for trunks
_ROUGH = 4  # linearisations when shortlisting
#: Runs of a plan, unless more are asked for at once.
USUAL_LENGTH = 24


@dataclass(frozen=True)
class Plan:
    """Runs to make in order, with cost and expected regret after each.

    Numbers past those of the single candidates are trunks.
    """

    index: tuple[int, ...]
    cost: tuple[float, ...]  # cumulative, FLOP
    regret: tuple[float, ...]  # after each run, in units of the typical loss
    start: float  # before the first run

    def beside(self, regret: float) -> "Plan":
        """The same where so much regret of another kind stays."""
        if not regret:
            return self
        return replace(
            self, regret=tuple(r + regret for r in self.regret), start=self.start + regret
        )


def shortlist(known: Known, candidates: Candidates) -> Int[np.ndarray, "kept"]:
    """Positions of the candidates that alone or with one other tell most per FLOP."""
    count = len(candidates)
    if count <= _SHORTLIST:
        return np.arange(count)
    points = candidates.points
    keys = np.concat([points.log_scales, points.source[:, None]], 1)
    # candidates of one cell stay together, since their pairs matter most
    cell = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    order, worth = cell.argsort(kind="stable"), np.empty(count)
    for part in np.split(order, range(_SHORTLIST, count, _SHORTLIST)):
        offered = candidates.select(part)
        view = linearized(known, offered, _ROUGH)
        together, alone = _ratios(view, view.covariance, offered.cost, np.inf)
        worth[part] = np.maximum(together.max(1), alone)
    return _largest(worth, _SHORTLIST)


def shortlist_trunks(
    known: Known, candidates: Candidates, trunks: Trunks
) -> Int[np.ndarray, "kept"]:
    """Positions of the trunks that alone or with one other of their kind tell most per FLOP."""
    if len(trunks) <= _TRUNKS:
        return np.arange(len(trunks))
    worth = np.empty(len(trunks))
    for kind in np.unique(trunks.kind):
        part = np.flatnonzero(trunks.kind == kind)
        own = trunks.select(part)
        view = linearized(known, candidates.select(own.candidates), _ROUGH)
        pairs, together, alone = _trunk_ratios(
            view, view.covariance, own.among(own.candidates), np.inf
        )
        np.maximum.at(alone, pairs, together[:, None])
        worth[part] = alone
    return _largest(worth, _TRUNKS)


def _largest(worth: Float[np.ndarray, "offer"], count: int) -> Int[np.ndarray, "kept"]:
    """Positions of the largest, ascending."""
    return np.sort(np.argsort(-worth, kind="stable")[:count])


class _Addition(NamedTuple):
    """What a plan may grow by next, and its reduction of regret per FLOP."""

    ratio: float
    units: tuple[int, ...]


_NOTHING = _Addition(-math.inf, ())


def best_plan(
    view: LinearGaussian,
    cost: Float[np.ndarray, "run"],
    budget: float,
    repeatable: bool,
    least: int = 1,
    trunks: Trunks = NO_TRUNKS,
) -> Plan:
    """Grow a plan by the single run, trunk, or pair of either that lowers regret most per FLOP.

    Args:
        view: Joint normal before the plan.
        cost: Training compute of each single candidate, FLOP; runs of the view past these are
            branches of trunks only.
        budget: Compute the plan may spend, FLOP.
        repeatable: Whether a candidate may be made twice (not in a pool of logged runs).
        least: Grow to this many runs at least, budget permitting.
        trunks: Runs with several branches, numbered past the single ones in the plan.
    """
    covariance, spent = view.covariance, 0.0
    price = np.concat([cost, trunks.cost])
    free = np.ones(len(cost), dtype=bool)
    index: list[int] = []
    costs: list[float] = []
    regrets: list[float] = []
    while len(index) < max(least, USUAL_LENGTH):
        single = _best_addition(view, covariance, cost, budget - spent, free)
        shared = _best_trunks(view, covariance, trunks, budget - spent, len(cost))
        picked = shared if shared.ratio > single.ratio else single
        if not picked.units:
            break
        for unit in picked.units:
            alone = unit < len(cost)
            runs = np.array([unit]) if alone else trunks.branches_of(unit - len(cost))
            covariance = given_trunk(covariance, view.noise, runs)
            spent += float(price[unit])
            free = free if repeatable else free & (np.arange(len(cost)) != unit)
            index.append(unit)
            costs.append(spent)
            regrets.append(float((view.curvature * covariance[:, 0, 0]).mean() / 2))
    return Plan(tuple(index), tuple(costs), tuple(regrets), view.regret)


def _best_addition(
    view: LinearGaussian,
    covariance: np.ndarray,
    cost: np.ndarray,
    budget: float,
    free: Bool[np.ndarray, "run"],
) -> _Addition:
    index = np.flatnonzero(free & (cost <= budget))
    if not len(index):
        return _NOTHING
    part = view
    if len(index) < covariance.shape[1] - 1:
        keep = np.append(0, 1 + index)
        covariance = covariance[:, keep][:, :, keep]
        part = LinearGaussian(covariance, view.noise[:, index], view.curvature)
    together, alone = _ratios(part, covariance, cost[index], budget)
    if float(alone.max()) >= float(together.max()):
        return _Addition(float(alone.max()), (int(index[alone.argmax()]),))
    first, second = divmod(int(together.argmax()), len(index))
    # the run that is worth more alone goes first, so that stopping in between costs least
    ordered = (first, second) if alone[first] >= alone[second] else (second, first)
    return _Addition(float(together.max()), tuple(int(index[i]) for i in ordered))


def _best_trunks(
    view: LinearGaussian, covariance: np.ndarray, trunks: Trunks, budget: float, first: int
) -> _Addition:
    index = np.flatnonzero(trunks.cost <= budget)
    if not len(index):
        return _NOTHING
    pairs, together, alone = _trunk_ratios(view, covariance, trunks.select(index), budget)
    if not len(pairs) or float(alone.max()) >= float(together.max()):
        return _Addition(float(alone.max()), (first + int(index[alone.argmax()]),))
    one, other = (int(k) for k in pairs[together.argmax()])
    ordered = (one, other) if alone[one] >= alone[other] else (other, one)
    return _Addition(float(together.max()), tuple(first + int(index[k]) for k in ordered))


def _trunk_ratios(
    view: LinearGaussian, covariance: np.ndarray, trunks: Trunks, budget: float
) -> tuple[Int[np.ndarray, "pair 2"], Float[np.ndarray, "pair"], Float[np.ndarray, "trunk"]]:
    """Pairs of trunks of one kind, reduction of regret per FLOP by each pair, and by each trunk."""
    weight = view.curvature / 2 / len(view.curvature)
    own = np.zeros(trunks.branches.shape[1], dtype=int)
    alone = weight @ cautious_reduction(covariance, view.noise, trunks.branches, own) / trunks.cost
    pairs = np.argwhere(np.triu(trunks.kind[:, None] == trunks.kind, 1))
    price = trunks.cost[pairs].sum(1)
    both = trunks.branches[pairs].reshape(len(pairs), 2 * len(own))
    gain = weight @ cautious_reduction(covariance, view.noise, both, np.concat([own, own + 1]))
    return pairs, np.where(price <= budget, gain / price, -np.inf), alone


def _ratios(
    view: LinearGaussian, covariance: np.ndarray, cost: np.ndarray, budget: float
) -> tuple[Float[np.ndarray, "run run"], Float[np.ndarray, "run"]]:
    """Reduction of regret per FLOP by each affordable pair, and by each run alone."""
    gain, single = _pair_gains(view, covariance)
    price = cost[:, None] + cost
    together = np.where(price <= budget, gain / price, -np.inf)
    np.fill_diagonal(together, -np.inf)
    return together, single / cost


def _pair_gains(
    view: LinearGaussian, covariance: np.ndarray
) -> tuple[Float[np.ndarray, "run run"], Float[np.ndarray, "run"]]:
    """Expected reduction of regret by each pair of candidates and by each alone.

        Δ Var = (a_i² S_jj − 2 a_i a_j S_ij + a_j² S_ii) / (S_ii S_jj − S_ij²)

    with a the covariance with the optimum and S that of the noisy losses.
    """
    effect, own = covariance[:, 0, 1:], covariance[:, 1:, 1:]
    variance = np.linalg.diagonal(own) + view.noise
    weight = view.curvature / 2 / len(view.curvature)
    pairs = np.zeros_like(own[0])
    # set by set, since all of them at once leave the processor's cache
    for k, share in enumerate(weight):
        a, v, among = effect[k], variance[k], own[k]
        rising = np.outer(share * a**2, v)
        rising = rising + rising.T
        rising -= np.outer(2 * share * a, a) * among
        determinant = np.outer(v, v)
        determinant -= among**2
        rising /= determinant
        pairs += rising
    return pairs, weight @ (effect**2 / variance)
