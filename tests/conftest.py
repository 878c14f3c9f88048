"""Test-wide settings: reproducible examples, no wall-clock flakiness, public sweeps where given."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

from tests.flow import FLOW

# Shapes are checked at run time in the core. The edges (tuner, adapters, …) are left out:
# they take what users pass and answer bad values themselves, which their tests want to see.
EDGES = ("errors", "horizons", "trials", "trunks", "tuner", "adapters", "plots")
install_import_hook(
    [f"horizon_bo.{module}" for module in FLOW if module not in EDGES],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=300)


@pytest.fixture
def data_folder() -> Path:
    """The folder of public sweeps; tests that need it are skipped where it is not given."""
    folder = os.environ.get("HORIZON_BO_DATA")
    if not folder:
        pytest.skip("HORIZON_BO_DATA is unset, expected a folder with cases.json and its sweeps")
    return Path(folder).resolve()
