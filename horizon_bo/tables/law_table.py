"""Law table: how does a file of runs become columns for a fit?

Laws of the loss need no learning rate and schedule laws need steps, so unlike a logged sweep a
table is asked for nothing here; each fit names the columns it lacks.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError

_READERS = {
    ".csv": pd.read_csv,
    ".gz": pd.read_csv,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
    ".parquet": pd.read_parquet,
}


def read_columns(path: str, batch_tokens: float | None = None) -> dict[str, list]:
    """The columns of a CSV, JSONL or Parquet file, of one batch only when asked."""
    file = Path(path)
    if file.suffix not in _READERS:
        raise InvalidTableError(
            f"{path} ends in {file.suffix!r}, expected {', '.join(_READERS)}; convert it"
        )
    try:
        frame = _READERS[file.suffix](file)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidTableError(
            f"{path} cannot be read ({reason}), expected a table of runs; correct the path or file"
        ) from error
    if batch_tokens is not None:
        if "batch_tokens" not in frame:
            raise InvalidTableError(
                f"{path} has no column batch_tokens, expected it with --batch-tokens; add it"
            )
        frame = frame[np.isclose(frame["batch_tokens"].astype(float), batch_tokens)]
    return {str(name): frame[name].tolist() for name in frame.columns}
