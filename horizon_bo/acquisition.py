"""Acquisition: which runs tell most about the best learning rate at the target, per FLOP.

Around each of a few posterior coefficient sets the surrogate is linearised, so that the runs so
far, the candidates and the optimum at the target are jointly normal. A *plan* is a sequence of
candidates that fits the remaining budget; its worth is the fall of

    expected regret = ½ κ · Var(ln η* | plan),

averaged over the sets. Plans grow greedily, per FLOP, by single runs and by pairs: one run in a
new cell says nothing while its level is unknown, and looking at single runs only would never
open one.

Sources: Bayesian c-optimal design, Chaloner & Verdinelli (1995), Statistical Science
10(3):273-304; greedy by the ratio of gain to cost, Sviridenko (2004), Operations Research
Letters 32(1):41-43.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from jaxtyping import Bool, Float, Int
from torch import Tensor

from horizon_bo.mean import Prior, coefficients
from horizon_bo.sampler import Posterior
from horizon_bo.surrogate import Runs, cell_covariance, features, level_mean, same_source

#: Coefficient sets around which the surrogate is linearised.
LINEARISATIONS = 16
#: Student-t noise with 4 degrees of freedom carries (ν+1)/(ν+3) of the normal's information.
_NOISE_LOSS = 1.4
#: Candidates that a plan chooses among; from more, the best per FLOP are kept.
_SHORTLIST = 240
_ROUGH = 4  # linearisations when shortlisting
_LEAST_SAFETY = 1e-6
_LEAST_DROP = 1e-300  # keeps the log finite where a run tells nothing
_STEP = 1e-4  # of central differences in standard-normal coordinates
_LONGEST_PLAN = 24


@dataclass(frozen=True)
class Candidates:
    """Runs that could be made."""

    log_lr: Float[Tensor, "run"]
    places: Float[Tensor, "run 3"]
    source: Int[Tensor, "run"]
    cost: Float[Tensor, "run"]  # FLOP

    def select(self, index: Tensor) -> "Candidates":
        """The candidates at an index or mask."""
        return Candidates(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Outlook:
    """Joint normal of the optimum at the target (index 0) and candidates, given the runs so far."""

    covariance: Float[Tensor, "set all all"]
    noise: Float[Tensor, "set run"]
    curvature: Float[Tensor, "set"]  # at the target, in units of the typical loss

    @property
    def regret(self) -> float:
        """Expected regret now, in units of the typical loss."""
        return float((self.curvature * self.covariance[:, 0, 0]).mean() / 2)


@dataclass(frozen=True)
class Plan:
    """Runs to make in order, with cost and expected regret after each."""

    index: tuple[int, ...]
    cost: tuple[float, ...]  # cumulative, FLOP
    regret: tuple[float, ...]  # after each run, in units of the typical loss
    start: float  # before the first run


@dataclass(frozen=True)
class Known:
    """What a plan starts from: the posterior, the runs it came from, and runs under way."""

    posterior: Posterior
    runs: Runs
    pending: Candidates


def outlook(
    known: Known,
    candidates: Candidates,
    priors: Mapping[str, Prior],
    sets: int = LINEARISATIONS,
) -> Outlook:
    """Linearise the surrogate and condition it on all runs made, pending ones included."""
    posterior, runs, pending = known.posterior, known.runs, known.pending
    pick = torch.linspace(0, len(posterior.z) - 1, sets).long()
    z = posterior.z[pick]
    done = ~runs.diverged
    log_lr = torch.cat([runs.log_lr[done], pending.log_lr, candidates.log_lr])
    places = torch.cat([runs.places[done], pending.places, candidates.places])
    source = torch.cat([runs.source[done], pending.source, candidates.source])
    c = coefficients(z, priors)
    f = features(c, log_lr, places, source)
    joint = _joint_covariance(z, priors, log_lr, places, source)
    seen = int(done.sum())
    first = seen + len(pending.log_lr)
    own = features(
        c,
        runs.log_lr[done],
        runs.places[done],
        runs.source[done],
        runs.variance[done],
        runs.count[done],
    ).variance
    own = own * posterior.inflation[pick][:, done]
    # a run that may diverge tells of the loss with the probability that it does not
    safety = torch.special.ndtr(-f.height[:, seen:]).clamp_min(_LEAST_SAFETY)
    noise = torch.cat([own, f.variance[:, seen:] * _NOISE_LOSS / safety], 1)
    covariance = _given(joint, noise[:, :first])
    return Outlook(covariance, noise[:, first:], torch.as_tensor(c.law.log_curvature).exp())


def shortlist(
    known: Known, candidates: Candidates, priors: Mapping[str, Prior]
) -> Int[Tensor, "kept"]:
    """Positions of the candidates that alone or with one other tell most per FLOP."""
    count = len(candidates.log_lr)
    if count <= _SHORTLIST:
        return torch.arange(count)
    keys = torch.cat([candidates.places, candidates.source[:, None].to(torch.float64)], 1)
    # candidates of one cell stay together, since their pairs matter most
    order = torch.unique(keys, dim=0, return_inverse=True)[1].argsort(stable=True)
    worth = torch.empty(count, dtype=torch.float64)
    for part in order.split(_SHORTLIST):
        offered = candidates.select(part)
        view = outlook(known, offered, priors, _ROUGH)
        together, alone = _ratios(view, view.covariance, offered.cost, torch.inf)
        worth[part] = torch.maximum(together.amax(1), alone)
    return worth.topk(_SHORTLIST).indices.sort().values


def _joint_covariance(
    z: Tensor, priors: Mapping[str, Prior], log_lr: Tensor, places: Tensor, source: Tensor
) -> Float[Tensor, "set all all"]:
    """Covariance of (ln η* at the target, loss of each run) of the linearised surrogate."""
    jacobian = _jacobian(z, priors, log_lr, places, source)
    c = coefficients(z, priors)
    basis = features(c, log_lr, places, source).basis
    # The optimum at the target is the law's plus the drift of the target's own cell.
    at_target = torch.zeros(len(z), 1, 3, dtype=z.dtype)
    at_target[..., 1] = 1.0
    basis = torch.cat([at_target, basis], 1)
    cells = torch.cat([torch.zeros(1, 3, dtype=z.dtype), places])
    cell_source = torch.cat([torch.zeros(1, dtype=source.dtype), source])
    departures = cell_covariance(c, cells, cells, same_source(cell_source, cell_source))
    weights = basis.transpose(1, 2)
    departures = (weights.unsqueeze(-1) * departures * weights.unsqueeze(-2)).sum(1)
    return jacobian @ jacobian.mT + departures


def _jacobian(
    z: Tensor, priors: Mapping[str, Prior], log_lr: Tensor, places: Tensor, source: Tensor
) -> Float[Tensor, "set all coordinate"]:
    """Slopes of (ln η* at the target, mean loss of each run) in the standard-normal coordinates."""
    sets, dimension = z.shape
    steps = _STEP * torch.eye(dimension, dtype=z.dtype)
    moved = torch.stack([z.unsqueeze(1) + steps, z.unsqueeze(1) - steps], 1).reshape(-1, dimension)
    c = coefficients(moved, priors)
    loss = level_mean(c, places) + features(c, log_lr, places, source).mean
    values = torch.cat([torch.as_tensor(c.law.log_optimum).unsqueeze(-1), loss], -1)
    values = values.reshape(sets, 2, dimension, -1)
    return ((values[:, 0] - values[:, 1]) / (2 * _STEP)).transpose(1, 2)


def _given(joint: Tensor, noise: Float[Tensor, "set known"]) -> Tensor:
    """Drop the first `known` runs of a joint normal by conditioning on them."""
    known = noise.shape[1]
    if not known:
        return joint
    seen = slice(1, 1 + known)
    keep = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1 + known, joint.shape[1])])
    gram = joint[:, seen, seen] + torch.diag_embed(noise)
    cross = joint[:, seen][:, :, keep]
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), cross, upper=False)
    return joint[:, keep][:, :, keep] - half.mT @ half


def best_plan(
    view: Outlook, cost: Float[Tensor, "run"], budget: float, repeatable: bool, least: int = 1
) -> Plan:
    """Grow a plan by the single run or pair that lowers regret most per FLOP.

    Args:
        view: Joint normal before the plan.
        cost: Training compute of each candidate, FLOP.
        budget: Compute the plan may spend, FLOP.
        repeatable: Whether a candidate may be made twice (not in a pool of logged runs).
        least: Grow to this many runs at least, budget permitting.
    """
    covariance, spent = view.covariance, 0.0
    free = torch.ones(len(cost), dtype=torch.bool)
    index: list[int] = []
    costs: list[float] = []
    regrets: list[float] = []
    while len(index) < max(least, _LONGEST_PLAN):
        picked = _best_addition(view, covariance, cost, budget - spent, free)
        if not picked:
            break
        for run in picked:
            covariance = _after(covariance, view.noise, run)
            spent += float(cost[run])
            free = free if repeatable else free & (torch.arange(len(cost)) != run)
            index.append(run)
            costs.append(spent)
            regrets.append(float((view.curvature * covariance[:, 0, 0]).mean() / 2))
    return Plan(tuple(index), tuple(costs), tuple(regrets), view.regret)


def _best_addition(
    view: Outlook, covariance: Tensor, cost: Tensor, budget: float, free: Bool[Tensor, "run"]
) -> tuple[int, ...]:
    index = (free & (cost <= budget)).nonzero().squeeze(-1)
    if not len(index):
        return ()
    keep = torch.cat([torch.zeros(1, dtype=torch.long), 1 + index])
    part = Outlook(covariance[:, keep][:, :, keep], view.noise[:, index], view.curvature)
    together, alone = _ratios(part, part.covariance, cost[index], budget)
    if float(alone.max()) >= float(together.max()):
        return (int(index[alone.argmax()]),)
    first, second = divmod(int(together.argmax()), len(index))
    # the run that is worth more alone goes first, so that stopping in between costs least
    ordered = (first, second) if alone[first] >= alone[second] else (second, first)
    return tuple(int(index[i]) for i in ordered)


def _ratios(
    view: Outlook, covariance: Tensor, cost: Tensor, budget: float
) -> tuple[Float[Tensor, "run run"], Float[Tensor, "run"]]:
    """Fall of regret per FLOP by each affordable pair, and by each run alone."""
    gain, single = _pair_gains(view, covariance)
    price = cost[:, None] + cost
    together = torch.where(price <= budget, gain / price, -torch.inf)
    return together.fill_diagonal_(-torch.inf), single / cost


def _pair_gains(
    view: Outlook, covariance: Tensor
) -> tuple[Float[Tensor, "run run"], Float[Tensor, "run"]]:
    """Expected fall of regret by each pair of candidates and by each alone.

        Δ Var = (a_i² S_jj − 2 a_i a_j S_ij + a_j² S_ii) / (S_ii S_jj − S_ij²)

    with a the covariance with the optimum and S that of the noisy losses.
    """
    among = covariance[:, 1:, 1:]
    effect = covariance[:, 0, 1:]
    variance = among.diagonal(dim1=-2, dim2=-1) + view.noise
    weight = view.curvature / 2 / len(view.curvature)
    alone = effect.square() / variance
    determinant = variance.unsqueeze(-1) * variance.unsqueeze(-2) - among.square()
    rising = effect.square().unsqueeze(-1) * variance.unsqueeze(-2)
    cross = effect.unsqueeze(-1) * effect.unsqueeze(-2) * among
    pair = (rising + rising.mT - 2 * cross) / determinant
    return torch.einsum("q,qij->ij", weight, pair), weight @ alone


def _after(covariance: Tensor, noise: Tensor, run: int) -> Tensor:
    """Condition the joint normal on one more run."""
    column = covariance[:, :, 1 + run]
    variance = column[:, 1 + run] + noise[:, run]
    return covariance - column.unsqueeze(-1) * (column / variance.unsqueeze(-1)).unsqueeze(-2)


class TargetInformation(AcquisitionFunction):
    """Log of the expected fall of regret at the target per FLOP, for BoTorch's optimisers.

        ln ΔR(X) − ln Σ cost(x),    ΔR = mean over sets of ½ κ aᵀ (S + noise)⁻¹ a

    with a the covariance of the runs' losses with the optimum and S their own, given all runs so
    far. A batch is worth more than its runs one by one where they share an unknown level.

    Args:
        model: The surrogate, as BoTorch's contract asks for one.
        known: The posterior, the runs it came from, and runs under way.
        priors: Those the posterior was sampled under.
        log_cost: Natural log of the training FLOP of runs, from their four log inputs.
    """

    _log = True

    def __init__(
        self,
        model: Model,
        known: Known,
        priors: Mapping[str, Prior],
        log_cost: Callable[[Float[Tensor, "*batch 4"]], Float[Tensor, "*batch"]],
    ) -> None:
        super().__init__(model)
        self.known, self.priors, self.log_cost = known, priors, log_cost

    def forward(self, X: Float[Tensor, "batch q 4"]) -> Float[Tensor, "batch"]:
        """Score batches of runs with columns (log_lr, log_params, log_tokens, log_batch)."""
        batch, q, _ = X.shape
        runs = X.reshape(-1, 4)
        own = torch.zeros(len(runs), dtype=torch.long)
        cost = self.log_cost(runs).exp()
        view = outlook(self.known, Candidates(runs[:, 0], runs[:, 1:], own, cost), self.priors)
        block = torch.arange(batch * q).reshape(batch, q)
        among = view.covariance[:, 1:, 1:][:, block.unsqueeze(-1), block.unsqueeze(-2)]
        noisy = among + torch.diag_embed(view.noise[:, block])
        effect = view.covariance[:, 0, 1:][:, block].unsqueeze(-1)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(noisy), effect, upper=False)
        drop = (view.curvature[:, None] / 2 * half.square().sum((-1, -2))).mean(0)
        return drop.clamp_min(_LEAST_DROP).log() - cost.reshape(batch, q).sum(-1).log()
