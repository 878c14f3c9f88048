"""Learn: what do old sweeps, and sweeps of one's own, add to the evidence?"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from horizon_bo.errors import InvalidTableError
from horizon_bo.learning.corpus import Recipe, corpus, unlabelled
from horizon_bo.learning.identified import PARTICLES, evidence_of
from horizon_bo.published.evidence import Evidence
from horizon_bo.study.trials import LoggedRun, Study, Trial

#: A team's own sweep is nearer to its next run than a stranger's, and counts for two of those.
OWN_WEIGHT = 2.0


def learnt(
    recipes: Sequence[Recipe],
    base: Sequence[Evidence],
    told: Callable[[Evidence], None] = lambda each: None,
    particles: int = PARTICLES,
) -> tuple[Evidence, ...]:
    """The evidence with that of more recipes.

    Args:
        recipes: What to learn from.
        base: What is known already; a recipe of the same name takes its place.
        told: Called after each recipe.
        particles: Coefficient sets; the more, the less their number decides.

    Raises:
        InvalidTableError: A recipe identifies nothing, nor do its relatives, or comes twice.
    """
    _refuse_twice(recipes)
    fresh: list[Evidence] = []
    silent: list[tuple[Recipe, InvalidTableError]] = []
    for recipe in recipes:
        try:
            fresh.append(evidence_of(recipe, particles))
        except InvalidTableError as error:
            silent.append((recipe, error))
            continue
        told(fresh[-1])
    speaking = {each.group for each in fresh}
    for recipe, error in silent:
        if recipe.group not in speaking:
            raise error
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


def public_recipes(folder: Path) -> tuple[Recipe, ...]:
    """The corpus that the shipped evidence is learnt from; a folder holds the public sweeps."""
    package = Path(str(files("horizon_bo") / "data"))
    return corpus(package / "corpus.toml", (folder, package))


def own_recipes(
    name: str, runs: Sequence[LoggedRun], *, optimizer: str, parametrization: str, experts: bool
) -> list[Recipe]:
    """A sweep of the user's own as recipes to learn from, one for each source and schedule."""
    parts: dict[tuple[str | None, ...], list[LoggedRun]] = {}
    for run in runs:
        parts.setdefault((run.source, run.schedule, run.averaging), []).append(run)
    return [
        Recipe(
            name=" ".join([name, *(label for label in labels if label and len(parts) > 1)]),
            group=name,
            data=(name,),
            optimizer=optimizer,
            parametrization=parametrization,
            experts=experts,
            weight=OWN_WEIGHT / len(parts),
            source="our own",
            runs=unlabelled(part),
        )
        for labels, part in parts.items()
    ]


def recipes_of_study(study: Study, name: str) -> list[Recipe]:
    """The ended runs of an old study, of its own recipe, to learn from."""
    own = [trial for trial in study.informing if study.recipe(trial) is None]
    runs = [_logged(trial, study.target.size(trial.params)) for trial in own]
    about = {"parametrization": study.parametrization, "experts": study.experts}
    return own_recipes(name, runs, optimizer=study.optimizer, **about)


def _logged(trial: Trial, params: float) -> LoggedRun:
    return LoggedRun(
        learning_rate=trial.learning_rate,
        params=params,
        tokens=trial.tokens,
        batch_tokens=trial.batch_tokens,
        loss=trial.loss,
        loss_sd=trial.loss_sd,
        diverged=trial.status == "diverged",
    )
