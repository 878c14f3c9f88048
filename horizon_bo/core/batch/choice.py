"""BatchChoice: what does each batch cost with its own best rate, and which pair is best?

The loss of a batch B at a rate η is, draw by draw of the posterior,

    loss(B, η) = level(B) + r / (1 + r/R),    r = κ(B) h_s(ln η − ln η*(B)),

R being what an e-fold of training tokens buys (`decision`). Each batch gets the rate of its own
least expected loss; the best pair is the one of least expected loss of all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from horizon_bo.core.checks.forecast import joint_draws
from horizon_bo.core.decision import Decision, decide, decide_on, regret
from horizon_bo.core.inference import Belief, TargetDraws
from horizon_bo.core.laws import felt_batch
from horizon_bo.core.linearized import RATE, Aim
from horizon_bo.core.points import at_own_inputs
from horizon_bo.core.sampler import Posterior
from horizon_bo.study.horizons import (
    USUAL_BATCH_COST,
    anchored,
    batch_doubts,
    open_batches,
)
from horizon_bo.study.seeds import BATCHES, study_generator
from horizon_bo.study.trials import Study

#: Runs within this of a batch, in ln B, are runs at that batch.
_SAME_BATCH = 0.1


@dataclass(frozen=True, kw_only=True)
class BatchChoice:
    """One batch at the target with its own best rate.

    Args:
        batch_tokens: Tokens per step.
        learning_rate: Rate of least expected loss at that batch.
        interval_50: Central half of the posterior of its optimal rate.
        interval_90: Central 90 % of it.
        expected_loss: Expected loss of the pair, in loss units.
        excess_loss: By how much that is above the best pair's, in loss units.
        excess_90: Central 90 % of that difference.
        cost: The same as a share of the target run: the training that would buy it back.
        divergence_probability: Of the target with that pair.
        runs: Ended runs of the study's own recipe that were made at that batch, a count.
    """

    batch_tokens: float
    learning_rate: float
    interval_50: tuple[float, float]
    interval_90: tuple[float, float]
    expected_loss: float
    excess_loss: float
    excess_90: tuple[float, float]
    cost: float
    divergence_probability: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class BatchDecision:
    """Which batch to train the target with.

    Args:
        choices: Every batch asked about, ascending.
        best: The pair of least expected loss.
        largest: The largest batch that costs no more than `max_cost`.
        max_cost: What the largest batch may cost above the best, as a share of the target run.
    """

    choices: tuple[BatchChoice, ...]
    best: BatchChoice
    largest: BatchChoice
    max_cost: float


@dataclass(frozen=True)
class Pairs:
    """Some batches, each with its best rate, and the losses of these pairs draw by draw."""

    batch_tokens: tuple[float, ...]
    log_batch: Float[np.ndarray, "batch"]  # over that of the origin
    draws: tuple[TargetDraws, ...]
    decisions: tuple[Decision, ...]
    loss: Float[np.ndarray, "batch draw"]

    @property
    def best(self) -> int:
        """Which batch has the least expected loss."""
        return int(self.loss.mean(1).argmin())

    @property
    def decision(self) -> Decision:
        """The decision at the best batch, its regret counted against every batch and rate."""
        return replace(self.decisions[self.best], expected_regret=float(self._regret.mean()))

    def probability_within(self, tolerance: float) -> float:
        """Posterior probability that the best pair's regret is at most that, in typical losses."""
        return float((self._regret <= tolerance).mean())

    @property
    def _regret(self) -> Float[np.ndarray, "draw"]:
        own, level = self.decisions[self.best], self.draws[self.best].level
        missed = level - np.min([draws.level for draws in self.draws], axis=0)
        by_batch = missed / (1 + missed / own.token_slope)  # bounded as the regret of a rate is
        return self.loss[self.best] - level + by_batch

    def at_best(self, belief: Belief) -> Belief:
        """The belief with the target's draws at the best batch."""
        best = self.best
        return replace(belief, target=self.draws[best], log_batch=float(self.log_batch[best]))


def settled(study: Study, belief: Belief) -> Belief:
    """The belief with the target's draws at the best batch, where the study leaves it open."""
    batches = open_batches(study.target, study.space)
    return pairs_at(study, belief, batches).at_best(belief) if batches else belief


def decided(study: Study, belief: Belief) -> Decision:
    """What to train the target with: its rate, and where its batch is open the best pair's."""
    batches = open_batches(study.target, study.space)
    return pairs_at(study, belief, batches).decision if batches else decide(belief)


