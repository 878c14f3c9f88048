"""Completion: what a shell is told when somebody presses the tabulator."""

import pytest
from typer.testing import CliRunner

from horizon_bo.cli.app import app


def completed(line: str) -> set[str]:
    words = line.split(" ")
    asked = {
        "_HORIZON_BO_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return set(CliRunner().invoke(app, [], env=asked, prog_name="horizon-bo").stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("horizon-bo re", {"recommend", "recipes", "replay", "report"}),
        ("horizon-bo recommend --fi", {"--figure"}),
        ("horizon-bo prior ", {"learn", "show"}),
    ],
)
def test_commands_and_options_are_completed(line, offered):
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_needs_is_shown(shell):
    said = CliRunner().invoke(
        app, [], env={"_HORIZON_BO_COMPLETE": f"source_{shell}"}, prog_name="horizon-bo"
    )
    assert said.exit_code == 0
    assert "_HORIZON_BO_COMPLETE=complete_" + shell in said.stdout
