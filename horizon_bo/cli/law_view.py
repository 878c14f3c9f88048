"""Law view: how do answers about laws and recipes look in a terminal?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from horizon_bo.published.recipes import Recipe


#: Remarks go to stderr and a covariance is for programs.
_HIDDEN = ("remarks", "left_out", "covariance")


def show_record(record: Mapping[str, Any], indent: str = "") -> None:
    """Print names and values in two columns; lists of records as blocks."""
    shown = {name: value for name, value in record.items() if name not in _HIDDEN}
    width = max((len(name) for name in shown), default=0) + 2
    for name, value in shown.items():
        if isinstance(value, Mapping):
            typer.echo(f"{indent}{name}")
            show_record(value, indent + "  ")
        elif _is_table(value):
            typer.echo(f"{indent}{name}")
            for entry in value:
                show_record(entry, indent + "  ")
                typer.echo("")
        elif value not in (None, "", (), [], {}):
            typer.echo(f"{indent}{name.replace('_', ' '):<{width}}{_text(value)}")


def show_recipes(recipes: Sequence["Recipe"]) -> None:
    """Print recipes one a line, sources after a blank line."""
    head = f"{'model':<30}{'params':>9}{'tokens':>9}{'rate':>9}{'batch':>9}  schedule, decay, clip"
    typer.echo(head)
    for recipe in recipes:
        numbers = (recipe.params, recipe.tokens, recipe.learning_rate, recipe.batch_tokens)
        cells = "".join(f"{'–' if n is None else format(n, '.3g'):>9}" for n in numbers)
        rest = ", ".join(
            "–" if value is None else f"{value}"
            for value in (recipe.schedule, recipe.weight_decay, recipe.clip)
        )
        doubt = "" if recipe.verified else ", unverified"
        typer.echo(f"{recipe.model:<30}{cells}  {rest} ({recipe.optimizer}{doubt})")
    typer.echo("")
    for family, source in dict.fromkeys((r.family, r.source) for r in recipes):
        typer.echo(f"{family}: {source}")


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(entry) for entry in value)
    return str(value)
