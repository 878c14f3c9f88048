"""Paradigm runs: what must be trained to compare fitting with transfer, and what does it cost?

Four targets: two dense, two with experts; the second of each is deeper, and its experts are twice
as many as its proxies'. A ladder of three sizes in the standard parametrization, each read at three
lengths, is what a law is fitted to. The middle size under µP, which it is the base of, is what is
transferred. Every target is trained under both parametrizations, at its own grid of rates with
repeated seeds. A stack is one model at all rates and seeds, trained at once: a WSD trunk with a
cooldown of its own for every length. Warm-up is as many steps everywhere.

Needs torch and numpy alone, so that a bare accelerator can run it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.flops import flops_per_token
from horizon_bo.training.schedules import timetable, trained_steps

#: Rates of every grid: so many, so many octaves apart, about `centre`.
RATES, OCTAVES = 7, 0.8
#: Seeds of proxies and of targets; a target sees no proxy's order of text.
PROXY_SEEDS, TARGET_SEEDS = (10, 11, 12), (0, 1, 2)
#: log₂ of the best rate of 64 features and 2 blocks, and what it falls by for each doubling of
#: width and depth without rules: read off the sweep that ships and `results/experts.jsonl`.
_CENTRE, _PER_WIDTH, _PER_DEPTH = -7.0, 1.3, 0.3
#: What a step takes on one H200, for the plan. Launching it, seconds: replayed as a graph, and for
#: each block of experts, which is not. FLOP/s of small stacks. Bytes a weight moved by the update,
#: and bytes/s. Compiling a model, seconds.
_REPLAY_S, _BLOCK_S, _FLOP_S, _BYTES, _BYTES_S, _COMPILE_S = 2e-3, 5e-3, 8e13, 60, 3e12, 30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All that is smaller in a miniature.

    Args:
        ladder: Width and depth of the sizes that a law is fitted to; experts keep two blocks. The
            second is the proxy.
        targets: Width, depth, experts and steps of each target.
        experts: Experts of the proxies.
        steps: Lengths of the ladder; the proxy is read at twice the longest too.
        warmup: Steps.
        batch: Tokens per step.
        context: Tokens per sequence.
        head_dim: Features per attention head.
        eval_tokens: Held-out tokens a loss is read on.
    """

    ladder: tuple[tuple[int, int], ...] = ((32, 2), (64, 3), (96, 3))
    targets: tuple[tuple[int, int, int, int], ...] = (
        (256, 4, 0, 4096), (256, 2, 8, 4096), (192, 6, 0, 2560), (224, 3, 16, 2560),
    )  # fmt: skip
    experts: int = 8
    steps: tuple[int, ...] = (256, 512, 1024)
    warmup: int = 64
    batch: int = 1024
    context: int = 128
    head_dim: int = 16
    eval_tokens: int = 65_536


