"""Imports flow one way, and the core touches neither disk, network, clock nor terminal."""

import ast
from pathlib import Path

import pytest

import horizon_bo
from tests.flow import FLOW

ROOT = Path(horizon_bo.__file__).parent
CORE = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in ("adapters", "training", "__init__.py")
)
IMPURE = {
    "ax",
    "http",
    "io",
    "os",
    "pathlib",
    "random",
    "requests",
    "rich",
    "shutil",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "typer",
    "urllib",
}


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
            if node.module == "horizon_bo":
                found |= {f"horizon_bo.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_imports_only_upstream(path: Path):
    here = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upstream = {*FLOW[: FLOW.index(here)], *([here] if (ROOT / here).is_dir() else [])}
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("horizon_bo.")}
    assert ours <= upstream


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.py")), ids=lambda p: p.name)
def test_the_trainer_knows_nothing_of_the_tuner(path: Path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("horizon_bo.")}
    assert ours <= {"errors", "training"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_touches_nothing_outside(path: Path):
    assert not {name.split(".")[0] for name in imported(path)} & IMPURE


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_stays_under_400_lines(path: Path):
    assert len(path.read_text().splitlines()) < 400
