"""Writing: how does a template become a page?"""

import re
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parents[1]


def filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with each `{{name}}` replaced."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]].rstrip("\n"), template)


def write_page(name: str, parts: Mapping[str, str]) -> None:
    """Write a page of the benchmark from its template, which has the same name."""
    template = (HERE / "pages" / name).read_text()
    (HERE / name).write_text(filled(template, parts))
