"""Function run: call a training function in a process of its own.

    python -m horizon_bo.runs.function_run FOLDER

The folder says which function (`function.json`) and which run (`run.json`); what the function
returns goes to `result.json`, an exception to standard error with exit code 1.
"""

import json
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from horizon_bo.runs.commands import result_text
from horizon_bo.runs.folder import suggestion_from


def call_function(folder: Path) -> None:
    """Call the function that a run's folder names and keep its result there."""
    where = json.loads((folder / "function.json").read_text())
    run = suggestion_from(json.loads((folder / "run.json").read_text())["suggestion"])
    sys.path[:] = where["path"]
    text = result_text(_function(where)(run))
    (folder / "result.json").write_text(text)


def _function(where: dict[str, str]) -> Any:
    """The function; that of a script is read from its file, without running its main part."""
    if where["module"] == "__main__":
        return runpy.run_path(where["file"], run_name="__horizon_bo_run__")[where["name"]]
    return getattr(import_module(where["module"]), where["name"])


if __name__ == "__main__":
    call_function(Path(sys.argv[1]))
