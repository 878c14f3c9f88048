"""Job: a run in a process of its own leaves its result, and fails in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from horizon_bo.training import checkpoint, job
from horizon_bo.training.__main__ import main
from horizon_bo.training.config import TrainingConfigError, run_config
from horizon_bo.training.job import config_at, run_job
from tests.training.small import small_run


def test_a_config_survives_json():
    config = small_run(recipe={"schedule": "wsd", "clip": None}, branches=(640, 2560))
    assert run_config(json.loads(config.as_json())) == config


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "cannot be used"),
        ({"model": {"wdith": 3}, "learning_rates": [1], "tokens": 9}, "wdith"),
        ({"model": {}, "learning_rates": [0.1], "tokens": 0}, "tokens is 0"),
        ({"model": {}, "learning_rates": [0.1], "tokens": 10}, "at least one batch"),
        ({"model": {}, "learning_rates": [-0.1], "tokens": 4096}, "learning rate is -0.1"),
        ({"model": {}, "learning_rates": [0.1, 0.2], "tokens": 4096}, "2 learning rates"),
        (
            {"model": {}, "learning_rates": [0.1], "tokens": 4096, "branches": [2048]},
            "branches came with schedule cosine",
        ),
        (
            {"model": {}, "learning_rates": [0.1], "tokens": 4096, "averagings": ["mean"]},
            "averaging is 'mean'",
        ),
        (
            {
                "model": {},
                "learning_rates": [0.1],
                "tokens": 4096,
                "recipe": {"batch_tokens": 100},
            },
            "multiple of the context",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(record, said):
    with pytest.raises(TrainingConfigError, match=said) as caught:
        run_config(record)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_run_is_named(tmp_path):
    (tmp_path / "run.json").write_text("[")
    with pytest.raises(TrainingConfigError, match=r"run\.json cannot be read"):
        config_at(tmp_path / "run.json")


def test_a_job_leaves_its_result_and_no_checkpoint(tmp_path: Path):
    config = small_run(
        recipe={"schedule": "wsd"},
        branches=(1280, 2560),
        readings=(1280,),
        averagings=("lawa",),
    )
    (tmp_path / "text.txt").write_text("abcdefgh " * 2000)
    record = run_job(config, tmp_path / "out", text=[str(tmp_path / "text.txt")])
    assert record == json.loads((tmp_path / "out" / job.RESULT).read_text())
    assert record["loss"] == record["readings"][-1]["loss"]
    assert (record["readings"][-1]["schedule"], record["readings"][-1]["tokens"]) == ("wsd", 2560)
    assert not (tmp_path / "out" / checkpoint.NAME).exists()
    with pytest.raises(TrainingConfigError, match="averaging is 'ema'"):
        run_job(config, tmp_path / "other", text=[str(tmp_path / "text.txt")], averaging="ema")


@pytest.mark.slow
def test_the_command_prints_the_loss_last_and_fails_in_one_line(
    tmp_path: Path, monkeypatch, capsys
):
    (tmp_path / "text.txt").write_text("abcdefgh " * 2000)
    (tmp_path / "run.json").write_text(small_run().as_json())
    command = [sys.executable, "-m", "horizon_bo.training", "--config", str(tmp_path / "run.json")]
    command += ["--out", str(tmp_path / "out"), "--text"]
    done = subprocess.run(
        [*command, str(tmp_path / "text.txt")], capture_output=True, text=True, check=True
    )
    result = json.loads((tmp_path / "out" / job.RESULT).read_text())
    assert float(done.stdout.splitlines()[-1]) == result["loss"]
    monkeypatch.setattr(sys, "argv", [*command[2:], "absent.txt"])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: absent.txt is not a file")
    assert said.count("\n") == 1


def test_a_model_that_does_not_fit_says_out_of_memory(tmp_path: Path, monkeypatch):
    def train(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")

    monkeypatch.setattr(job, "train", train)
    with pytest.raises(job.OutOfMemoryError, match="out of memory: a model of"):
        run_job(small_run(), tmp_path)
