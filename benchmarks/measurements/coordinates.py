"""Coordinates: do activations of an expert model keep their size as it grows, under µP?

    python -m benchmarks.measurements.coordinates            # a minute of one core
    python -m benchmarks.measurements.coordinates --steps 100

The check of Yang et al. (2022), arXiv:2203.03466, appendix D.1: after a few steps at one rate, root
mean squares of what the first block and the head compute, for models of more width, experts or
depth, in the mean of four seeds. The router is the one part whose start shrinks by rule (an output
layer); for it the table shows what it has learnt too, its logits less those of its start.
"""

import argparse
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.corpus import Corpus, standard_library
from horizon_bo.training.loop import Training

SEEDS = (0, 1, 2, 3)
#: What grows fourfold, the rest as in the base.
BASE = {"width": 64, "experts": 4, "depth": 2}
GROWN = {"width": (64, 128, 256), "experts": (4, 8, 16), "depth": (2, 4, 8)}
TOKENS, BATCH = 400_000, 1024


def grown(axis: str, parametrization: str) -> Iterator[ModelConfig]:
    """The models along one axis."""
    for value in GROWN[axis]:
        shape = BASE | {axis: value}
        yield ModelConfig(
            width=shape["width"],
            depth=shape["depth"],
            experts=shape["experts"],
            active_experts=2,
            head_dim=16,
            parametrization=parametrization,
            base_width=BASE["width"],
            base_depth=BASE["depth"],
        )


def sizes(model: ModelConfig, rate: float, steps: int, text: Corpus) -> dict[str, float]:
    """Root mean squares of activations after some steps, over seeds."""
    recipe = Recipe(batch_tokens=BATCH, warmup=0.0)
    config = RunConfig(
        model=model, recipe=recipe, learning_rates=(rate,) * len(SEEDS), seeds=SEEDS, tokens=TOKENS
    )
    run = Training(config, text)
    start = run.net.split(run.progress.state.theta.clone())
    for _ in range(steps):
        run.advance(1.0)
    theta = run.progress.state.theta
    parts, net = run.net.split(theta), run.net
    held = run.held_out[:8, :-1].expand(len(SEEDS), -1, -1)
    rows = held.shape[1]
    with torch.no_grad():
        flat = held.reshape(len(SEEDS), -1)
        stream = torch.stack([parts["embedding"][k][flat[k]] for k in range(len(SEEDS))])
        attended = net._attention(parts, 0, stream, rows)
        stream = stream + net.factors.residual * attended
        fed, _ = net._feed(parts, 0, stream)
        normed = net._normed(stream, parts["0.feed_gain"])
        router = parts["0.router"]
        logits, _ = net.logits(theta, held)
        found = {
            "attention": attended,
            "experts' output": fed,
            "stream": stream + net.factors.residual * fed,
            "logits": logits,
            "router's logits": torch.bmm(normed, router),
            "router's logits, learnt": torch.bmm(normed, router - start["0.router"]),
        }
    return {name: float(value.square().mean().sqrt()) for name, value in found.items()}


def ratios(
    models: Iterable[ModelConfig], rate: float, steps: int, text: Corpus
) -> dict[str, float]:
    """Of each activation, the largest of its sizes over the models over the smallest."""
    along = [sizes(model, rate, steps, text) for model in models]
    return {
        name: float(np.max([s[name] for s in along]) / np.min([s[name] for s in along]))
        for name in along[0]
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    text = standard_library()
    print("| parametrization | activation | 4 x width | 4 x experts | 4 x depth |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("mup", "standard"):
        found = [ratios(grown(axis, name), given.rate, given.steps, text) for axis in GROWN]
        for part in found[0]:
            told = " | ".join(f"{along[part]:.2f}" for along in found)
            print(f"| {name} | {part} | {told} |", flush=True)


if __name__ == "__main__":
    main()
