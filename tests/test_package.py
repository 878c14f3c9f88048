"""Package: what is declared is locked, and what is missing is said by its extra."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from horizon_bo.errors import MissingExtraError

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text()


def test_every_package_that_is_declared_is_locked_within_what_is_declared():
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.MULTILINE))
    declared = [Requirement(line) for line in sum(EXTRAS.values(), PROJECT["dependencies"])]
    for wanted in declared:
        name = canonicalize_name(wanted.name)
        if name != PROJECT["name"]:
            assert wanted.specifier.contains(pins[name]), f"{wanted}: make lock"


def test_every_locked_package_has_a_hash():
    entries = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_environment_that_tests_run_in_has_every_extra_but_the_documentations():
    (own,) = (Requirement(line) for line in EXTRAS["dev"] if line.startswith(PROJECT["name"]))
    assert own.extras == set(EXTRAS) - {"dev", "docs"}


def test_every_extra_that_an_error_names_is_there():
    asked = [
        found
        for path in (ROOT / "horizon_bo").rglob("*.py")
        for found in re.findall(r'MissingExtraError\(.*"([\w-]+)"\)', path.read_text())
    ]
    assert {"ax", "parquet", "postgres", "ray", "serve", "upgrade"} <= set(asked) <= set(EXTRAS)


def test_ax_without_its_extra_is_one_line_with_what_to_type(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("horizon_bo.ax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ax", None)
    with pytest.raises(MissingExtraError, match=r"needs ax-platform.*'horizon-bo\[ax\]'$"):
        importlib.import_module("horizon_bo.ax")


def test_a_missing_package_is_one_line_with_what_to_type():
    with pytest.raises(ImportError, match=r"^serve needs uvicorn, which is not installed; pip"):
        raise MissingExtraError("serve", "uvicorn", "serve")


#: Modules that need an extra, and are imported inside functions or by whoever has it.
LOADED_LATE = (
    "ax/*.py",
    "report/door.py",
    "report/live.py",
    "store/migrations/env.py",
    "store/migrations/versions/*.py",
    "tables/trackers/mlflow_log.py",
)


def imported(node: ast.AST, *, later: bool) -> Iterator[str]:
    """Roots of what a module imports when it is loaded, and, `later`, when its functions run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module).partition(".")[0]
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        elif later or not isinstance(child, ast.FunctionDef):
            yield from imported(child, later=later)


def test_every_module_loads_without_extras_but_those_that_are_loaded_late():
    """Every import of a package is declared, in the extras alone only where it happens late."""
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {
        canonicalize_name(Requirement(line).name) for lines in EXTRAS.values() for line in lines
    }
    owners = packages_distributions()
    for path in (ROOT / "horizon_bo").rglob("*.py"):
        tree = ast.parse(path.read_text())
        late = any(path.match(part) for part in LOADED_LATE)
        for later, declared in ((False, core), (True, core | extras)):
            for root in set(imported(tree, later=later)) - sys.stdlib_module_names - {"horizon_bo"}:
                needed = {canonicalize_name(owner) for owner in owners.get(root, [root])}
                assert needed & (core | extras if late else declared), f"{path}: {root}"
