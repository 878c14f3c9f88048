"""Lines: what has a measurement written down that may have been cut off?"""

import json
from pathlib import Path
from typing import Any


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, none where there is no file; half a line at the end was cut off."""
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
