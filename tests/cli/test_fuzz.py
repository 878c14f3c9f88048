"""Fuzz: does any command line end in a result, or in one line that says what is wrong?

All commands but those that start processes, servers or replays of minutes. Arguments are drawn for
a command's own options, so that many get past the reading of them.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from tests.fuzzing import LONGEST_MESSAGE, fuzzed, in_time
from tests.studies import tuner_with_pending

LEFT_OUT = ("run", "worker", "demo", "serve", "replay", "backtest")
TABLE = "learning_rate,params,tokens,loss\n1e-3,6e7,1e9,3.1\n2e-3,6e7,1e9,3.05\n4e-3,6e7,1e9,3.2\n"
CURVE = "tokens,loss\n" + "".join(f"{k}e8,{4 - k / 20}\n" for k in range(1, 9))


def leaves(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command that does something, by its words."""
    if not hasattr(command, "commands"):
        return {path: command}
    return {
        words: leaf
        for name, inner in command.commands.items()
        if name not in LEFT_OUT
        for words, leaf in leaves(inner, (*path, name)).items()
    }


COMMANDS = leaves(get_command(app))
places = st.sampled_from(
    ["runs.db", "runs.db#study", "runs.db#", "new.db", "sweep.csv", "curve.csv", "none/x.csv", ".",
     "sqlite:///runs.db", "sqlite://", "postgresql://", "mlflow:x", "optuna:sqlite:///x.db",
     "tensorboard:events", "wandb:a/b", "out.png", "out.html", "out.json", "runs.db-wal"]
)  # fmt: skip
numbers = st.sampled_from(
    ["0", "1", "-1", "2", "0.1", "5%", "45M", "7B", "1e9", "2e-3", "1e-3", "1e400", "nan", "-inf",
     "1,2", "1e-4,2e-2", "6e7,1.2e8", "1e9,", "9" * 400, "1e-320", "0x10", "½"]
)  # fmt: skip
words = st.sampled_from(
    ["standard", "mup", "adamw", "muon", "cosine", "wsd", "ema", "auto", "loss=a", "params=45M*a",
     "chinchilla", "step", "loss", "Name", "a=", "=", "16x2", "{learning_rate}", "--", "-h"]
)  # fmt: skip
arguments = places | numbers | words | st.text(max_size=6).map(lambda text: text.replace("\0", ""))


@st.composite
def command_lines(draw: Any) -> list[str]:
    """A command with arguments for some of its parameters, most of the required ones among them."""
    path = draw(st.sampled_from(sorted(COMMANDS)))
    line = [*path]
    for parameter in COMMANDS[path].params:
        if not draw(st.integers(0, 9)) < (9 if parameter.required else 2):
            continue
        if isinstance(parameter, click.Option):
            line.append(draw(st.sampled_from(parameter.opts)))
            if parameter.is_flag:
                continue
            line.append(draw(st.one_of(numbers, arguments)))
        else:
            line.append(draw(places if draw(st.integers(0, 9)) else arguments))
    return line + draw(st.lists(arguments, max_size=1))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a study, a table and a curve."""
    folder = tmp_path_factory.mktemp("given")
    tuner_with_pending(folder / "runs.db", count=2).observe(0, loss=3.1)
    (folder / "sweep.csv").write_text(TABLE)
    (folder / "curve.csv").write_text(CURVE)
    return folder


@fuzzed("command lines")
@given(line=command_lines())
def test_any_command_line_is_answered_or_refused_in_one_clear_line(place, line):
    folder = place.parent / "used"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place, folder)
    with pytest.MonkeyPatch.context() as patch, in_time():
        patch.chdir(folder)
        found = CliRunner().invoke(app, line)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise AssertionError(line) from found.exception
    assert found.exit_code in (0, 1, 2), line
    if found.exit_code == 2 and not re.match("Usage: ", found.stderr):
        (error,) = [said for said in found.stderr.splitlines() if said.startswith("error: ")]
        assert found.stderr.endswith(f"{error}\n")
        assert len(error) < LONGEST_MESSAGE
    assert "Traceback" not in found.output + found.stderr, line
