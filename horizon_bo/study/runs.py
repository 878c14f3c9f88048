"""Runs: what does somebody say of a run that was made, and what is one told that is to be made?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from horizon_bo.study.horizons import Scale


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run somebody else made: what a row of a logged sweep says.

    Args:
        learning_rate: Peak learning rate, as given to the optimizer.
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        loss: Final loss in the study's unit; `None`, NaN or infinity with `diverged`.
        batch_tokens: Tokens per step; `None` takes the target's.
        flops: Training compute in FLOP; `None` takes 6 · params · tokens.
        source: The recipe it was made under; `None` means the study's own.
        optimizer: Its optimizer, by name; `None` means the study's. Another one is another recipe.
        schedule: Learning-rate schedule; `None` means the target's.
        averaging: Weight averaging; `None` means the target's.
        inputs: Numbers of its recipe, such as `{"weight_decay": 0.1}`; one that is left out is
            the target's.
        loss_sd: Known standard deviation of `loss`, added to the inferred noise.
        diverged: True when training blew up.
        failed: True when the run says nothing (a crash, a lost machine).
        name: What its table or tracker calls it, by which it is known again; `None` where it
            has no name. It is no part of what was measured.
    """

    learning_rate: float
    params: float
    tokens: float
    loss: float | None = None
    batch_tokens: float | None = None
    flops: float | None = None
    source: str | None = None
    optimizer: str | None = None
    schedule: str | None = None
    averaging: str | None = None
    loss_sd: float | None = None
    diverged: bool = False
    failed: bool = False
    name: str | None = field(default=None, compare=False)
    inputs: Mapping[str, float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A run to make: everything a training command needs to know.

    Args:
        id: What `observe` knows it by.
        tokens: Training tokens, of the longest branch where it has branches.
        flops: Training compute it will be charged in all, in FLOP; a shared trunk counts once.
        row: Position in the table when it was chosen from a pool of logged runs.
        branches: Token counts at which to read the loss, ascending, the last being `tokens`;
            empty for an ordinary run. Each is observed by itself.
        cooldown: Share of the tokens over which the rate falls to zero at the end, of every
            branch; `None` where the space says nothing of it or the schedule is another. A
            branch at `h` tokens leaves the trunk at `(1 − cooldown) · h`.
        inputs: Numbers of its recipe: the target's, where it names any.
    """

    id: int
    learning_rate: float
    params: float
    tokens: float
    batch_tokens: float | None
    flops: float
    scale: Scale
    schedule: str
    averaging: str
    row: int | None = None
    branches: tuple[float, ...] = ()
    cooldown: float | None = None
    inputs: Mapping[str, float] = field(default_factory=dict, hash=False)
