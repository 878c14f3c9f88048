"""Recipes: with which learning rate, batch and schedule were known models trained?

The figures stand in `recipes.toml`. `None` means that the paper does not say, or says it in a form
that one number cannot hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from horizon_bo.published.constants import entries


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one published model was trained.

    Args:
        model: The model and its size.
        family: The paper's family of models.
        year: Year of first publication.
        params: Parameters as the paper counts them; for a mixture of experts, the active ones.
        tokens: Training tokens, a count.
        learning_rate: Peak rate, as given to the optimizer.
        batch_tokens: Tokens per step; the last of several when it was ramped up.
        schedule: Shape of the schedule after warm-up.
        final_fraction: Last rate as a fraction of the peak.
        weight_decay: As given to the optimizer.
        clip: Global gradient norm that is clipped at.
        optimizer: The optimizer.
        source: Paper and, where it helps, the table.
        parametrization: `"standard"`, or `"mup"` when the rate is a µP base rate.
        moe: True for a mixture of experts.
        verified: False where the figures still await a check against the paper.
    """

    model: str
    family: str
    year: int
    params: float
    tokens: float | None = None
    learning_rate: float
    batch_tokens: float | None = None
    schedule: str
    final_fraction: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    optimizer: str = "adamw"
    source: str = ""
    parametrization: str = "standard"
    moe: bool = False
    verified: bool = True


def _read() -> Iterator[Recipe]:
    for family in entries("recipes", "family"):
        for model in family.pop("models"):
            yield Recipe(**family, **model)


#: Every recipe, roughly by year.
RECIPES: tuple[Recipe, ...] = tuple(_read())


def find_recipes(
    *,
    name: str | None = None,
    params: Sequence[float] | None = None,
    optimizer: str | None = None,
    parametrization: str | None = None,
) -> tuple[Recipe, ...]:
    """The recipes that meet every condition given; `None` sets no condition.

    Args:
        name: Part of the model's or family's name, case ignored.
        params: Lowest and highest parameter count.
        optimizer: The optimizer's name.
        parametrization: `"standard"` or `"mup"`.
    """
    wanted = (name or "").lower()
    low, high = params or (0.0, float("inf"))
    return tuple(
        recipe
        for recipe in RECIPES
        if (wanted in recipe.model.lower() or wanted in recipe.family.lower())
        and low <= recipe.params <= high
        and optimizer in (None, recipe.optimizer)
        and parametrization in (None, recipe.parametrization)
    )
