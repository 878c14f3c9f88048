"""Learn: what do old sweeps add to the evidence, and where is it kept?"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from horizon_bo.errors import InvalidTableError, StorageError
from horizon_bo.learning.corpus import Recipe
from horizon_bo.learning.identified import evidence_of
from horizon_bo.published.evidence import Evidence, evidence_from, evidence_record
from horizon_bo.study.trials import LoggedRun, Study, Trial

#: A team's own sweep is nearer to its next run than a stranger's, and counts for two of those.
OWN_WEIGHT = 2.0


def learnt(
    recipes: Sequence[Recipe],
    base: Sequence[Evidence],
    told: Callable[[Evidence], None] = lambda each: None,
) -> tuple[Evidence, ...]:
    """The evidence with that of more recipes.

    Args:
        recipes: What to learn from.
        base: What is known already; a recipe of the same name takes its place.
        told: Called after each recipe.
    """
    _refuse_twice(recipes)
    fresh = []
    for recipe in recipes:
        fresh.append(evidence_of(recipe))
        told(fresh[-1])
    names = {each.name for each in fresh}
    return (*(each for each in base if each.name not in names), *fresh)


def _refuse_twice(recipes: Sequence[Recipe]) -> None:
    """Two sweeps with the same runs would count what they say twice."""
    seen: dict[frozenset, str] = {}
    for recipe in recipes:
        runs = frozenset(
            (run.learning_rate, run.params, run.tokens, run.batch_tokens, run.loss)
            for run in recipe.runs
        )
        if runs and runs in seen:
            raise InvalidTableError(
                f"{recipe.name} has the same runs as {seen[runs]}, expected each sweep once; "
                "leave one of them out"
            )
        seen[runs] = recipe.name


def recipe_of_study(study: Study, name: str) -> Recipe:
    """The ended runs of an old study, of its own recipe, as one to learn from."""
    runs = tuple(_logged(trial) for trial in study.trials if _told(study, trial))
    return Recipe(
        name=name,
        group=name,
        data=(name,),
        optimizer=study.optimizer,
        parametrization=study.parametrization,
        experts=study.experts,
        weight=OWN_WEIGHT,
        source="an old study",
        runs=runs,
    )


def _told(study: Study, trial: Trial) -> bool:
    return trial.status in ("completed", "diverged") and study.recipe(trial) is None


def _logged(trial: Trial) -> LoggedRun:
    return LoggedRun(
        learning_rate=trial.learning_rate,
        params=trial.params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
        loss=trial.loss,
        loss_sd=trial.loss_sd,
        diverged=trial.status == "diverged",
    )


def read_evidence(path: Path) -> tuple[Evidence, ...]:
    """The evidence of a file that `write_evidence` wrote."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} cannot be read as a prior ({error}), expected a file that horizon-bo prior "
            "learn wrote; name one"
        ) from error
    return evidence_from(record, str(path))


def write_evidence(path: Path, evidence: Sequence[Evidence]) -> None:
    """Keep evidence in a file, a recipe a line."""
    record = evidence_record(evidence)
    recipes = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in record.pop("recipes"))
    head = json.dumps(record, ensure_ascii=False)[:-1]
    try:
        path.write_text(f'{head}, "recipes": [\n{recipes}\n]}}\n')
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error}), expected a writable file; name another"
        ) from error
