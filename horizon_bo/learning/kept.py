"""Kept: how is evidence written to a file, and read from one?"""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from horizon_bo.errors import StorageError
from horizon_bo.published.evidence import Evidence, evidence_from, evidence_record


def read_prior(path: str | PathLike[str]) -> dict[str, Any]:
    """What `write_evidence` wrote, as a study keeps it, checked."""
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} cannot be read as a prior ({error}), expected a file that horizon-bo prior "
            "learn wrote; name one"
        ) from error
    evidence_from(record, str(path))
    return record


def write_evidence(path: Path, evidence: Sequence[Evidence]) -> None:
    """Keep evidence in a file, a recipe a line."""
    record = evidence_record(evidence)
    recipes = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in record.pop("recipes"))
    head = json.dumps(record, ensure_ascii=False)[:-1]
    try:
        path.write_text(f'{head}, "recipes": [\n{recipes}\n]}}\n')
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error}), expected a writable file; name another"
        ) from error
