"""Built-in: how does a suggestion become a run of the package's own trainer?

A model is named by its shape, WIDTHxDEPTH, which fixes its parameters and its compute per token.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from horizon_bo.errors import InvalidObjectiveError, InvalidSpaceError
from horizon_bo.runs.commands import Command
from horizon_bo.runs.folder import read_json, write_json
from horizon_bo.study.horizons import Horizon, Scale
from horizon_bo.study.trials import Study, Suggestion
from horizon_bo.training.config import (
    AVERAGINGS,
    SCHEDULES,
    ModelConfig,
    Recipe,
    RunConfig,
    TrainingConfigError,
)
from horizon_bo.training.flops import flops_per_token

#: WIDTHxDEPTH, or WIDTHxDEPTHxHEAD_DIM.
_SHAPE = re.compile(r"\d+x\d+(x\d+)?")
#: Where a study's folder keeps the recipe and text of all its runs.
_SHARED = "builtin.json"
#: Widths tried for a size that names no shape, and the width per block that is preferred.
_WIDTH_STEP, _WIDEST, _ASPECT = 16, 4096, 32
#: Tokens per step where neither the run nor the recipe says.
_BATCH_TOKENS = 1_024


def is_shape(text: str) -> bool:
    """Whether a text names a model of the built-in trainer, as `64x2` and `768x12x64` do."""
    return _SHAPE.fullmatch(text.strip()) is not None


def shaped_model(shape: str) -> ModelConfig:
    """The model of a shape: WIDTHxDEPTH, or WIDTHxDEPTHxHEAD_DIM."""
    if not is_shape(shape):
        raise InvalidSpaceError(
            f"shape is {shape!r}, expected WIDTHxDEPTH such as 64x2; correct it"
        )
    names = ("width", "depth", "head_dim")
    return ModelConfig(**dict(zip(names, map(int, shape.split("x")), strict=False)))


def shaped_scale(shape: str) -> Scale:
    """The scale that the built-in trainer trains at a shape, its compute measured."""
    model = shaped_model(shape)
    settings = {"width": model.width, "depth": model.depth, "head_dim": model.head_dim}
    return Scale(params=model.params, flops_per_token=flops_per_token(model), settings=settings)


def shaped_horizon(shape: str, tokens: float, **given: Any) -> Horizon:
    """The target of a shape trained on that many tokens, its compute measured."""
    scale = shaped_scale(shape)
    return Horizon(params=scale.params, tokens=tokens, flops=scale.flops(tokens), **given)


def builtin_command(
    study: Study,
    *,
    text: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Command:
    """The built-in trainer as a training command, checked before anything is started.

    Args:
        study: Its scales have `width` and `depth` among their settings, as shapes give them, or a
            number of parameters that one shape alone has; any other setting of a `ModelConfig` may
            stand beside them.
        text: Files to learn from; empty takes Python's standard library.
        recipe: Fields of a `Recipe`; `None` takes its defaults.
        device: `"cpu"`, `"cuda"` or `"auto"`.

    Raises:
        InvalidObjectiveError: A scale or the recipe is not one that the trainer can train.
    """
    from horizon_bo.training.corpus import corpus  # loads PyTorch, which shapes do without

    shared = _recipe(study, recipe or {})
    base = min(study.space.scales, key=lambda scale: scale.params)
    for scale in study.space.scales:
        _model(scale, base, study.parametrization)
    files = [str(Path(name).resolve()) for name in text]
    corpus(files)

    def argv(run: Suggestion, folder: Path) -> tuple[str, ...]:
        _refuse_another_recipe(folder.parent, shared, files)
        config = builtin_config(run, base, study, shared)
        write_json(folder / "config.json", config.record())
        return (
            sys.executable, "-m", "horizon_bo.training",
            "--config", str(folder / "config.json"), "--out", str(folder),
            "--averaging", run.averaging, "--device", device,
            *(["--text", *files] if files else []),
        )  # fmt: skip

    return Command(argv)


def builtin_config(run: Suggestion, base: Scale, study: Study, recipe: Recipe) -> RunConfig:
    """What the trainer is told of a run; its seed is the study's plus the run's id.

    Averagings that the study allows are read too: they cost one evaluation each.
    """
    model = _model(run.scale, base, study.parametrization)
    averagings = {run.averaging, *(study.space.averagings or ())} - {"none"}
    recipe = replace(
        recipe,
        schedule=run.schedule,
        batch_tokens=round(run.batch_tokens or recipe.batch_tokens),
        cooldown=recipe.cooldown if run.cooldown is None else run.cooldown,
    )
    return RunConfig(
        model=model,
        recipe=recipe,
        learning_rates=(run.learning_rate,),
        seeds=(study.seed + run.id,),
        tokens=max(round(run.tokens), recipe.batch_tokens),
        branches=tuple(round(tokens) for tokens in run.branches),
        averagings=tuple(sorted(averagings)),
    )


def _recipe(study: Study, given: Mapping[str, Any]) -> Recipe:
    """The study's recipe: the user's fields over the defaults."""
    batch = study.target.batch_tokens or _BATCH_TOKENS
    try:
        recipe = Recipe(**{"batch_tokens": round(batch), **given})
    except TypeError as error:
        raise InvalidObjectiveError(
            f"the recipe {dict(given)!r} cannot be used ({error}), expected fields such as "
            "optimizer, weight_decay or warmup; correct it"
        ) from error
    space, target = study.space, study.target
    for what, names, known in (
        ("schedule", space.schedules or (target.schedule,), SCHEDULES),
        ("averaging", space.averagings or (target.averaging,), ("none", *AVERAGINGS)),
    ):
        for name in names:
            if name not in known:
                raise InvalidObjectiveError(
                    f"{what} {name!r} is in the study, expected one of {', '.join(known)}, which "
                    "the built-in trainer knows; start another study or use --command"
                )
    return recipe


def _refuse_another_recipe(root: Path, recipe: Recipe, files: Sequence[str]) -> None:
    """Keep what all runs of a study share, or raise where earlier ones shared something else."""
    record = {"recipe": asdict(recipe), "text": list(files)}
    before = read_json(root / _SHARED)
    if before is None:
        write_json(root / _SHARED, record)
    elif before != record:
        raise InvalidObjectiveError(
            f"the recipe or text differs from that of earlier runs in {root / _SHARED}, expected "
            "the same, since their losses would not compare; start another study or correct it"
        )


def _model(scale: Scale, base: Scale, parametrization: str) -> ModelConfig:
    """The model of a scale; under µP rates are those of the smallest scale."""
    settings, origin = _settings(scale), _settings(base)
    try:
        model = ModelConfig(
            **settings,
            parametrization=parametrization,
            base_width=origin["width"],
            base_depth=origin["depth"],
        )
    except TypeError as error:
        raise InvalidObjectiveError(
            f"the scale of {scale.params:g} parameters has settings {settings!r} ({error}), "
            "expected fields of a model; correct them"
        ) from error
    except TrainingConfigError as error:
        raise InvalidObjectiveError(
            f"the scale of {scale.params:g} parameters cannot be built: {error}"
        ) from error
    if model.params != scale.params:
        raise InvalidObjectiveError(
            f"a model of width {model.width} and depth {model.depth} has {model.params:,} "
            f"parameters, expected {scale.params:,.0f} as the study says; correct either"
        )
    return model


def _settings(scale: Scale) -> dict[str, Any]:
    """A scale's settings; a width and depth of exactly its parameters where it names none."""
    settings = dict(scale.settings)
    if {"width", "depth"} <= settings.keys():
        return settings
    found = [
        (width, round(depth))
        for width in range(_WIDTH_STEP, _WIDEST, _WIDTH_STEP)
        if (depth := scale.params / ModelConfig(width=width, depth=1).params).is_integer()
        and depth >= 1
    ]
    if not found:
        raise InvalidObjectiveError(
            f"no width and depth give a scale of {scale.params:g} parameters, expected a shape of "
            "the built-in trainer; name scales as WIDTHxDEPTH, e.g. --scales 32x2,64x2"
        )
    width, depth = min(found, key=lambda shape: abs(math.log(shape[0] / shape[1] / _ASPECT)))
    return {**settings, "width": width, "depth": depth}
