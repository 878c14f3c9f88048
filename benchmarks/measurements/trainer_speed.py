"""Trainer speed: how many tokens a second, against a plain PyTorch loop of the same model?

    python -m benchmarks.measurements.trainer_speed >> benchmarks/results/trainer_speed.jsonl

Both take turns on one thread, and the processor's time is counted rather than the clock's, so that
other load on the machine does not matter. The plain loop uses torch's own fused AdamW.
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measurements.plain_gpt import PlainGPT
from horizon_bo.training.config import ModelConfig, RunConfig
from horizon_bo.training.corpus import Corpus, batch, standard_library
from horizon_bo.training.loop import Training

SIZES = ((32, 2, 16), (64, 2, 16), (96, 4, 32), (160, 5, 32))
BATCH_TOKENS = 1_024


def plain_loop(config: RunConfig, text: Corpus) -> Callable[[int], None]:
    """The loop one would write by hand: a step of it, given its number."""
    model = PlainGPT(config.model)
    recipe = config.recipe
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "emb" not in name]
    rest = [p for name, p in model.named_parameters() if p.dim() < 2 or "emb" in name]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest}],
        lr=config.learning_rates[0],
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=0.0,
        fused=True,
    )
    rows, context = BATCH_TOKENS // config.model.context, config.model.context

    def step(number: int) -> None:
        loss = model(torch.from_numpy(batch(text, 0, number, rows, context)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or float("inf"))
        optimizer.step()

    return step


def seconds(step: Callable[[int], None], first: int, steps: int) -> float:
    """Processor time per step."""
    began = time.process_time()
    for number in range(first, first + steps):
        step(number)
    return (time.process_time() - began) / steps


def compared(width: int, depth: int, head_dim: int, rounds: int, steps: int) -> dict[str, Any]:
    """Tokens a second of both, and the median of their ratios round by round."""
    text = standard_library()
    model = ModelConfig(width=width, depth=depth, head_dim=head_dim)
    config = RunConfig(model=model, learning_rates=(1e-3,), tokens=BATCH_TOKENS * 10_000)
    ours, plain = Training(config, text), plain_loop(config, text)
    pairs = [
        (seconds(lambda _: ours.advance(1.0), 0, steps), seconds(plain, k * steps, steps))
        for k in range(rounds + 1)  # the first round warms up
    ]
    mine, theirs = zip(*pairs[1:], strict=True)
    return {
        "params": model.params,
        "tokens_per_second": BATCH_TOKENS / statistics.median(mine),
        "plain_tokens_per_second": BATCH_TOKENS / statistics.median(theirs),
        "ratio": statistics.median(t / m for m, t in pairs[1:]),
    }


def main() -> None:
    """Print one JSON line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    about = {"commit": commit, "torch": torch.__version__, "machine": platform.machine()}
    for width, depth, head_dim in SIZES:
        record = compared(width, depth, head_dim, given.rounds, given.steps)
        print(json.dumps({**record, **about}), flush=True)


if __name__ == "__main__":
    main()
