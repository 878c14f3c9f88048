"""Accelerator: a GPU reaches the losses of the CPU, whatever the model and the optimizer."""

import pytest
import torch

from horizon_bo.training.loop import train
from tests.training.small import CONTEXT, small_corpus, small_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # torch.compile warns of what it does itself
]

STEP = 4 * CONTEXT  # tokens


@pytest.fixture(autouse=True)
def _with_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is here, expected one; run with -m gpu where there is")


def losses(outcome):
    return [reading["loss"] for reading in outcome.readings]


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ({}, {}),
        ({"qk_norm": True, "tied": True}, {"z_loss": 1e-3}),
        ({"experts": 4, "shared_expert": True}, {}),
        ({}, {"optimizer": "muon"}),
    ],
)
def test_an_accelerator_reaches_the_loss_of_the_cpu(model, recipe):
    config = small_run(model, recipe, learning_rates=(0.01, 0.02), seeds=(0, 0), tokens=300 * STEP)
    there = losses(train(config, small_corpus(), device="cuda"))
    # bf16 rounds to three digits, and three hundred steps forget most of that
    assert there == pytest.approx(losses(train(config, small_corpus())), abs=0.05)


def test_branches_and_means_on_an_accelerator_are_those_of_the_cpu():
    config = small_run(
        recipe={"schedule": "wsd"},
        tokens=300 * STEP,
        branches=(150 * STEP, 300 * STEP),
        averagings=("lawa", "ema"),
    )
    there, here = (train(config, small_corpus(), device=name) for name in ("cuda", "cpu"))
    assert losses(there) == pytest.approx(losses(here), abs=0.05)
    assert there.flops == here.flops
