"""Optimizers: the flat update is torch's AdamW, run by run, and Muon moves the matrices alone."""

import pytest
import torch

from horizon_bo.training.config import Recipe
from horizon_bo.training.loop import Training
from horizon_bo.training.optimizers import adamw_step, clipped, factors, new_state
from horizon_bo.training.parametrization import Weights
from tests.training.small import small_corpus, small_run

LAYOUT = (
    Weights(name="a", shape=(4, 3), start_sd=1.0, rate=0.5, decay=2.0),
    Weights(name="b", shape=(5,), start_sd=1.0, eps=0.25),
)


@pytest.mark.parametrize("steps", [1, 7])
def test_a_stacked_step_is_torchs_adamw_for_every_run(steps: int):
    generator = torch.Generator().manual_seed(0)
    recipe = Recipe(weight_decay=0.3, eps=1e-3)
    rates = [0.1, 0.02]
    theta = torch.randn(2, 17, generator=generator)
    parts = [[row[:12].clone(), row[12:].clone()] for row in theta]
    torch_groups = [
        [
            {"params": [a], "lr": 0.5 * rate, "weight_decay": 0.6, "eps": 1e-3},
            {"params": [b], "lr": rate, "weight_decay": 0.0, "eps": 0.25e-3},
        ]
        for (a, b), rate in zip(parts, rates, strict=True)
    ]
    optimizers = [torch.optim.AdamW(groups, betas=(0.9, 0.95)) for groups in torch_groups]
    state = new_state(theta)
    for _ in range(steps):
        gradient = torch.randn(2, 17, generator=generator)
        state.step += 1
        own = factors(LAYOUT, recipe, "cpu")
        adamw_step(state, gradient, torch.tensor(rates)[:, None], own, recipe)
        for (a, b), row, optimizer in zip(parts, gradient, optimizers, strict=True):
            a.grad, b.grad = row[:12], row[12:]
            optimizer.step()
    expected = torch.stack([torch.cat(row) for row in parts])
    torch.testing.assert_close(state.theta, expected, rtol=1e-5, atol=1e-6)


def test_clipping_cuts_long_gradients_of_each_run_and_leaves_short_ones():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    torch.testing.assert_close(clipped(gradient, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    assert clipped(gradient, None) is gradient


def test_muon_moves_matrices_along_orthogonal_steps_and_the_rest_by_adamw():
    config = small_run(recipe={"optimizer": "muon", "weight_decay": 0.0, "clip": None})
    run, plain = (Training(config, small_corpus()) for _ in range(2))
    before = run.progress.state.theta.clone()
    run.advance(1.0)
    end = 0
    for part in run.net.layout:
        span = slice(end, end := end + part.size)
        moved = (run.progress.state.theta - before)[0, span]
        if not part.matrix or not bool(moved.any()):
            continue
        matrix = moved.view(-1, *part.shape[-2:])[0]
        # rms 0.2 by the rule that lets AdamW's rate serve, within Newton–Schulz's tolerance
        scale = 0.01 * 0.2 * max(matrix.shape) ** 0.5
        singular = torch.linalg.svdvals(matrix) / scale
        assert 0.5 < float(singular.median()) < 1.3
    assert plain.config == run.config


def test_muon_keeps_its_momentum_where_checkpoints_find_it():
    config = small_run(recipe={"optimizer": "muon"})
    run = Training(config, small_corpus())
    for _ in range(3):
        run.advance(1.0)
    kept = run.progress.state.copy()
    run.advance(1.0)
    after = run.progress.state.theta.clone()
    other = Training(config, small_corpus())
    other.progress.state.restore(kept)
    other.advance(1.0)
    assert torch.equal(other.progress.state.theta, after)
