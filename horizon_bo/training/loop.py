"""Loop: what losses does a run reach, at its end, on its branches and under averaged weights?

On a CPU a run is bitwise repeatable on one platform and thread count, and goes on from its last
checkpoint as if it had never stopped; a GPU repeats it to about four digits.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from horizon_bo.training import checkpoint
from horizon_bo.training.accelerator import compute
from horizon_bo.training.averaging import averages
from horizon_bo.training.checkpoint import Progress
from horizon_bo.training.config import RunConfig
from horizon_bo.training.corpus import Corpus, batches, held_out
from horizon_bo.training.flops import flops_per_token, peak_flops
from horizon_bo.training.model import started, transformer
from horizon_bo.training.optimizers import (
    Muon,
    clipped,
    factors,
    new_state,
)
from horizon_bo.training.parametrization import weights
from horizon_bo.training.schedules import (
    cooled_rate,
    timetable,
    trained_steps,
    trunk_label,
    trunk_rate,
)

#: Weight of a new step in the smoothed training loss.
_SMOOTHING = 0.02
#: Steps between looks at the training loss for divergence and progress.
_LOOK_EVERY = 20
#: A smoothed training loss this many times that of a uniform guess is beyond repair.
_BEYOND_REPAIR = 2.0
#: Sequences per forward pass when held-out text is read.
_EVAL_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run reached and how fast.

    Args:
        readings: One record per reading and stacked run: `tokens, learning_rate, seed, schedule,
            averaging, loss` (nats per token), `bits_per_byte, train_loss, diverged`.
        flops: Training compute that one of the stacked runs took, branches included, FLOP; less
            than planned where all of them diverged.
        planned_flops: What it would have taken to the end, FLOP.
        tokens_per_second: Of all stacked runs together, evaluation left out.
        flops_utilization: Share of the device's dense bf16 peak; `None` where that is not known.
    """

    readings: tuple[Mapping[str, Any], ...]
    flops: float
    planned_flops: float
    tokens_per_second: float
    flops_utilization: float | None


class Training:
    """A run under way: its fixed parts, and the progress that a checkpoint holds.

    Args:
        config: The run.
        text: The corpus.
        device: `"cpu"` or `"cuda"`; bf16 and `torch.compile` are used on the latter.
    """

    def __init__(self, config: RunConfig, text: Corpus, device: str = "cpu") -> None:
        self.config, self.text, self.device = config, text.checked(config.model.context), device
        layout = weights(config.model, config.recipe, config.tokens)
        self.net = transformer(
            config.model,
            layout,
            z_loss=config.recipe.z_loss,
            balance=config.recipe.balance,
            device=device,
        )
        self.table = timetable(config)
        self.rows = config.recipe.batch_tokens // config.model.context
        self.peak = torch.tensor(config.learning_rates, device=device)[:, None]
        self.factors = factors(layout, config.recipe, device)
        self.held_out = held_out(text, config.model.context, config.eval_tokens).to(device)
        state = new_state(started(layout, config.seeds).to(device))
        means = averages(config.averagings, self.table.readings, state.theta)
        self.progress = Progress(state, means, [])
        self.compute = compute(self.net, device)
        self.muon: Muon | None = None

    def step(self, text: Tensor, share: float) -> Tensor:
        """One optimizer step at a share of the peak rate; the training loss of each run."""
        state, recipe = self.progress.state, self.config.recipe
        leaf = state.theta.detach().to(self.compute.precision).requires_grad_()
        losses = self.compute.loss(leaf, text)
        (gradient,) = torch.autograd.grad((losses.nats + losses.extra).sum(), leaf)
        state.step += 1
        rate = self.peak * share
        if recipe.optimizer == "muon":
            if self.muon is None:
                self.muon = Muon(state, self.net.layout, recipe)
            clip = clipped(gradient, recipe.clip)
            self.muon.step(state, clip, rate, self.factors, recipe)
        else:
            self.compute.update(state, gradient, rate, self.factors, recipe)
        return losses.nats.detach().clone()  # the next replay writes where this one wrote

    @torch.no_grad()
    def evaluate(self, theta: Tensor) -> Tensor:
        """Held-out loss of each run, nats per token."""
        theta = theta.to(self.compute.precision)
        total = torch.zeros(len(theta), dtype=torch.float64, device=self.device)
        for rows in self.held_out.split(_EVAL_ROWS):
            text = rows.expand(len(theta), -1, -1)
            total += self.compute.loss(theta, text).nats.double() * len(rows)
        return total / len(self.held_out)

    def advance(self, share: float) -> None:
        """Make the next step on the text that is due, and keep time and the smoothed loss."""
        began = time.perf_counter()
        progress, context = self.progress, self.config.model.context
        text = batches(self.text, self.config.seeds, progress.state.step, self.rows, context)
        if self.device.startswith("cuda"):
            text = text.pin_memory()  # or the copy waits for all work before it
        loss = self.step(text.to(self.device, non_blocking=True), share)
        smooth = loss if progress.smooth is None else progress.smooth.lerp(loss, _SMOOTHING)
        progress.smooth = smooth
        progress.trained += 1
        if self.device.startswith("cuda") and progress.trained % _LOOK_EVERY == 0:
            torch.cuda.synchronize()  # so that the time is that of the work, not of its queueing
        progress.seconds += time.perf_counter() - began

    def hopeless(self) -> bool:
        """Whether every run's training loss is beyond repair; looked at now and then."""
        smooth = self.progress.smooth
        if self.progress.trained % _LOOK_EVERY:
            return False
        worst = _BEYOND_REPAIR * math.log(self.config.model.vocab)
        return smooth is not None and not bool((smooth < worst).any())


