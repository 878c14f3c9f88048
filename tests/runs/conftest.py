"""Clusters that tests of engines share: each is started once, and only where it is asked for."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.runs import ray_cluster, slurm_cluster


def pytest_itemcollected(item: pytest.Item) -> None:
    """Who needs a cluster may be the one that starts it, so that all of them are heavy."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("on") in ("slurm", "ray"):
        item.add_marker("heavy")


def _short_folder() -> "TemporaryDirectory[str]":
    """A folder with a short path, which names of sockets ask for."""
    return TemporaryDirectory(prefix="hb", ignore_cleanup_errors=True)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """A Slurm of three nodes, by its configuration file."""
    if why := slurm_cluster.missing():
        pytest.skip(why)
    with _short_folder() as folder, slurm_cluster.slurm_cluster(Path(folder)) as config:
        yield config


@pytest.fixture(scope="session")
def ray() -> Iterator[Path]:
    """A Ray cluster of two nodes, by the folder of its processes' ids."""
    if why := ray_cluster.missing():
        pytest.skip(why)
    with _short_folder() as folder, ray_cluster.ray_cluster(Path(folder)) as cluster:
        yield cluster
