"""Equations: how does TeX in a page become something a browser shows without a script?

The build turns each formula into MathML, which browsers draw by themselves.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

#: What `pymdownx.arithmatex` makes of `$…$` and `$$…$$`.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    """The page with its formulas as MathML; called by MkDocs."""
    return _FORMULA.sub(_drawn, content)


def _drawn(found: re.Match[str]) -> str:
    tag, display = found["tag"], "block" if found["tag"] == "div" else "inline"
    formula = convert(html.unescape(found["tex"]).strip(), display=display)
    # a wide formula scrolls, and the keyboard must reach what scrolls
    reached = ' tabindex="0"' if display == "block" else ""
    return f'<{tag} class="formula"{reached}>{formula}</{tag}>'
