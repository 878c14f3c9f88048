"""Calls of the command line in this process, and the files that its examples read."""

import shlex
from pathlib import Path

import pandas as pd
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app


def call(line: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, shlex.split(line))


def write_inputs_of_examples(folder: Path) -> None:
    rates = [5e-4, 1e-3, 2e-3, 4e-3]
    table = pd.DataFrame({"learning_rate": rates, "params": 6e7, "tokens": 2e9, "loss": 3.0})
    table.to_csv(folder / "sweep.csv", index=False)
    theirs = table.rename(columns={"learning_rate": "optim.lr", "tokens": "steps"})
    theirs.assign(steps=4000, State="finished").to_csv(folder / "export.csv", index=False)