def train(
    config: RunConfig,
    text: Corpus,
    *,
    device: str = "cpu",
    folder: Path | None = None,
    checkpoint_s: float = 60.0,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> Outcome:
    """Train, and read the held-out loss wherever the config asks for it.

    Args:
        config: The run.
        text: What is learned from and what is held out.
        device: `"cpu"` or `"cuda"`.
        folder: Keeps a checkpoint and goes on from it; `None` keeps none.
        checkpoint_s: Seconds between checkpoints.
        progress: Told `tokens` (trained, branches included), `of` (in all) and `loss` (smoothed
            training loss of each run, nats per token) now and then.
    """
    run = Training(config, text, device)
    identity = f"{config.as_json()} {text.digest}" if folder is not None else ""
    if folder is not None:
        run.progress = checkpoint.load(folder, identity, device) or run.progress
    saved = time.monotonic()
    while True:
        _follow_branches(run, progress)
        if run.progress.state.step >= run.table.steps or run.hopeless():
            return _outcome(run)
        _follow_trunk(run)
        _tell(run, progress)
        if folder is not None and time.monotonic() - saved > checkpoint_s:
            checkpoint.save(run.progress, identity, folder)
            saved = time.monotonic()


def _follow_trunk(run: Training) -> None:
    """One step of the trunk, and the readings that are due after it."""
    state = run.progress.state
    run.advance(trunk_rate(run.table, state.step))
    for mean in run.progress.means:
        mean.update(state.theta, state.step)
    if state.step in run.table.readings:
        schedule = trunk_label(run.table, state.step)
        _read(run, state.step, schedule, "none", state.theta)
        for mean in run.progress.means:
            if mean.horizon == state.step:
                _read(run, state.step, schedule, mean.averaging, mean.mean)


def _follow_branches(run: Training, progress: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Cool copies of the trunk down to the horizons whose branches leave it here."""
    done = {(record["schedule"], record["steps"]) for record in run.progress.readings}
    for leave, end in run.table.branches:
        state = run.progress.state
        if leave != state.step or ("wsd", end) in done:
            continue
        kept, smooth = state.copy(), run.progress.smooth
        while state.step < end and not run.hopeless():
            run.advance(cooled_rate(state.step, leave, end))
            _tell(run, progress)
        _read(run, end, "wsd", "none", state.theta)
        state.restore(kept)
        run.progress.smooth = smooth


def _read(run: Training, steps: int, schedule: str, averaging: str, theta: Tensor) -> None:
    """Record the held-out loss of weights that were trained for `steps` steps."""
    losses = run.evaluate(theta).tolist()
    smooth = run.progress.smooth
    trained = smooth.tolist() if smooth is not None else [math.nan] * len(losses)
    for rate, seed, loss, train_loss in zip(
        run.config.learning_rates, run.config.seeds, losses, trained, strict=True
    ):
        # worse than knowing nothing is no trained model
        diverged = not loss < math.log(run.config.model.vocab)
        per_byte = run.text.bytes_per_token
        run.progress.readings.append(
            {
                "tokens": steps * run.config.recipe.batch_tokens,
                "steps": steps,
                "learning_rate": rate,
                "seed": seed,
                "schedule": schedule,
                "averaging": averaging,
                "loss": None if diverged else loss,
                "bits_per_byte": loss / math.log(2) / per_byte
                if per_byte and not diverged
                else None,
                "train_loss": train_loss if math.isfinite(train_loss) else None,
                "diverged": diverged,
            }
        )


def _outcome(run: Training) -> Outcome:
    """The readings in order, those that a hopeless run never reached as diverged."""
    done = {(r["schedule"], r["averaging"], r["steps"]) for r in run.progress.readings}
    nowhere = torch.full_like(run.progress.state.theta, math.nan)
    for steps in run.table.readings:
        schedule = trunk_label(run.table, steps)
        for averaging in ("none", *run.config.averagings):
            if (schedule, averaging, steps) not in done:
                _read(run, steps, schedule, averaging, nowhere)
    for _, end in run.table.branches:
        if ("wsd", "none", end) not in done:
            _read(run, end, "wsd", "none", nowhere)
    tokens = run.progress.trained * run.config.recipe.batch_tokens
    per_token = flops_per_token(run.config.model)
    speed = len(run.config.seeds) * tokens / max(run.progress.seconds, 1e-9)
    peak = peak_flops(run.device)
    return Outcome(
        readings=tuple(run.progress.readings),
        flops=per_token * tokens,
        planned_flops=per_token * trained_steps(run.table) * run.config.recipe.batch_tokens,
        tokens_per_second=speed,
        flops_utilization=None if peak is None else speed * per_token / peak,
    )


def _tell(run: Training, progress: Callable[[Mapping[str, Any]], None] | None) -> None:
    trained, smooth = run.progress.trained, run.progress.smooth
    if progress is None or smooth is None or trained % _LOOK_EVERY:
        return
    batch_tokens = run.config.recipe.batch_tokens
    progress(
        {
            "tokens": trained * batch_tokens,
            "of": trained_steps(run.table) * batch_tokens,
            "loss": smooth.tolist(),
        }
    )
