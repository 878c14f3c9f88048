"""Model: the stacked transformer is the ordinary one, causal, and knows nothing at the start."""

import math
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurements.plain_gpt import PlainGPT
from horizon_bo.training.config import ModelConfig, Recipe, TrainingConfigError
from horizon_bo.training.experts import routed
from horizon_bo.training.flops import flops_per_token
from horizon_bo.training.model import Transformer, started, swiglu, transformer
from horizon_bo.training.parametrization import weights
from tests.training.small import CONTEXT, small_model

VARIANTS = [
    {},
    {"qk_norm": True},
    {"tied": True},
    {"experts": 4, "active_experts": 2},
    {"experts": 3, "active_experts": 1, "shared_expert": True},
    {"parametrization": "mup", "base_width": 8},
]


def built(seeds: tuple[int, ...] = (0,), **changes: Any) -> tuple[Transformer, torch.Tensor]:
    model = small_model(**changes)
    layout = weights(model, Recipe(), 1000)
    theta = started(layout, seeds)
    # no weight at its start of zero or one, so that every one counts
    theta = theta + 0.05 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(9))
    return transformer(model, layout, z_loss=0.01, balance=0.1), theta


def text(runs: int = 1, rows: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (runs, rows, CONTEXT + 1), generator=generator)


def test_the_stacked_model_is_the_plain_one():
    net, theta = built((0, 1))
    words = text(2)
    losses = net.loss(theta, words).nats
    for run in range(2):
        plain = PlainGPT(net.model)
        plain.load_flat(theta[run])
        torch.testing.assert_close(losses[run], plain(words[run]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
def test_no_logit_depends_on_later_tokens(changes: dict[str, Any]):
    net, theta = built(**changes)
    words = text()[..., :-1]
    other = words.clone()
    other[..., 9:] = (other[..., 9:] + 1) % 256
    here, there = (net.logits(theta, w)[0].view(3, CONTEXT, 256) for w in (words, other))
    torch.testing.assert_close(here[:, :9], there[:, :9], rtol=1e-5, atol=1e-5)
    assert float((here[:, 9:] - there[:, 9:]).abs().max()) > 1e-3


@pytest.mark.parametrize("changes", VARIANTS)
def test_runs_of_a_stack_do_not_touch_each_other(changes: dict[str, Any]):
    net, theta = built((0, 1, 2), **changes)
    words = text(3)
    alone = torch.cat([net.loss(theta[[k]], words[[k]]).nats for k in range(3)])
    torch.testing.assert_close(net.loss(theta, words).nats, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", [v for v in VARIANTS if "tied" not in v])
def test_the_first_loss_is_that_of_a_uniform_guess(changes: dict[str, Any]):
    model = small_model(**changes)
    layout = weights(model, Recipe(), 1000)
    net = transformer(model, layout)
    loss = net.loss(started(layout, (0,)), text()).nats
    torch.testing.assert_close(loss, torch.tensor([math.log(256)]), rtol=1e-6, atol=0.0)


def test_rotary_positions_make_attention_depend_on_distance_alone():
    net, _ = built()
    x = torch.randn(1, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    turned = net._rotated(x.expand(1, 1, CONTEXT, 8))[0, 0]
    products = turned @ turned.T
    for distance in range(4):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


def test_the_z_loss_is_the_mean_squared_log_partition():
    net, theta = built()
    words = text()
    logits, _ = net.logits(theta, words[..., :-1])
    expected = 0.01 * logits.logsumexp(-1).square().mean(1)
    torch.testing.assert_close(net.loss(theta, words).extra, expected)


def test_experts_are_the_brute_force_sum_over_tokens():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    x, router = draw(2, 7, 4), draw(2, 4, 3)
    up, down = draw(2, 3, 4, 10), draw(2, 3, 5, 4)
    fed, _ = routed(x, router, up, down, 2)
    for run in range(2):
        for token in range(7):
            logits = x[run, token] @ router[run]
            best = logits.topk(2)
            expected = torch.zeros(4)
            for share, expert in zip(best.values.softmax(0), best.indices, strict=True):
                inner = x[run, token].view(1, 1, 4)
                expected += share * swiglu(inner, up[run, [expert]], down[run, [expert]])[0, 0]
            torch.testing.assert_close(fed[run, token], expected, rtol=1e-5, atol=1e-5)


def test_the_imbalance_is_one_when_even_and_the_number_of_experts_when_all_go_to_one():
    x = torch.eye(3)[None]
    up, down = torch.zeros(1, 3, 3, 4), torch.zeros(1, 3, 2, 3)
    _, even = routed(x, 20 * torch.eye(3)[None], up, down, 1)
    torch.testing.assert_close(even, torch.ones(1))
    lopsided = torch.zeros(1, 3, 3)
    lopsided[..., 0] = 50.0
    _, uneven = routed(x, lopsided, up, down, 1)
    torch.testing.assert_close(uneven, torch.full((1,), 3.0))


def test_every_weight_of_every_expert_gets_a_gradient():
    net, theta = built(experts=4, active_experts=2, shared_expert=True)
    leaf = theta.requires_grad_()
    losses = net.loss(leaf, text(rows=8))
    (gradient,) = torch.autograd.grad((losses.nats + losses.extra).sum(), leaf)
    for name, part in net.split(gradient).items():
        missing = part.flatten(2) == 0 if part.dim() == 4 else torch.zeros(1)
        assert bool(part.any()), name
        assert float(missing.float().mean()) < 0.1, name


@pytest.mark.parametrize(
    "changes", [{}, {"tied": True}, {"width": 96, "depth": 3, "qk_norm": True}]
)
def test_flops_are_what_torch_counts_in_a_forward_and_backward_pass(changes: dict[str, Any]):
    model = ModelConfig(**changes)
    layout = weights(model, Recipe(), 1000)
    net = transformer(model, layout, device="meta")
    theta = torch.empty(1, net.size, device="meta", requires_grad=True)
    words = torch.empty(1, 1, model.context + 1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net.loss(theta, words).nats.sum().backward()
    assert flops_per_token(model) == counter.get_total_flops() / model.context


def test_active_experts_cost_what_a_dense_layer_costs():
    dense = ModelConfig(width=96, depth=2, head_dim=32)
    mixed = ModelConfig(width=96, depth=2, head_dim=32, experts=8, active_experts=2)
    assert mixed.params == dense.params + 2 * 96 * 8
    assert flops_per_token(mixed) == flops_per_token(dense) + 6 * 2 * 96 * 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 60}, "width is 60 with head_dim 16"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"experts": 2, "active_experts": 3}, "active_experts is 3"),
        ({"parametrization": "ntk"}, "parametrization is 'ntk'"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(TrainingConfigError, match=said):
        ModelConfig(**changes)