def best_batch(study: Study, belief: Belief) -> float | None:
    """Tokens per step of the target: its own, or the best of those that it leaves open.

    Args:
        study: The study.
        belief: `settled` on the study.
    """
    batches = open_batches(study.target, study.space)
    if not batches:
        return study.target.batch_tokens
    logs = [math.log(batch / batches[len(batches) // 2]) for batch in batches]
    return min(zip(batches, logs, strict=True), key=lambda b: abs(b[1] - belief.log_batch))[0]


def pairs_at(study: Study, belief: Belief, batches: Sequence[float]) -> Pairs:
    """Each of some batches, in tokens per step, with its best rate at the target."""
    return _pairs_at(_Asked(belief.posterior, tuple(sorted(set(batches))), study, belief))


@dataclass(frozen=True)
class _Asked:
    """The same batches of the same posterior have the same pairs, whatever is pending."""

    posterior: Posterior
    batches: tuple[float, ...]
    study: Study = field(compare=False)
    belief: Belief = field(compare=False)


# a belief is settled on the best batch before anything is recommended or suggested
@lru_cache(maxsize=2)
def _pairs_at(asked: _Asked) -> Pairs:
    study, belief, batches = asked.study, asked.belief, asked.batches
    own = anchored(study.target, study.space).batch_tokens or batches[len(batches) // 2]
    log_batch = np.log(np.array(batches) / own)
    places = at_own_inputs(np.pad(log_batch[:, None], ((0, 0), (2, 0))), belief.runs.points)
    informed = replace(study, trials=study.informing)
    draws = joint_draws(belief, places, study_generator(informed, BATCHES))
    decisions = [
        decide_on(each, _only_rate(belief, float(b)))
        for each, b in zip(draws, log_batch, strict=True)
    ]
    loss = [
        each.level + regret(each, np.array([chosen.log_lr]))[0]
        for each, chosen in zip(draws, decisions, strict=True)
    ]
    return Pairs(batches, log_batch, tuple(draws), tuple(decisions), np.stack(loss))


def _only_rate(belief: Belief, log_batch: float) -> float | None:
    """Before the first run the prior's own centre, carried to the batch."""
    if len(belief.runs):
        return None
    exponent = belief.posterior.priors["optimum_per_batch"].location
    return belief.center.log_lr + exponent * float(felt_batch(log_batch, 0.0))


def batch_decision(
    study: Study, belief: Belief, pairs: Pairs, max_cost: float = USUAL_BATCH_COST
) -> BatchDecision:
    """What to tell of some batches: each with its rate, the best, and the largest cheap one.

    Args:
        study: The study.
        belief: `believe(study)`.
        pairs: `pairs_at` these batches.
        max_cost: What the largest batch may cost, as a share of the target run.
    """
    made = _runs_at(study, pairs.batch_tokens)
    choices = tuple(_choice(belief, pairs, k, made[k]) for k in range(len(made)))
    cheap = [choice for choice in choices if choice.cost <= max_cost]
    return BatchDecision(
        choices=choices, best=choices[pairs.best], largest=cheap[-1], max_cost=max_cost
    )


def batch_warnings(study: Study, found: BatchDecision | None) -> tuple[str, ...]:
    """Why to be careful with the batch, a sentence each."""
    target = study.target
    if found is None:
        return batch_doubts([target.batch_tokens] if target.batch_tokens else [], target.tokens)
    said = list(batch_doubts([c.batch_tokens for c in found.choices], target.tokens))
    made = {trial.batch_tokens for trial in study.informing if study.recipe(trial) is None}
    if len(made - {None}) < 2:
        said.append(
            "no two batches have been run: how the loss depends on the batch is the prior's; leave "
            "the target's batch open and give the search space several to have them tried"
        )
    elif len(found.choices) > 1 and found.best in (found.choices[0], found.choices[-1]):
        end = "smallest" if found.best is found.choices[0] else "largest"
        said.append(f"the best batch is the {end} of those there are to choose among")
    return tuple(said)


def aims(pairs: Pairs | None) -> list[Aim]:
    """What runs are to tell of: the best rate and, among batches, which of them is best.

    The second is the difference in level between the best batch and the rival that is most likely
    to turn out better. Its regret, E max(0, difference), is taken for that of a parabola.
    """
    if pairs is None:
        return [RATE]
    best = pairs.best
    chance = np.maximum(pairs.loss[best] - pairs.loss, 0.0).mean(1)
    rival = int(chance.argmax())
    at = [Aim.place(float(pairs.log_batch[k])) for k in (best, rival)]
    rate = replace(RATE, places=at[0])
    variance = float((pairs.draws[best].level - pairs.draws[rival].level).var(ddof=1))
    if rival == best or variance == 0.0:
        return [rate]
    weights = np.array([1.0, -1.0])
    curvature = 2 * float(chance[rival]) / variance
    return [rate, Aim(effect=0, places=np.concat(at), weights=weights, curvature=curvature)]


def _runs_at(study: Study, batches: Sequence[float]) -> list[int]:
    own = [t.batch_tokens for t in study.informing if t.batch_tokens and study.recipe(t) is None]
    near = lambda one, other: abs(math.log(one / other)) < _SAME_BATCH  # noqa: E731
    return [sum(near(made, batch) for made in own) for batch in batches]


def _choice(belief: Belief, pairs: Pairs, k: int, runs: int) -> BatchChoice:
    decision, scale = pairs.decisions[k], belief.loss_scale
    excess = pairs.loss[k] - pairs.loss[pairs.best]
    low, high = np.quantile(excess, [0.05, 0.95]).tolist()
    rates = lambda ends: (math.exp(ends[0]), math.exp(ends[1]))  # noqa: E731
    return BatchChoice(
        batch_tokens=pairs.batch_tokens[k],
        learning_rate=math.exp(decision.log_lr),
        interval_50=rates(decision.log_interval_50),
        interval_90=rates(decision.log_interval_90),
        expected_loss=float(pairs.loss[k].mean()) * scale,
        excess_loss=float(excess.mean()) * scale,
        excess_90=(low * scale, high * scale),
        cost=float(excess.mean()) / decision.token_slope,
        divergence_probability=decision.divergence_probability,
        runs=runs,
    )
