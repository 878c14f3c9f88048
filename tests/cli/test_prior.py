"""Command line, prior: what sweeps say is shown, learnt and given to a study."""

import json
from importlib.resources import files

import pandas as pd
import pytest
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.tuner import HorizonTuner

INIT = [
    "--target-params",
    "1e9",
    "--target-tokens",
    "2e10",
    "--scales",
    "6e7,1e8",
    "--tokens",
    "1e9,1e10",
    "--learning-rate",
    "1e-5,1e-1",
    "--budget",
    "0.05",
]


def run(*argv: str) -> str:
    result = CliRunner().invoke(app, list(argv))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*argv: str) -> str:
    result = CliRunner().invoke(app, list(argv))
    assert result.exit_code == 2
    return result.stderr


def test_what_is_expected_depends_on_the_family_of_the_optimizer():
    said = {
        name: json.loads(run("prior", "show", "--optimizer", name, "--json"))
        for name in ("adamw", "muon", "lion", "nadamw")
    }
    assert said["muon"]["tokens"] == said["lion"]["tokens"] != said["adamw"]["tokens"]
    assert said["nadamw"]["tokens"] == said["adamw"]["tokens"]


def test_each_sweep_says_what_it_can_and_is_drawn(tmp_path):
    lines = run("prior", "show", "--compare", "--figure", str(tmp_path / "f.png")).splitlines()
    assert lines[0].startswith("the next recipe: params -0.")
    assert any(line.startswith("steplaw dense: params -0.") for line in lines)
    assert any("batch not told" in line for line in lines)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_data_that_must_not_speak_take_their_relatives_with_them():
    said = run("prior", "show", "--compare", "--without", "steplaw_dense")
    assert "steplaw" not in said
    assert "steplaw experts" in run("prior", "show", "--compare")


@pytest.mark.slow
def test_a_prior_is_learnt_from_a_sweep_and_given_to_a_study(tmp_path):
    path, study, sweep = tmp_path / "ours.json", tmp_path / "runs.db", tmp_path / "team.csv"
    shipped = pd.read_csv(str(files("horizon_bo") / "data" / "stdlib_gpt.csv"))
    shipped[shipped.group == "decay"].to_csv(sweep, index=False)  # two recipes of 14 runs
    said = run("prior", "learn", str(sweep), "-o", str(path))
    assert f"{path}: " in said
    assert "2 of them new" in said
    names = [
        json.loads(line)["name"]
        for line in run("prior", "show", str(path), "--compare", "--json").splitlines()
    ]
    assert {name for name in names if name.startswith("team ")} == {
        "team standard, decay 0 cosine none",
        "team standard, decay 0.5 cosine none",
    }
    run("init", str(study), *INIT, "--optimizer", "muon", "--experts", "--prior", str(path))
    kept = HorizonTuner.open(study).study
    assert (kept.optimizer, kept.experts) == ("muon", True)
    assert kept.prior == json.loads(path.read_text())


def test_what_is_missing_is_said_in_one_line(tmp_path):
    out = str(tmp_path / "ours.json")
    assert "no SWEEP, no --from-study and no --public" in refused("prior", "learn", "-o", out)
    assert "cannot be read as a prior" in refused("prior", "show", str(tmp_path / "none.json"))
    assert "expected a name" in refused("init", str(tmp_path / "a.db"), *INIT, "--optimizer", " ")
