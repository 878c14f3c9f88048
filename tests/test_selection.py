"""Selection: long tests are left out where nothing that they test has changed, and only there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.heavy import heavy, listed

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "selection"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="this is no checkout")


def git(folder: Path, *given: str) -> str:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    return subprocess.run(
        ["git", *who, *given], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository of one commit with the script in it."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def chosen(checkout: Path, *base: str) -> str:
    return subprocess.run(
        [checkout / ".ci" / "selection", *base], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("base", [(), ("",), ("0" * 40,), ("no-such-branch",)])
def test_without_a_commit_to_compare_with_everything_runs(checkout, base):
    assert chosen(checkout, *base) == "not gpu"


@pytest.mark.parametrize(
    ("changed", "left_out"),
    [
        ("docs/index.md", {"calibration", "notebook", "kills"}),
        ("horizon_bo/core/sampler.py", {"kills"}),
        ("horizon_bo/store/events.py", {"calibration"}),
        ("notebooks/01_quickstart.py", {"calibration", "kills"}),
        ("requirements.lock", set()),
    ],
)
def test_long_tests_run_where_what_they_test_has_changed(checkout, changed, left_out):
    (checkout / changed).parent.mkdir(parents=True, exist_ok=True)
    (checkout / changed).write_text("new\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "second")
    first, *words = chosen(checkout, "HEAD~1").split(" and not ")
    assert first == "not gpu"
    assert set(words) == left_out


@pytest.mark.parametrize("base", [(), ("HEAD",), ("0" * 40,)])
def test_a_merge_is_compared_with_what_it_was_merged_into(checkout, base):
    git(checkout, "checkout", "-qb", "work")
    (checkout / "README.md").write_text("new\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "second")
    git(checkout, "checkout", "-q", "-")
    (checkout / "requirements.lock").write_text("meanwhile on the main branch\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "third")
    git(checkout, "merge", "-q", "--no-ff", "-m", "merge", "work")
    assert chosen(checkout, *base).count(" and not ") == 3  # all that can be left out is


def test_a_commit_that_is_compared_with_itself_runs_everything(checkout):
    assert chosen(checkout, "HEAD") == "not gpu"


def test_every_path_and_marker_that_the_script_names_exists():
    text = SCRIPT.read_text()
    named = " ".join(re.findall(r"(?:unless_changed \w+ |always=')((?:[\w./ ]|\\\n)+)", text))
    paths = named.replace("\\\n", " ").split()
    assert len(paths) > 12
    assert [path for path in paths if not (ROOT / path).exists()] == []
    markers = re.findall(r"unless_changed (\w+) ", text)
    for marker in markers:
        assert f'"{marker}: ' in (ROOT / "pyproject.toml").read_text()


def test_heavy_tests_are_listed_from_what_pytest_prints_and_each_exists():
    printed = [
        "0.50s call     tests/core/test_laws.py::test_b[1-2]",
        "0.40s setup    tests/core/test_laws.py::test_a",
        "9.00s teardown tests/core/test_laws.py::test_c",
        "0.30s call     tests/core/test_laws.py::test_d",
    ]
    assert heavy(printed) == ["tests/core/test_laws.py::test_a", "tests/core/test_laws.py::test_b"]
    assert listed()
    for path, name in (line.split("::") for line in listed()):
        assert f"def {name}(" in (ROOT / path).read_text(), f"tests/heavy.txt names {path}::{name}"