FULL = Sizes()
#: Under a minute of one core.
SMOKE = Sizes(
    ladder=((8, 1), (16, 2), (24, 2)),
    targets=((32, 2, 0, 24), (32, 2, 4, 24), (24, 3, 0, 20), (32, 2, 8, 20)),
    experts=4,
    steps=(4, 8, 12),
    warmup=2,
    batch=64,
    context=32,
    head_dim=8,
    eval_tokens=512,
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One model at all rates and seeds, read at some lengths, in steps."""

    model: ModelConfig
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    sizes: Sizes

    @property
    def name(self) -> str:
        """Of results; a model's shape, parametrization and longest run."""
        m = self.model
        kind = f"{m.experts}-experts" if m.experts else "dense"
        return f"{kind}-{m.parametrization}-{m.width}x{m.depth}-{max(self.steps)}"

    @property
    def log2_rates(self) -> tuple[float, ...]:
        """The grid."""
        middle = centre(self.model)
        return tuple(middle + OCTAVES * (k - (RATES - 1) / 2) for k in range(RATES))

    @property
    def config(self) -> RunConfig:
        """All its runs as the trainer is told: rate-major."""
        pairs = [(2.0**rate, seed) for rate in self.log2_rates for seed in self.seeds]
        batch = self.sizes.batch
        return RunConfig(
            model=self.model,
            recipe=Recipe(
                schedule="wsd", batch_tokens=batch, warmup=self.sizes.warmup / min(self.steps)
            ),
            learning_rates=tuple(rate for rate, _ in pairs),
            seeds=tuple(seed for _, seed in pairs),
            tokens=max(self.steps) * batch,
            branches=tuple(steps * batch for steps in self.steps),
            eval_tokens=self.sizes.eval_tokens,
        )

    def flops(self, steps: Sequence[int]) -> float:
        """Training compute of one of its runs that is read at these lengths, FLOP."""
        taken = Stack(model=self.model, steps=tuple(steps), seeds=self.seeds, sizes=self.sizes)
        trained = trained_steps(timetable(taken.config))
        return flops_per_token(self.model) * trained * self.sizes.batch

    @cached_property
    def gpu_s(self) -> float:
        """What it is expected to take on one H200 of its own, compiling left out, seconds."""
        runs, model = RATES * len(self.seeds), self.model
        spread = model.experts / model.active_experts if model.experts else 1
        weights = model.params * spread * runs
        work = runs * self.sizes.batch * flops_per_token(model) / _FLOP_S
        moved = weights * _BYTES / _BYTES_S
        launch = _BLOCK_S * model.depth if model.experts else _REPLAY_S
        return trained_steps(timetable(self.config)) * max(launch, work + moved)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A run whose rate is wanted, and the stacks that say what it is."""

    width: int
    depth: int
    experts: int
    steps: int
    sizes: Sizes

    @property
    def family(self) -> str:
        """Targets that share proxies."""
        return "experts" if self.experts else "dense"

    @property
    def name(self) -> str:
        """Of results."""
        kind = f"{self.experts} experts" if self.experts else "dense"
        return f"{kind}, {self.width} × {self.depth}, {self.steps} steps"

    def truth(self, parametrization: str) -> Stack:
        """Its own grid."""
        return Stack(
            model=_model(self.width, self.depth, self.experts, parametrization, self.sizes),
            steps=(self.steps,),
            seeds=TARGET_SEEDS,
            sizes=self.sizes,
        )

    @property
    def ladder(self) -> tuple[Stack, ...]:
        """The sizes that a law is fitted to."""
        return tuple(self._proxy(width, depth, "standard") for width, depth in self.sizes.ladder)

    @property
    def proxy(self) -> Stack:
        """The size that is transferred, under µP; a dense one is its own base."""
        width, depth = self.sizes.ladder[1]
        return self._proxy(width, depth, "mup" if self.experts else "standard")

    @property
    def middle(self) -> int:
        """The length of the proxy that costs about what a ladder's share does, steps."""
        return 2 * max(self.sizes.steps)

    def _proxy(self, width: int, depth: int, parametrization: str) -> Stack:
        steps = self.sizes.steps
        if (width, depth) == self.sizes.ladder[1]:
            steps = (*steps, self.middle)
            if parametrization == "mup" or not self.experts:  # what is transferred
                own = [t.steps for t in targets(self.sizes) if t.family == self.family]
                steps = tuple(sorted({*steps, *own}))
        return Stack(
            model=_model(
                width,
                min(depth, 2) if self.experts else depth,
                self.sizes.experts if self.experts else 0,
                parametrization,
                self.sizes,
            ),
            steps=steps,
            seeds=PROXY_SEEDS,
            sizes=self.sizes,
        )


def centre(model: ModelConfig) -> float:
    """log₂ of the rate about which a model is swept; under µP its base's, whatever its shape."""
    rules = model.parametrization == "mup"
    width, depth = (model.base_width, model.base_depth) if rules else (model.width, model.depth)
    return _CENTRE - _PER_WIDTH * math.log2(width / 64) - _PER_DEPTH * math.log2(depth / 2)


def targets(sizes: Sizes) -> tuple[Target, ...]:
    """Every target, one dense and one with experts first."""
    return tuple(
        Target(width=width, depth=depth, experts=experts, steps=steps, sizes=sizes)
        for width, depth, experts, steps in sizes.targets
    )


def plan(sizes: Sizes) -> list[Stack]:
    """Every stack once, in the order to be trained: long ones first, and half of all targets whole.

    What is cut off is the second half; its proxies are those of the first.
    """
    found: dict[str, Stack] = {}
    for some in (targets(sizes)[:2], targets(sizes)[2:]):
        own: dict[str, Stack] = {}
        for target in some:
            truths = [target.truth(name) for name in ("standard", "mup")]
            own |= {stack.name: stack for stack in (*truths, target.proxy, *target.ladder)}
        found |= {
            stack.name: stack
            for stack in sorted(own.values(), key=lambda stack: -stack.gpu_s)
            if stack.name not in found
        }
    return list(found.values())


def planned(sizes: Sizes) -> str:
    """The plan in words."""
    stacks = plan(sizes)
    lines = [
        f"{stack.name}: {len(stack.config.seeds)} runs, {trained_steps(timetable(stack.config))} "
        f"steps, {stack.gpu_s:.0f} s"
        for stack in stacks
    ]
    dense = sum(not stack.model.experts for stack in stacks)
    total = sum(stack.gpu_s for stack in stacks)
    return "\n".join(
        (*lines, f"{total:.0f} s of one H200; {dense} models to compile, {_COMPILE_S} s each")
    )


def _model(width: int, depth: int, experts: int, parametrization: str, sizes: Sizes) -> ModelConfig:
    base_width, base_depth = sizes.ladder[1]
    return ModelConfig(
        width=width,
        depth=depth,
        head_dim=sizes.head_dim,
        context=sizes.context,
        experts=experts,
        active_experts=2,
        parametrization=parametrization,
        base_width=base_width,
        base_depth=min(base_depth, 2) if experts else base_depth,
    )
