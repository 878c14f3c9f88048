"""Coordinates: under µP, do an expert model's activations keep their size as it grows?"""

import pytest
import torch
from torch import Tensor

from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.loop import Training
from tests.training.small import small_corpus

SEEDS, STEPS, RATE, BATCH = (0, 1, 2, 3), 4, 0.002, 512
BASE = {"width": 32, "depth": 2, "experts": 4, "active_experts": 2}


def _sizes(parametrization: str, **larger: int) -> dict[str, float]:
    """Root mean squares of what a model computes after a few steps, over seeds."""
    given = {"head_dim": 8, "context": 16, "base_width": 32, "base_depth": 2, **BASE, **larger}
    config = RunConfig(
        model=ModelConfig(parametrization=parametrization, **given),
        recipe=Recipe(batch_tokens=BATCH),
        learning_rates=(RATE,) * len(SEEDS),
        seeds=SEEDS,
        tokens=100 * BATCH,
        eval_tokens=1024,
    )
    run = Training(config, small_corpus())
    for _ in range(STEPS):
        run.advance(1.0)
    with torch.no_grad():
        return {name: _size(found) for name, found in _computed(run).items()}


def _computed(run: Training) -> dict[str, Tensor]:
    net, theta = run.net, run.progress.state.theta
    parts = net.split(theta)
    text = run.held_out[:32, :-1].expand(len(SEEDS), -1, -1)
    table, own = parts["embedding"], torch.arange(len(SEEDS))[:, None]
    stream = table[own, text.flatten(1)]
    attended = fed = stream
    for layer in range(net.model.depth):
        attended = net._attention(parts, layer, stream, text.shape[1])
        stream = stream + net.factors.residual * attended
        fed, _ = net._feed(parts, layer, stream)
        stream = stream + net.factors.residual * fed
    logits, _ = net.logits(theta, text)
    return {"attention": attended, "feed": fed, "stream": stream, "logits": logits}


def _size(found: Tensor) -> float:
    return float(found.square().mean((-2, -1)).sqrt().mean())


@pytest.fixture(scope="module")
def base() -> dict[str, float]:
    return _sizes("mup")


@pytest.mark.parametrize("larger", [{"width": 128}, {"experts": 16}, {"depth": 8}])
def test_an_expert_model_four_times_as_large_computes_as_large_numbers(base, larger):
    found = _sizes("mup", **larger)
    for name, size in found.items():
        assert 1 / 1.15 < size / base[name] < 1.15, (name, size / base[name])


def test_without_the_rules_logits_grow_with_width():
    assert _sizes("standard", width=128)["logits"] > 2 * _sizes("standard")["logits"]
