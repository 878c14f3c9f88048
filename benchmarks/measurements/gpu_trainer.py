"""GPU trainer: what do stacking and a real model size give on an accelerator?

    python -m benchmarks.measurements.gpu_trainer \
        >> benchmarks/results/gpu_trainer.jsonl      # minutes, CUDA

Two lines per small model: sixteen rates one after the other, and the same sixteen in one stack.
Then a model of GPT-2's size at context 1024 with its share of the device's dense bf16 peak, and
the same model by hand in PyTorch, as nanoGPT trains: autocast, `torch.compile`, fused AdamW.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measurements.plain_gpt import PlainGPT
from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.corpus import Corpus, standard_library
from horizon_bo.training.flops import flops_per_token, peak_flops
from horizon_bo.training.loop import Training

RATES = 16
MIDDLE = {"width": 160, "depth": 5, "head_dim": 32}
#: Models of up to 2M parameters and tokens a step: the built-in trainer's own batch and context,
#: and four times the batch at twice the context.
SMALL = (
    (ModelConfig(), 1_024),
    (ModelConfig(**MIDDLE), 1_024),
    (ModelConfig(**MIDDLE, context=256), 4_096),
)
#: 12 blocks of width 768 and GPT-2's vocabulary padded to a multiple of 64: 124M with embedding.
GPT2 = ModelConfig(width=768, depth=12, head_dim=64, vocab=50_304, context=1_024, tied=True)
LARGE_BATCH = 32_768  # tokens a step of the large model
WARMUP = 10  # steps before time is taken: compilation, and recording of graphs
BLOCK = 20  # steps between looks at the clock


def rate(step: Callable[[], None], device: str, seconds: float) -> float:
    """Steps a second: the median of blocks that fill so many seconds, after a warm-up."""
    for _ in range(WARMUP):
        step()
    blocks: list[float] = []
    while sum(blocks) < seconds:
        _wait(device)
        began = time.perf_counter()
        for _ in range(BLOCK):
            step()
        _wait(device)
        blocks.append(time.perf_counter() - began)
    return BLOCK / statistics.median(blocks)


def speed(config: RunConfig, text: Corpus, device: str, seconds: float) -> float:
    """Tokens a second of all stacked runs together."""
    torch.compiler.reset()  # a run has a process of its own, and shapes fixed in it
    run = Training(config, text, device)
    tokens = config.recipe.batch_tokens * len(config.seeds)
    return tokens * rate(lambda: run.advance(1.0), device, seconds)


def plain_speed(model: ModelConfig, batch_tokens: int, device: str, seconds: float) -> float:
    """Tokens a second of the same model in ordinary PyTorch."""
    torch.compiler.reset()
    net = PlainGPT(model).to(device)
    if model.tied:
        net.head.weight = net.embedding.weight
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    loss = torch.compile(net)
    text = torch.randint(256, (batch_tokens // model.context, model.context + 1)).pin_memory()

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            value = loss(text.to(device, non_blocking=True))
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return batch_tokens * rate(step, device, seconds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def stack(model: ModelConfig, batch_tokens: int, runs: int) -> RunConfig:
    """Runs of one model at rates an eighth of an octave apart."""
    return RunConfig(
        model=model,
        recipe=Recipe(batch_tokens=batch_tokens),
        learning_rates=tuple(2.0 ** (-9 + k / 8) for k in range(runs)),
        seeds=(0,) * runs,
        tokens=batch_tokens * 100_000,
    )


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--only", choices=("small", "large"), help="the small models or the large")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    text = standard_library()
    on_cuda = given.device.startswith("cuda")
    name = torch.cuda.get_device_name(given.device) if on_cuda else given.device
    about: dict[str, Any] = {"commit": commit, "torch": torch.__version__, "device": name}
    if given.only != "large":
        for model, batch_tokens in SMALL:
            _small(model, batch_tokens, text, given, about)
    if given.only != "small":
        _large(text, given, about)


def _small(
    model: ModelConfig,
    batch_tokens: int,
    text: Corpus,
    given: argparse.Namespace,
    about: dict[str, Any],
) -> None:
    alone, stacked = (
        speed(stack(model, batch_tokens, runs), text, given.device, given.seconds)
        for runs in (1, RATES)
    )
    small = {"params": model.params, "batch_tokens": batch_tokens, **about}
    print(json.dumps({"what": "alone", "tokens_per_second": alone, **small}), flush=True)
    record = {"what": "stacked", "runs": RATES, "tokens_per_second": stacked}
    print(json.dumps({**record, "ratio": stacked / alone, **small}), flush=True)


def _large(text: Corpus, given: argparse.Namespace, about: dict[str, Any]) -> None:
    peak = peak_flops(given.device)
    config = stack(GPT2, LARGE_BATCH, 1)
    ways: tuple[tuple[str, Callable[[], float]], ...] = (
        ("124M", lambda: speed(config, text, given.device, given.seconds)),
        ("124M by hand", lambda: plain_speed(GPT2, LARGE_BATCH, given.device, given.seconds)),
    )
    for what, measure in ways:
        found = measure()
        share = None if peak is None else found * flops_per_token(GPT2) / peak
        record = {"what": what, "params": GPT2.params, "tokens_per_second": found}
        print(json.dumps({**record, "flops_utilization": share, **about}), flush=True)


if __name__ == "__main__":
    main()
