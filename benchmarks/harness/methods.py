"""Methods: what takes part in the benchmark, and what can run in this environment?"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from types import MappingProxyType

from benchmarks import rivals
from benchmarks.rivals.protocol import Entry

#: The tuner itself, and parts of it beside simpler parts.
OURS = ("horizon", "horizon-random", "zero")


@cache
def entries() -> Mapping[str, Entry]:
    """Every rival by name; the modules that define none have no `ENTRIES`."""
    found: dict[str, Entry] = {}
    for module in sorted(module.name for module in iter_modules(rivals.__path__)):
        for entry in vars(import_module(f"{rivals.__name__}.{module}")).get("ENTRIES", ()):
            assert entry.name not in found, f"two rivals are called {entry.name}"
            found[entry.name] = entry
    return MappingProxyType(found)


def missing(entry: Entry) -> tuple[str, ...]:
    """Distributions the rival needs that are not installed here."""
    return tuple(name for name in entry.needs if _version(name) is None)


def versions(entry: Entry) -> dict[str, str]:
    """Version of each distribution the rival needs."""
    return {name: found for name in entry.needs if (found := _version(name)) is not None}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
