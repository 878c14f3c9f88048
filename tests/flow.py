"""Flow: the packages of `horizon_bo` in the order in which they may import each other.

STYLE.md shows the same order; `python -m tests.flow` writes it there, a test compares.
"""

import re
from pathlib import Path

#: Packages from the bottom up; a file imports from its own package and from rows above its own.
#: Packages of one row know nothing of each other.
FLOW = (
    ("errors",),
    ("study",),
    ("published",),
    ("core",),
    ("store", "tables"),
    ("learning",),
    ("runs",),
    ("tuner",),
    ("report",),
    ("evaluation",),
    ("ax",),
    ("examples",),
    ("cli",),
)
#: What may know only what is named here, wherever others may import it from.
APART = {"training": {"errors"}}
#: Packages from which it may be imported.
USES_APART = {"training": {"runs", "examples", "cli"}}
#: Packages without disk, network, clock, terminal, environment, process or random state.
PURE = ("errors", "study", "published", "core")

PICTURE = re.compile(r"(?<=<!-- flow -->\n)```\n.*?```\n(?=<!-- /flow -->)", re.DOTALL)
STYLE = Path(__file__).parents[1] / "STYLE.md"


def picture() -> str:
    """The order as STYLE.md shows it."""
    rows = " < ".join(", ".join(row) for row in FLOW)
    apart = "\n".join(
        f"{name} knows {', '.join(sorted(known))} only" for name, known in APART.items()
    )
    return f"```\n{rows}\n{apart}\n```\n"


def allowed(package: str) -> set[str]:
    """The packages that a file of this one may import."""
    if package in APART:
        return {package, *APART[package]}
    row = next(index for index, names in enumerate(FLOW) if package in names)
    below = {name for names in FLOW[:row] for name in names}
    return {package, *below, *(name for name, users in USES_APART.items() if package in users)}


if __name__ == "__main__":
    STYLE.write_text(PICTURE.sub(picture(), STYLE.read_text()))
