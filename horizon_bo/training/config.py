"""Config: which model is trained, by which recipe, and what is read from the run?

Sizes are counts, rates are peak values as given to the optimizer. A `RunConfig` fixes a run to
the last bit on one platform.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from horizon_bo.errors import HorizonBOError

PARAMETRIZATIONS = ("standard", "mup")
OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "linear", "wsd", "constant")
AVERAGINGS = ("lawa", "ema", "swa")

#: SwiGLU's hidden layer is this multiple of the width, rounded to the next multiple of eight, so
#: that three matrices cost as much as two of four times the width.
#: Source: Shazeer (2020), arXiv:2002.05202, section 3.
_SWIGLU_RATIO = 8 / 3
_HIDDEN_MULTIPLE = 8


class TrainingConfigError(HorizonBOError, ValueError):
    """A model or recipe that cannot be trained."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer: RMSNorm, rotary positions, SwiGLU, dense or mixture of experts.

    Args:
        width: Residual stream, in features.
        depth: Blocks.
        head_dim: Features per attention head; `width` is a multiple of it.
        vocab: Token values.
        context: Tokens per sequence.
        tied: One matrix serves as embedding and head.
        qk_norm: Queries and keys are normalised before their product.
        experts: Routed experts per block; 0 makes it dense.
        active_experts: Experts each token is sent to.
        shared_expert: An expert of the same size that sees every token.
        parametrization: `"mup"` scales rates and multipliers from the base shape.
        base_width: Width at which µP and the standard parametrization agree.
        base_depth: Depth at which they agree.
    """

    width: int = 64
    depth: int = 2
    head_dim: int = 16
    vocab: int = 256
    context: int = 128
    tied: bool = False
    qk_norm: bool = False
    experts: int = 0
    active_experts: int = 2
    shared_expert: bool = False
    parametrization: str = "standard"
    base_width: int = 32
    base_depth: int = 2

    def __post_init__(self) -> None:
        for name in (
            "width", "depth", "head_dim", "vocab", "context", "base_width", "base_depth"
        ):  # fmt: skip
            _whole(self, name, 1)
        _choice(self, "parametrization", PARAMETRIZATIONS)
        _whole(self, "experts", 0)
        if self.width % self.head_dim or self.head_dim % 2:
            raise TrainingConfigError(
                f"width is {self.width} with head_dim {self.head_dim}, expected an even head_dim "
                "that divides it; change either"
            )
        if self.experts and not 1 <= self.active_experts <= self.experts:
            raise TrainingConfigError(
                f"active_experts is {self.active_experts}, expected 1 to {self.experts}; lower it"
            )

    @property
    def feeds(self) -> int:
        """Feed-forward layers that one token passes in a block: its experts, the shared one too."""
        return self.active_experts + self.shared_expert if self.experts else 1

    @property
    def hidden(self) -> int:
        """Width of SwiGLU's hidden layer; an expert's where there are experts.

        Experts are as wide as makes the active ones cost what a dense layer costs.
        """
        whole = _SWIGLU_RATIO * self.width / self.feeds
        return max(1, round(whole / _HIDDEN_MULTIPLE)) * _HIDDEN_MULTIPLE

    @property
    def params(self) -> int:
        """Non-embedding parameters that one token passes: matrices of the blocks, a count."""
        router = self.width * self.experts
        return self.depth * (4 * self.width**2 + self.feeds * 3 * self.width * self.hidden + router)

    @property
    def sparsity(self) -> float:
        """All non-embedding parameters over those that one token passes, 1 without experts."""
        idle = self.experts + self.shared_expert - self.feeds if self.experts else 0
        return 1 + self.depth * idle * 3 * self.width * self.hidden / self.params


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained, apart from its rate, length and seed.

    Args:
        optimizer: `"adamw"`, or `"muon"` for the matrices of the blocks with AdamW for the rest.
        schedule: Shape of the rate after warm-up.
        batch_tokens: Tokens per step.
        warmup: Share of the run (of its shortest branch) in which the rate rises from 0.
        final_rate: Where cosine ends, as a share of the peak; linear and WSD end at 0.
        cooldown: Share of a WSD run in which the rate falls.
        weight_decay: λ, multiplied by the rate at every step (decoupled decay).
        beta1: Memory of AdamW's first moment.
        beta2: Memory of its second moment.
        eps: Added to the root of the second moment.
        clip: Largest norm of a step's gradient; `None` clips nothing.
        z_loss: Weight of the squared log-partition of the logits.
        balance: Weight of the experts' load-balancing loss.
        base_batch_tokens: µP's batch rule scales from here; `None` applies none.
        base_tokens: µP's horizon rule scales from here; `None` applies none.
    """

    optimizer: str = "adamw"
    schedule: str = "cosine"
    batch_tokens: int = 1024
    warmup: float = 0.05
    final_rate: float = 0.1
    cooldown: float = 0.2
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    clip: float | None = 1.0
    z_loss: float = 0.0
    balance: float = 0.01
    base_batch_tokens: int | None = None
    base_tokens: int | None = None

    def __post_init__(self) -> None:
        _choice(self, "optimizer", OPTIMIZERS)
        _choice(self, "schedule", SCHEDULES)
        _whole(self, "batch_tokens", 1)
        for name in ("warmup", "final_rate", "cooldown", "beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingConfigError(
                    f"{name} is {getattr(self, name)!r}, expected a share from 0 to 1; correct it"
                )
        for name in ("weight_decay", "eps", "z_loss", "balance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise TrainingConfigError(
                    f"{name} is {value!r}, expected a finite number >= 0; correct it"
                )
        if self.clip is not None and not self.clip > 0:
            raise TrainingConfigError(f"clip is {self.clip!r}, expected > 0; None clips nothing")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, or several of one model stacked into one batched computation.

    Args:
        model: The model.
        recipe: How it is trained.
        learning_rates: Peak rate of each stacked run.
        seeds: Seed of each stacked run: its start and its order of data.
        tokens: Training tokens, a count.
        branches: Horizons at which a cooldown branch of a WSD trunk ends, tokens; empty: none.
        readings: Horizons at which the trunk itself is read besides the end, tokens.
        averagings: Weight averages to read beside the plain weights.
        eval_tokens: Held-out tokens per reading.
    """

    model: ModelConfig
    recipe: Recipe = field(default_factory=Recipe)
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    tokens: int
    branches: tuple[int, ...] = ()
    readings: tuple[int, ...] = ()
    averagings: tuple[str, ...] = ()
    eval_tokens: int = 65_536

    def __post_init__(self) -> None:
        for name in ("learning_rates", "seeds", "averagings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("branches", "readings"):
            object.__setattr__(self, name, tuple(sorted({int(t) for t in getattr(self, name)})))
        _whole(self, "tokens", 1)
        _whole(self, "eval_tokens", 1)
        if len(self.learning_rates) != len(self.seeds) or not self.seeds:
            raise TrainingConfigError(
                f"{len(self.learning_rates)} learning rates came with {len(self.seeds)} seeds, "
                "expected as many of each; give one seed per rate"
            )
        for rate in self.learning_rates:
            if not (math.isfinite(rate) and rate > 0):
                raise TrainingConfigError(
                    f"learning rate is {rate!r}, expected a finite number > 0; correct it"
                )
        for name in self.averagings:
            if name not in AVERAGINGS:
                raise TrainingConfigError(
                    f"averaging is {name!r}, expected one of {AVERAGINGS}; correct it"
                )
        self._check_lengths()

    def _check_lengths(self) -> None:
        least = self.recipe.batch_tokens
        if self.recipe.batch_tokens % self.model.context:
            raise TrainingConfigError(
                f"batch_tokens is {least}, expected a multiple of the context "
                f"{self.model.context}; change either"
            )
        for tokens in (self.tokens, *self.branches, *self.readings):
            if not least <= tokens <= self.tokens:
                raise TrainingConfigError(
                    f"a run of {self.tokens} tokens is read at {tokens}, expected at least one "
                    f"batch of {least} and at most its length; change tokens, branches or readings"
                )
        if self.branches and self.recipe.schedule != "wsd":
            raise TrainingConfigError(
                f"branches came with schedule {self.recipe.schedule}, expected wsd: only a trunk "
                "at constant rate can branch; drop the branches or change the schedule"
            )

    def steps(self, tokens: float) -> int:
        """Optimizer steps of that many tokens, at least one."""
        return max(1, round(tokens / self.recipe.batch_tokens))

    def record(self) -> dict[str, Any]:
        """The config as JSON can hold it; `run_config` reads it back."""
        return asdict(self)

    def as_json(self) -> str:
        """The config as one line of JSON, the same for equal configs."""
        return json.dumps(self.record(), sort_keys=True)


def run_config(record: Mapping[str, Any]) -> RunConfig:
    """The config that a JSON object describes; unknown names are errors."""
    try:
        given = dict(record)
        given["model"] = ModelConfig(**given["model"])
        given["recipe"] = Recipe(**given.get("recipe", {}))
        return RunConfig(**given)
    except (TypeError, KeyError, AttributeError) as error:
        known = ", ".join(f.name for f in fields(RunConfig))
        raise TrainingConfigError(
            f"the run's config cannot be used ({error}), expected an object with {known}; "
            "correct it"
        ) from error


def _whole(config: Any, name: str, least: int) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TrainingConfigError(f"{name} is {value!r}, expected a whole number; correct it")
    if value < least:
        raise TrainingConfigError(f"{name} is {value}, expected at least {least}; raise it")
    object.__setattr__(config, name, int(value))


def _choice(config: Any, name: str, allowed: tuple[str, ...]) -> None:
    if getattr(config, name) not in allowed:
        raise TrainingConfigError(
            f"{name} is {getattr(config, name)!r}, expected one of {allowed}; correct it"
        )
