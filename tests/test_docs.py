"""Documentation: what its pages tell a reader to type works, and what they show looks like it."""

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

import horizon_bo
from horizon_bo.cli.app import app
from horizon_bo.core import candidates, inference, linearized, points, sampler
from horizon_bo.published.catalogue import catalogue
from tests.shown import DOCS, NUMBER, alike, blocks, calls, not_printed, printed, rewritten
from tests.studies import small_tuner, tuner_with_pending

PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
#: Pages that train, replay or import Ax.
LONG = ("tutorial.md", "how-to/ax.md", "how-to/backtest.md")
COMMANDS = dict(get_command(app).commands)  # type: ignore[attr-defined]


def shortened(arguments: list[str]) -> list[str]:
    """The same call; one that trains does so once."""
    if arguments[0] != "run":
        return arguments
    return [word for word in arguments if word != "--train-target"] + ["--max-runs", "1"]


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
    said, trained, same = "", set[str](), True
    for block in blocks(PAGES[page]):
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "bash":
            said = "".join(printed(shortened(call)) for call in calls(block.text))
            trained |= {study for name, study, *_ in calls(block.text) if name == "run"}
            same = trained.isdisjoint(word for call in calls(block.text) for word in call)
        elif block.language == "output" and same:
            assert not_printed(block.text, said) == []
        elif block.language == "output":
            assert labels(block.text) <= labels(said)
        elif block.language == "python":
            # three runs are enough to see that a loop turns
            code = block.text.replace(
                "while not tuner.recommend().stop:", "while len(tuner.study.trials) < 3:"
            )
            exec(compile(code, page, "exec"), names)


def test_a_wrong_number_in_an_output_is_found_and_the_last_bits_of_another_machine_are_not():
    shown = next(b.text for b in blocks(PAGES["tutorial.md"]) if b.language == "output")
    said = printed(["law", "compare", "--params", "1e9", "--tokens", "1e11"])
    assert not_printed(shown, said) == []
    numbers = [found.span() for found in NUMBER.finditer(shown)]
    assert len(numbers) >= 15
    for start, end in numbers:
        wrong = f"{shown[:start]}{1.05 * float(shown[start:end]):.6g}{shown[end:]}"
        assert len(not_printed(wrong, said)) == 1
    assert not_printed(shown.replace("deepseek", "deepsea"), said) != []
    assert alike("spent 2.64e+10, 0.74%", "spent 2.65e+10, 0.75%")
    assert not alike("run 0: 4 runs, 12.10", "run 1: 4 runs, 12.10")
    assert not_printed("b 1\na 1\n", "a 1\nb 1\n") == ["a 1"]
    assert not_printed("…\nb 1\n", "a 1\nb 1\n") == []
    assert not_printed("a b 1\n", "a\nb 1\n") == []


def test_an_output_is_written_from_what_its_command_prints(desk: Path):
    command = "```bash\nhorizon-bo law eval step --params 1e9 --tokens 1e11\n```\n"
    said = printed(["law", "eval", "step", "--params", "1e9", "--tokens", "1e11"])
    page = f"{command}\n```output\nold 1\n```\n\ntext\n"
    assert rewritten(page) == f"{command}\n```output\n{said}```\n\ntext\n"
    cut = f"{command}\n```output\n…\nold 1\n```\n"
    last = said.splitlines(keepends=True)[-1]
    assert rewritten(cut) == f"{command}\n```output\n…\n{last}```\n"


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_be_run_here_is_at_least_accepted_by_the_command_line(page: str):
    for block in blocks(PAGES[page]):
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
        f"more than {points.MOST_CELLS} cells",
        f"Around {linearized.LINEARISATIONS} of the coefficient sets",
    ):
        assert claim in said
    assert candidates._RATE_STEP == 0.5


def test_no_page_holds_two_versions_of_itself():
    pages = [*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md"]
    assert [page for page in pages if "\n<<<<<<< " in page.read_text(encoding="utf-8")] == []
