"""Small runs that tests of the trainer share."""

from typing import Any

import numpy as np

from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.corpus import Corpus

CONTEXT = 16


def small_corpus(tokens: int = 20_000) -> Corpus:
    """Text with something to learn: a noisy walk through sixteen letters."""
    noise = np.random.default_rng(0)
    steps = noise.choice([1, 1, 1, 2, 5], tokens)
    letters = (np.cumsum(steps) % 16 + 97).astype(np.uint8)
    return Corpus("walk", letters[: -tokens // 10], letters[-tokens // 10 :])


def small_model(**changes: Any) -> ModelConfig:
    """A model of a few thousand weights."""
    given: dict[str, Any] = {"width": 16, "depth": 2, "head_dim": 8, "context": CONTEXT}
    return ModelConfig(**{"base_width": 16, **given, **changes})


def small_run(
    model: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None, **changes: Any
) -> RunConfig:
    """A run of 40 steps."""
    given: dict[str, Any] = {
        "model": small_model(**(model or {})),
        "recipe": Recipe(**{"batch_tokens": 4 * CONTEXT, **(recipe or {})}),
        "learning_rates": (0.01,),
        "tokens": 40 * 4 * CONTEXT,
        "eval_tokens": 1024,
    }
    return RunConfig(**{**given, **changes})
