"""README: short, its loop and its commands work as printed, its links lead somewhere."""

import re
from itertools import pairwise
from pathlib import Path

from horizon_bo.tuner import HorizonTuner
from tests.drawings import marked
from tests.shown import blocks, calls, printed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OWN_LOGS = "Your own logs, and would it have worked on them?"
#: Where a module that people are told to run may be named.
TOLD = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(path for top in ("benchmarks", "horizon_bo", "tests") for path in (ROOT / top).rglob("*.py")),
    *(ROOT / "benchmarks").rglob("*.md"),
    ROOT / "Makefile",
]
#: What has been renamed since stays in these as it was written.
HISTORY = ("CHANGELOG.md", "LOG.md")


def section(title: str) -> list[list[str]]:
    """The calls of `horizon-bo` below a heading."""
    text = README.split(f"## {title}\n")[1].split("\n## ")[0]
    return [
        call for block in blocks(text) if block.language == "bash" for call in calls(block.text)
    ]


def test_the_readme_fits_into_six_kilobytes_and_its_picture_into_150():
    assert len(README.encode()) <= 6000
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).stat().st_size < 150_000


def test_every_link_leads_to_a_file():
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / link).is_file(), link


def test_the_python_loop_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    losses = iter([3.0, 2.9, 2.95])

    def train(learning_rate: float, params: float, tokens: float) -> float:
        return next(losses)

    # three runs are enough to see that the loop turns
    code = code.replace("while not tuner.recommend().stop:", "while len(tuner.study.trials) < 3:")
    exec(compile(code, "README", "exec"), {"train": train})
    assert "Recommendation(learning_rate=" in capsys.readouterr().out


def test_the_commands_work_and_ones_own_table_becomes_a_recommendation(
    tmp_path, monkeypatch, drawn
):
    monkeypatch.chdir(tmp_path)
    loop, (*logs, backtest) = section("The loop"), section(OWN_LOGS)
    assert [call[0] for call in loop] == ["init", "suggest", "observe", "recommend"]
    for call in loop:
        printed(call)
    Path("export.csv").write_text(
        "Name,State,optim.lr,n_params,steps,val/loss\n"
        "a,finished,1e-3,6.0e7,4000,3.2\nb,finished,2e-3,6.0e7,4000,3.1\nc,crashed,8e-3,6.0e7,4000,NaN\n"
    )
    assert [call[0] for call in logs] == ["import", "recommend"]
    for call in logs:
        printed(call)
    statuses = [trial.status for trial in HorizonTuner.open("shell.db").study.trials]
    assert statuses == ["completed", "completed", "completed", "diverged"]
    best = HorizonTuner.open("shell.db").recommend()
    assert marked(drawn["bowl.png"], "recommended") == (best.learning_rate, best.expected_regret)
    assert backtest[0] == "backtest"


def test_the_backtest_of_the_sweep_that_ships_is_one_that_the_tutorial_types_and_shows():
    # tests of the documentation type what is in its blocks of bash, and compare the outputs below
    typed = [*blocks((ROOT / "docs" / "tutorial.md").read_text())]
    shown = [
        below.text
        for block, below in pairwise(typed)
        if (block.language, below.language) == ("bash", "output")
        and section(OWN_LOGS)[-1] in calls(block.text)
    ]
    assert len(shown) == 1
    assert "90 % intervals held the best rate" in shown[0]


def test_the_results_are_those_of_the_benchmark_page():
    page = (ROOT / "benchmarks" / "replays.md").read_text()
    table = re.search(r"<!-- standings -->\n(.*?)\n<!-- /", README, re.DOTALL)
    assert table is not None
    rows = [line.strip("| ").split(" | ") for line in table[1].splitlines()[2:]]
    assert len(rows) == 5
    heads = {
        "## Regret": ("regret at 2 %", "regret at 5 %", "regret at 10 %"),
        "## Overhead": ("overhead at own stop",),
    }
    full = [column for title, names in heads.items() for column in columns(page, title, names)]
    assert [row[1:] for row in rows] == [[column[row[0]] for column in full] for row in rows]


def columns(page: str, title: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    """Columns of the first table below a heading, without intervals, by the names of rows."""
    head, _, *body = re.findall(r"^\| (.*) \|$", page.split(f"\n{title}\n")[1], re.MULTILINE)
    cells = [row.split(" | ") for row in body[: next(k for k, b in enumerate(body) if "---" in b)]]
    return [
        {row[0]: row[head.split(" | ").index(name)].split(" (")[0] for row in cells[:-1]}
        for name in names
    ]


def test_no_two_methods_share_their_numbers_in_the_results():
    rows = re.findall(r"^\| [^|]+ (\|.*)$", README.split("<!-- standings -->")[1], re.MULTILINE)
    assert len(rows) == len(set(rows)) > 5


def test_every_module_that_people_are_told_to_run_exists():
    told = {
        (path.name, name)
        for path in TOLD
        if path.name not in HISTORY
        for name in re.findall(
            r"python -m ((?:benchmarks|horizon_bo|tests)[\w.]*\w)", path.read_text()
        )
    }
    assert len(told) > 20
    for page, name in told:
        module = ROOT.joinpath(*name.split("."))
        runnable = module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
        assert runnable, f"{page} tells to run {name}, which does not exist"
