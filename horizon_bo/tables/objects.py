"""Objects: which mapping does a text write out?"""

import ast
import json
from typing import Any


def parsed_object(text: str) -> dict[str, Any] | None:
    """The mapping that a text writes out as JSON or as Python does; `None` where it writes none."""
    try:
        value = json.loads(text, parse_constant=str)
    except RecursionError:
        return None
    except ValueError:
        try:
            value = ast.literal_eval(_NotFinite().visit(ast.parse(text, mode="eval")))
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return value if isinstance(value, dict) else None


class _NotFinite(ast.NodeTransformer):
    """Writes `nan` and `inf` as words, since Python prints no literal for them."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(node.id) if node.id in ("nan", "inf") else node
