"""Documentation: what its pages tell a reader to type works, and what they show looks like it."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import horizon_bo
from horizon_bo.cli.app import app
from horizon_bo.core import candidates, inference, sampler
from horizon_bo.published.catalogue import catalogue
from tests.studies import small_tuner, tuner_with_pending

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
#: Pages that train, replay or import Ax.
LONG = ("tutorial.md", "how-to/ax.md", "how-to/backtest.md")
COMMANDS = dict(get_command(app).commands)  # type: ignore[attr-defined]


class Block(NamedTuple):
    """A fenced block: its language, the file it stands for if it names one, its text."""

    language: str
    title: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    fence = r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$'
    for found in re.finditer(fence, PAGES[page], re.DOTALL | re.MULTILINE):
        yield Block(*found.groups(default=""))


def calls(text: str) -> list[list[str]]:
    """The arguments of each `horizon-bo` in a block."""
    lines = [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words and words[0] == "horizon-bo"]


def shortened(arguments: list[str]) -> list[str]:
    """The same call; one that trains does so once."""
    if arguments[0] != "run":
        return arguments
    return [word for word in arguments if word != "--train-target"] + ["--max-runs", "1"]


def typed(text: str) -> str:
    """What a block of commands prints."""
    said = ""
    for arguments in calls(text):
        result = CliRunner().invoke(app, shortened(arguments))
        assert result.exit_code == 0, result.output
        said += result.output
    return said


def labels(output: str) -> set[str]:
    """How the lines of an output begin, before their numbers; those of a target's run aside."""
    lines = [line for line in output.splitlines() if not re.match(r"…|(run )?target", line)]
    return {re.split(r"  |\d", line.strip())[0].strip() for line in lines}


def train(learning_rate: float, params: float, tokens: float) -> float:
    """Stands for the reader's training."""
    return 3.0 + (learning_rate - 2e-3) ** 2 + 1e7 / params + 1e8 / tokens


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder to work in, where `python` is this one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def hooks(monkeypatch) -> ModuleType:
    """The module that writes pages from the code."""
    monkeypatch.syspath_prepend(str(DOCS / "hooks"))
    return import_module("pages")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in PAGES],
)
def test_what_a_page_shows_can_be_typed(page: str, desk: Path):
    names: dict[str, object] = {"train": train}
    if page in ("how-to/resume.md", "how-to/report.md"):
        tuner_with_pending(desk / "runs.db")
    if page == "how-to/clusters.md":  # a budget of four runs
        names["tuner"] = small_tuner(budget=0.013 * small_tuner().study.target.flops)
    said = ""
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "bash":
            said = typed(block.text)
        elif block.language == "output":
            assert labels(block.text) <= labels(said)
        elif block.language == "python":
            # three runs are enough to see that a loop turns
            code = block.text.replace(
                "while not tuner.recommend().stop:", "while len(tuner.study.trials) < 3:"
            )
            exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_be_run_here_is_at_least_accepted_by_the_command_line(page: str):
    for block in blocks(page):
        assert block.language in ("bash", "sh", "output", "python", "json", "csv", "text")
        for name, *arguments in calls(block.text) if block.language == "sh" else []:
            COMMANDS[name].make_context(name, arguments)  # raises where an option is unknown


def test_the_reference_has_every_command_name_and_law(hooks: ModuleType):
    pages = hooks.pages()
    for name, command in COMMANDS.items():
        inner = getattr(command, "commands", None)
        for full in [f"{name} {part}" for part in inner] if inner else [name]:
            assert f"## horizon-bo {full}\n" in pages["reference/cli.md"]
    for name in horizon_bo.__all__:
        assert f".{name}\n" in pages["reference/python.md"]
    for entry in catalogue():
        assert f"| `{entry.name}` | `{entry.formula}` |" in pages["reference/laws.md"]


def test_formulas_reach_the_reader_as_mathml_without_a_script(hooks: ModuleType):
    equations = import_module("equations")
    page = r'<p><span class="arithmatex">\(a &lt; b_0\)</span></p>'
    drawn = equations.on_page_content(page)
    assert "arithmatex" not in drawn
    assert "<math" in drawn
    assert "<msub><mi>b</mi><mn>0</mn></msub>" in drawn


def test_the_model_page_has_the_constants_of_the_code():
    said = " ".join(PAGES["model.md"].split())
    for claim in (
        f"{sampler.PARTICLES} coefficient sets go from the prior",
        f"More than {inference.MOST_RUNS} runs are condensed",
        f"more than {inference.MOST_CELLS} cells",
        f"Around {linearized.LINEARISATIONS} of the coefficient sets",
    ):
        assert claim in said
    assert candidates._RATE_STEP == 0.5
