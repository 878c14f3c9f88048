"""Parametrization: both agree at the base, and under µP activations do not grow with width."""

import math

import pytest
import torch

from horizon_bo.published.mup import Growth, transfer_factors
from horizon_bo.training.config import ModelConfig, Recipe
from horizon_bo.training.loop import Training, train
from horizon_bo.training.parametrization import multipliers, weights
from tests.training.small import small_corpus, small_model, small_run


def test_at_the_base_shape_both_parametrizations_are_one_to_the_last_bit():
    plain = train(small_run(), small_corpus()).readings
    mup = train(small_run(model={"parametrization": "mup"}), small_corpus()).readings
    assert mup == plain
    wider = {"parametrization": "mup", "base_width": 8}
    assert train(small_run(model=wider), small_corpus()).readings != plain


def test_factors_are_those_of_the_published_transfer_rules():
    base = ModelConfig(width=32, depth=2, head_dim=16, base_width=32, base_depth=2)
    model = ModelConfig(
        width=128, depth=6, head_dim=16, base_width=32, base_depth=2, parametrization="mup"
    )
    recipe = Recipe(batch_tokens=4096, base_batch_tokens=1024, base_tokens=1_000_000)
    longer = 3_000_000
    here = {part.name: part for part in weights(model, recipe, longer)}
    there = {part.name: part for part in weights(base, Recipe(), longer)}
    growth = Growth(width=4, depth=3, batch_tokens=4, tokens=3)
    wanted = transfer_factors(growth, ("width", "depth", "batch", "horizon"))
    assert here["0.qkv"].rate == pytest.approx(wanted.hidden_rate)
    assert here["embedding"].rate == pytest.approx(wanted.embedding_rate)
    start = here["0.qkv"].start_sd / there["0.qkv"].start_sd
    assert start == pytest.approx(wanted.hidden_init)
    assert here["0.qkv"].decay / there["0.qkv"].decay == pytest.approx(wanted.weight_decay)
    assert multipliers(model).residual == pytest.approx(wanted.residual_multiplier)
    assert multipliers(model).logits == pytest.approx(wanted.output_multiplier)


def test_factors_of_experts_are_those_of_the_published_rules_from_a_dense_base():
    shape = {"head_dim": 16, "base_width": 48, "base_depth": 2, "parametrization": "mup"}
    base = ModelConfig(width=48, depth=2, **shape)
    model = ModelConfig(
        width=192, depth=2, experts=16, active_experts=3, shared_expert=True, **shape
    )
    assert (base.hidden, model.hidden) == (128, 128)
    here = {part.name: part for part in weights(model, Recipe(), 1000)}
    there = {part.name: part for part in weights(base, Recipe(), 1000)}
    growth = Growth(width=4, active_experts=4, expert_width=1, experts=16)
    wanted = transfer_factors(growth)
    for name in ("0.down", "0.shared_down"):
        assert here[name].rate == pytest.approx(wanted.expert_out_rate)
        assert here[name].start_sd / there["0.down"].start_sd == pytest.approx(
            wanted.expert_out_init
        )
        assert here[name].decay == pytest.approx(wanted.expert_out_decay)
    assert here["0.up"].rate == pytest.approx(wanted.hidden_rate)
    assert here["0.router"].rate == pytest.approx(wanted.router_rate)
    assert here["0.router"].start_sd == pytest.approx(48**-0.5 * wanted.router_init)
    # the shared expert is one of the four that a token passes, and has no gate
    assert multipliers(model).gates == wanted.gate_multiplier - 1


def _sizes(model: ModelConfig, steps: int = 4) -> dict[str, float]:
    """Root mean squares of what a model computes after a few steps at one rate."""
    config = small_run(tokens=64 * 400)
    config = type(config)(**{**vars(config), "model": model, "learning_rates": (0.02,)})
    run = Training(config, small_corpus())
    for _ in range(steps):
        run.advance(1.0)
    text = run.held_out[:16].expand(1, -1, -1)
    parts = run.net.split(run.progress.state.theta)
    rows = text.shape[1]
    stream = torch.nn.functional.embedding(text[0, :, :-1].reshape(1, -1), parts["embedding"][0])
    attended = run.net._attention(parts, 0, stream, rows)
    fed, _ = run.net._feed(parts, 0, stream)
    logits, _ = run.net.logits(run.progress.state.theta, text[..., :-1])
    return {
        "attention": float(attended.square().mean().sqrt()),
        "feed": float(fed.square().mean().sqrt()),
        "logits": float(logits.square().mean().sqrt()),
    }


def _growth(parametrization: str) -> dict[str, float]:
    """Exponent of each size in width, by least squares over a factor of sixteen."""
    widths = [16, 32, 64, 128, 256]
    sizes = [
        _sizes(small_model(width=width, depth=1, parametrization=parametrization, base_depth=1))
        for width in widths
    ]
    x = torch.tensor([math.log(w) for w in widths], dtype=torch.float64)
    x = x - x.mean()
    return {
        name: float(x @ torch.tensor([math.log(s[name]) for s in sizes], dtype=torch.float64))
        / float(x @ x)
        for name in sizes[0]
    }


def test_coordinate_check_activations_keep_their_size_under_mup_only():
    mup, standard = _growth("mup"), _growth("standard")
    for name in ("attention", "feed", "logits"):
        assert abs(mup[name]) < 0.25, (name, mup, standard)
    # with AdamW every weight moves as far however many there are, so their sums grow with width
    assert standard["logits"] > 0.5
    assert standard["feed"] > 0.4


def test_coordinate_check_depth_does_not_make_the_stream_grow_under_mup():
    def stream(depth: int, parametrization: str) -> float:
        model = small_model(
            width=32, depth=depth, parametrization=parametrization, base_depth=2, base_width=32
        )
        config = small_run(tokens=64 * 400)
        config = type(config)(**{**vars(config), "model": model, "learning_rates": (0.02,)})
        run = Training(config, small_corpus())
        for _ in range(6):
            run.advance(1.0)
        text = run.held_out[:16].expand(1, -1, -1)
        logits, _ = run.net.logits(run.progress.state.theta, text[..., :-1])
        return float(logits.square().mean().sqrt())

    growth = {
        name: math.log(stream(32, name) / stream(2, name)) / math.log(16)
        for name in ("mup", "standard")
    }
    assert abs(growth["mup"]) < 0.15, growth
