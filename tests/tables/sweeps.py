"""Sweeps: one small sweep, written and read in any way, that tests of tables share."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from horizon_bo.errors import HorizonBOError
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tables.logged import LoggedTable, logged_table

RATES = (5e-4, 1e-3, 2e-3, 4e-3)
LOSSES = (3.4105, 3.3716, 3.3587, 3.3776)


def sweep(**columns: Any) -> pd.DataFrame:
    """A small sweep; further columns and other values by name."""
    plain = {"learning_rate": RATES, "params": 45_000_000, "tokens": 1_000_000_000, "loss": LOSSES}
    return pd.DataFrame({**plain, **columns}).copy()


PLAIN = [
    LoggedRun(learning_rate=rate, params=45e6, tokens=1e9, loss=loss)
    for rate, loss in zip(RATES, LOSSES, strict=True)
]


def written(folder: Path, text: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(folder: Path, text: str | bytes, name: str = "runs.csv", **given: Any) -> LoggedTable:
    return logged_table(written(folder, text, name), **given)


def refused(folder: Path, text: str | bytes, name: str = "runs.csv", **given: Any) -> str:
    with pytest.raises(HorizonBOError) as caught:
        read(folder, text, name, **given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


CSV = sweep().to_csv(index=False)
