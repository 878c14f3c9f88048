"""Loop: runs repeat bit for bit, stacked or alone, in one go or killed on the way."""

import math
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from horizon_bo.training import checkpoint
from horizon_bo.training.loop import Training, train
from tests.training.small import small_corpus, small_run

STEP = 64  # tokens


def losses(outcome):
    return [reading["loss"] for reading in outcome.readings]


def test_a_repeated_run_gives_the_same_loss_bit_for_bit():
    config = small_run(tokens=120 * STEP, averagings=("lawa", "ema", "swa"))
    first, second = (train(config, small_corpus()) for _ in range(2))
    assert first.readings == second.readings
    assert len({r["loss"] for r in first.readings}) == 4


def test_training_learns_the_walk():
    (reading,) = train(small_run(tokens=300 * STEP), small_corpus()).readings
    # five steps with shares 3/5, 1/5, 1/5: no model beats their entropy
    entropy = -(0.6 * math.log(0.6) + 2 * 0.2 * math.log(0.2))
    assert entropy < reading["loss"] < entropy + 0.4
    assert reading["bits_per_byte"] == pytest.approx(reading["loss"] / math.log(2))


def test_seed_and_rate_make_a_difference():
    base = losses(train(small_run(), small_corpus()))
    assert losses(train(small_run(seeds=(1,)), small_corpus())) != base
    assert losses(train(small_run(learning_rates=(0.02,)), small_corpus())) != base


def test_a_stack_of_runs_trains_each_as_alone():
    stacked = train(small_run(learning_rates=(0.01, 0.03), seeds=(0, 5)), small_corpus())
    alone = [
        losses(train(small_run(learning_rates=(rate,), seeds=(seed,)), small_corpus()))[0]
        for rate, seed in ((0.01, 0), (0.03, 5))
    ]
    # products are summed in another order, and forty steps amplify that
    assert losses(stacked) == pytest.approx(alone, abs=2e-4)


@pytest.mark.parametrize("extra", [{}, {"experts": 4, "shared_expert": True}])
def test_a_branch_is_an_ordinary_wsd_run_that_shares_its_trunk(extra):
    branched = train(
        small_run(
            model=extra, recipe={"schedule": "wsd"}, branches=(20 * STEP, 40 * STEP), averagings=()
        ),
        small_corpus(),
    )
    for reading in branched.readings:
        alone = small_run(model=extra, recipe={"schedule": "wsd"}, tokens=reading["tokens"])
        # the trunk warms up over a share of its shortest branch
        warm = 0.05 * 20 * STEP / reading["tokens"]
        alone = replace(alone, recipe=replace(alone.recipe, warmup=warm))
        assert losses(train(alone, small_corpus())) == [reading["loss"]]
    assert [r["steps"] for r in branched.readings] == [20, 40]
    assert branched.flops / branched.readings[0]["tokens"] == pytest.approx(
        train(small_run(model=extra), small_corpus()).flops / (40 * STEP) * (32 + 4 + 8) / 20
    )


def test_a_constant_trunk_can_be_read_on_the_way_with_averages():
    config = small_run(
        recipe={"schedule": "wsd"},
        branches=(40 * STEP,),
        readings=(20 * STEP, 32 * STEP),
        averagings=("lawa",),
    )
    found = [
        (r["steps"], r["schedule"], r["averaging"]) for r in train(config, small_corpus()).readings
    ]
    assert found == [
        (20, "constant", "none"),
        (20, "constant", "lawa"),
        (32, "constant", "none"),
        (32, "constant", "lawa"),
        (40, "wsd", "none"),
    ]


def test_a_run_that_blows_up_is_diverged_and_ends_early():
    config = small_run(
        recipe={"clip": None},
        learning_rates=(1e4,),
        tokens=4000 * STEP,
        averagings=("ema",),
    )
    outcome = train(config, small_corpus())
    assert [r["diverged"] for r in outcome.readings] == [True, True]
    assert [r["loss"] for r in outcome.readings] == [None, None]
    assert outcome.flops < outcome.planned_flops / 2


def test_a_diverged_run_leaves_the_others_of_its_stack_alone():
    stacked = train(
        small_run(recipe={"clip": None}, learning_rates=(1e4, 0.01), seeds=(0, 0)), small_corpus()
    )
    assert [r["diverged"] for r in stacked.readings] == [True, False]
    alone = train(small_run(recipe={"clip": None}), small_corpus())
    assert stacked.readings[1]["loss"] == pytest.approx(alone.readings[0]["loss"], abs=2e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop", [7, 33, 39])
def test_going_on_from_a_checkpoint_equals_never_stopping(tmp_path, stop, optimizer):
    config = small_run(
        recipe={"schedule": "wsd", "optimizer": optimizer},
        branches=(20 * STEP, 40 * STEP),
        readings=(36 * STEP,),
        averagings=("lawa", "ema", "swa"),
    )
    whole = train(config, small_corpus())

    class KilledError(Exception):
        pass

    text = small_corpus()
    calls = 0
    original = Training.advance

    def advance(self, share):
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KilledError
        original(self, share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "advance", advance)
        with pytest.raises(KilledError):
            train(config, text, folder=tmp_path, checkpoint_s=0.0)
    resumed = train(config, text, folder=tmp_path)
    assert resumed.readings == whole.readings
    assert (tmp_path / checkpoint.NAME).is_file()


@pytest.mark.slow
def test_a_run_killed_by_sigkill_ends_as_if_never_killed(tmp_path):
    steps = 200
    config = small_run(tokens=steps * STEP)
    whole = train(config, small_corpus())
    code = (  # it kills itself, so that a machine that is busy kills no later in its run
        "import json, os, signal, sys, threading, time, torch; from pathlib import Path\n"
        "from horizon_bo.training import checkpoint\n"
        "from horizon_bo.training.config import run_config\n"
        "from horizon_bo.training.loop import train\n"
        "from tests.training.small import small_corpus\n"
        "torch.set_num_threads(1); folder = Path(sys.argv[2])\n"
        "def kill():\n"
        "    while not (folder / checkpoint.NAME).is_file(): time.sleep(0.005)\n"
        "    time.sleep(0.1); os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=kill).start()\n"
        "config = run_config(json.loads(sys.argv[1]))\n"
        "train(config, small_corpus(), folder=folder, checkpoint_s=0.05)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, config.as_json(), str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    kept = checkpoint.load(tmp_path, f"{config.as_json()} {small_corpus().digest}", "cpu")
    assert kept is not None
    assert 0 < kept.state.step < steps
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train(config, small_corpus(), folder=tmp_path).readings == whole.readings
    finally:
        torch.set_num_threads(threads)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    text = small_corpus()
    state = Training(small_run(), text).progress
    checkpoint.save(state, "another", tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="of another run"):
        train(small_run(), text, folder=tmp_path)
    (tmp_path / checkpoint.NAME).write_bytes(b"cut off")
    with pytest.raises(checkpoint.CheckpointError, match="cannot be read"):
        train(small_run(), text, folder=tmp_path)


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(checkpoint.CheckpointError, match="No space left") as caught:
        train(small_run(), small_corpus(), folder=tmp_path, checkpoint_s=0.0)
    assert "\n" not in str(caught.value)
