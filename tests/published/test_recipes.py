"""Recipes carry their papers' figures and can be asked for."""

import math

import pytest

from horizon_bo.published.catalogue import catalogue, entries_named
from horizon_bo.published.recipes import RECIPES, find_recipes

#: model: rate, batch tokens, training tokens, as printed.
PRINTED = {
    "GPT-3 Small": (6.0e-4, 0.5e6, 3e11),
    "GPT-3 XL": (2.0e-4, 1e6, 3e11),
    "GPT-3 175B": (0.6e-4, 3.2e6, 3e11),
    "Gopher 280B": (4e-5, 6e6, 3e11),
    "Chinchilla 70B": (1e-4, 3e6, 1.4e12),
    "OPT 175B": (1.2e-4, 2e6, 1.8e11),
    "LLaMA 7B": (3e-4, 4e6, 1e12),
    "LLaMA 65B": (1.5e-4, 4e6, 1.4e12),
    "LLaMA 2 70B": (1.5e-4, 4e6, 2e12),
    "BLOOM 176B": (6e-5, 2048 * 2048, 3.66e11),
    "Megatron-LM 8.3B": (1.5e-4, 512 * 1024, 3e5 * 512 * 1024),
    "BERT base": (1e-4, 131_072, 1.31072e11),
    "DeepSeek LLM 67B": (3.2e-4, 4608 * 4096, 2e12),
}


@pytest.mark.parametrize("model", PRINTED)
def test_a_recipe_carries_the_figures_of_its_paper(model):
    (recipe,) = (r for r in RECIPES if r.model == model)
    assert recipe.tokens is not None
    assert recipe.batch_tokens is not None
    figures = (recipe.learning_rate, recipe.batch_tokens, recipe.tokens)
    for ours, printed in zip(figures, PRINTED[model], strict=True):
        assert math.isclose(ours, printed)


def test_every_family_of_the_seed_article_is_there_with_a_source():
    families = {recipe.family for recipe in RECIPES}
    wanted = "GPT BERT Megatron-LM T5 GPT-3 Gopher Chinchilla OPT PaLM LLaMA"
    assert {*wanted.split(), "LLaMA 2"} <= families
    assert all(recipe.source and recipe.year >= 2018 for recipe in RECIPES)
    assert len({recipe.model for recipe in RECIPES}) == len(RECIPES)


def test_recipes_are_found_by_name_size_and_optimizer():
    assert {r.model for r in find_recipes(name="llama", params=(5e9, 8e9))} == {
        "LLaMA 7B",
        "LLaMA 2 7B",
    }
    assert {r.family for r in find_recipes(optimizer="adafactor")} == {"T5", "PaLM"}
    assert all(r.learning_rate >= 6e-3 for r in find_recipes(parametrization="mup"))
    assert find_recipes() == RECIPES
    assert {r.family for r in RECIPES if not r.verified} == {"Cerebras-GPT", "MiniCPM"}


def test_the_catalogue_lists_every_kind_once_per_name():
    keys = [(entry.kind, entry.name) for entry in catalogue()]
    assert len(set(keys)) == len(keys)
    assert {kind for kind, _ in keys} == {
        "rate",
        "batch",
        "loss",
        "schedule",
        "decay",
        "rule",
        "family",
    }
    assert [entry.kind for entry in entries_named("step")] == ["rate", "batch"]
