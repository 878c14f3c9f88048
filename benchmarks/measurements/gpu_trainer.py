"""GPU trainer: what do stacking and a real model size give on an accelerator?

    python -m benchmarks.measurements.gpu_trainer \
        >> benchmarks/results/gpu_trainer.jsonl      # minutes, CUDA

Four lines: sixteen rates of a small model one after the other, the same sixteen in one stack, a
model of GPT-2's size at context 1024 with its share of the device's dense bf16 peak, and the same
model by hand in ordinary PyTorch, as nanoGPT has it: autocast, `torch.compile`, fused AdamW.
"""

import argparse
import json
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
SMALL = ModelConfig(width=160, depth=5, head_dim=32, context=256)
#: 12 blocks of width 768 and GPT-2's vocabulary padded to a multiple of 64: 124M with embedding.
GPT2 = ModelConfig(width=768, depth=12, head_dim=64, vocab=50_304, context=1_024, tied=True)
LARGE_BATCH = 32_768  # tokens a step of the large model
WARMUP = 5


def speed(config: RunConfig, text: Corpus, device: str, steps: int) -> float:
    """Tokens a second of all stacked runs together, after a few steps of warm-up."""
    run = Training(config, text, device)
    for _ in range(WARMUP):
        run.advance(1.0)
    _wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        run.advance(1.0)
    _wait(device)
    tokens = steps * config.recipe.batch_tokens * len(config.seeds)
    return tokens / (time.perf_counter() - began)


def plain_speed(model: ModelConfig, batch_tokens: int, device: str, steps: int) -> float:
    """Tokens a second of the same model in ordinary PyTorch."""
    net = PlainGPT(model).to(device)
    if model.tied:
        net.head.weight = net.embedding.weight
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    loss = torch.compile(net)
    shape = (batch_tokens // model.context, model.context + 1)
    batches = [torch.randint(256, shape).pin_memory() for _ in range(WARMUP)]

    def step(k: int) -> None:
        text = batches[k % WARMUP].to(device, non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16):
            value = loss(text)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for k in range(WARMUP):
        step(k)
    _wait(device)
    began = time.perf_counter()
    for k in range(steps):
        step(k)
    _wait(device)
    return steps * batch_tokens / (time.perf_counter() - began)


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
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", choices=("small", "large"), help="one of the two models")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    text = standard_library()
    on_cuda = given.device.startswith("cuda")
    name = torch.cuda.get_device_name(given.device) if on_cuda else given.device
    about: dict[str, Any] = {"commit": commit, "torch": torch.__version__, "device": name}
    if given.only != "large":
        _small(text, given.device, given.steps, about)
    if given.only != "small":
        _large(text, given.device, given.steps, about)


def _small(text: Corpus, device: str, steps: int, about: dict[str, Any]) -> None:
    alone = speed(stack(SMALL, 4_096, 1), text, device, steps)
    stacked = speed(stack(SMALL, 4_096, RATES), text, device, steps)
    small = {"params": SMALL.params, **about}
    print(json.dumps({"what": "alone", "tokens_per_second": alone, **small}), flush=True)
    record = {"what": "stacked", "runs": RATES, "tokens_per_second": stacked}
    print(json.dumps({**record, "ratio": stacked / alone, **small}), flush=True)


def _large(text: Corpus, device: str, steps: int, about: dict[str, Any]) -> None:
    peak = peak_flops(device)
    ways: tuple[tuple[str, Callable[[], float]], ...] = (
        ("124M", lambda: speed(stack(GPT2, LARGE_BATCH, 1), text, device, steps)),
        ("124M by hand", lambda: plain_speed(GPT2, LARGE_BATCH, device, steps)),
    )
    for what, measure in ways:
        found = measure()
        share = None if peak is None else found * flops_per_token(GPT2) / peak
        record = {"what": what, "params": GPT2.params, "tokens_per_second": found}
        print(json.dumps({**record, "flops_utilization": share, **about}), flush=True)


if __name__ == "__main__":
    main()
