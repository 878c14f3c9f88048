"""Package: what is declared is locked, and what is missing is said by its extra."""

import re
import tomllib
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
    assert {"ax-sql", "parquet", "postgres", "ray", "serve", "upgrade"} <= set(asked) <= set(EXTRAS)


def test_a_missing_package_is_one_line_with_what_to_type():
    with pytest.raises(ImportError, match=r"^serve needs uvicorn, which is not installed; pip"):
        raise MissingExtraError("serve", "uvicorn", "serve")
