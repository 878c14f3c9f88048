"""Target check: what does the target itself reach at the recommended rate?

It is trained once, after the study, in the folder `target`: no part of the budget or the data.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from horizon_bo.core.policy import Recommendation
from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs.commands import Command, Function
from horizon_bo.runs.engines.protocol import Engine
from horizon_bo.runs.folder import stored_run, write_json
from horizon_bo.runs.jobs import Flight, RunEvent, Watch, WatchedState, begin, called
from horizon_bo.runs.leftover import left_over
from horizon_bo.runs.outcomes import (
    PASSING,
    Outcome,
    outcome_of,
    outcome_record,
    stored_outcome,
)
from horizon_bo.runs.plan import RunPlan, TargetCheck
from horizon_bo.runs.processes import launcher, slots_of
from horizon_bo.study.horizons import Scale
from horizon_bo.study.trials import Study, Suggestion


def check_target(
    study: Study,
    best: Recommendation,
    objective: Command | Function,
    engine: Engine,
    folder: Path,
    plan: RunPlan,
    watch: Watch,
) -> TargetCheck:
    """Train the target at the recommended rate, or report the time it was.

    The plan's time-out is meant for small runs and does not hold here.

    Raises:
        InvalidObjectiveError: The folder holds an unfinished target at another rate, from whose
            checkpoint a trainer would go on.
    """
    run = _target_run(study, best, plan.target_settings or {})
    before, outcome = stored_run(folder), stored_outcome(folder)
    if before is not None and outcome is not None and outcome.status != "failed":
        run = before
    else:
        if before is not None and replace(before, id=run.id) != run:
            raise InvalidObjectiveError(
                f"{folder} holds an unfinished target at learning rate {before.learning_rate:g}, "
                f"expected {run.learning_rate:g} with these settings; remove that folder"
            )
        seen = WatchedState(study, best, ())
        outcome = _trained(before or run, seen, objective, engine, folder, plan, watch)
    return TargetCheck(
        learning_rate=run.learning_rate, predicted_loss=best.predicted_loss, outcome=outcome
    )


def scales_of(study: Study, plan: RunPlan) -> list[Scale]:
    """All scales that a plan may train, the target's among them."""
    scales = [scale for scale in study.space.scales if scale.params not in plan.without]
    if plan.target_settings is not None:
        scales += [Scale(params=study.target.params, settings=plan.target_settings)]
    return scales


def _target_run(study: Study, best: Recommendation, settings: Mapping[str, Any]) -> Suggestion:
    """The target as a run; its id is one that no run of the study has."""
    target = study.target
    return Suggestion(
        id=len(study.trials),
        learning_rate=best.learning_rate,
        params=target.params,
        tokens=target.tokens,
        batch_tokens=best.batch_tokens,
        flops=target.flops,
        scale=Scale(params=target.params, settings=settings),
        schedule=target.schedule,
        averaging=target.averaging,
    )


def _trained(
    run: Suggestion,
    seen: WatchedState,
    objective: Command | Function,
    engine: Engine,
    folder: Path,
    plan: RunPlan,
    watch: Watch,
) -> Outcome:
    """How the target trained, after as many attempts as any run gets."""
    slot = slots_of(replace(plan, parallel=1))[0]
    launch = launcher(engine, None, plan.resources)
    tries, left = 0, left_over(engine, [folder])
    while True:
        tries += 1
        if folder in left:
            began_s, job = time.monotonic(), left.pop(folder)
            flight = Flight(run=run, folder=folder, slot=slot, tries=1, began_s=began_s, job=job)
        else:
            flight = begin(objective, launch, run, folder, slot, tries)
        seen = replace(seen, flights=(flight,))
        line = f"the target itself started in {flight.where}"
        watch(seen, RunEvent("started", run, folder, line))
        flight = called(objective, flight)
        while (ended := flight.exit()) is None:
            watch(seen, None)
            time.sleep(flight.look_s(engine.look_s))
        outcome = outcome_of(run, folder, ended)
        if outcome.cause not in PASSING or tries > plan.retries:
            write_json(folder / "outcome.json", outcome_record(outcome))
            return outcome
