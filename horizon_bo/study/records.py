"""Records: how is a study written as JSON, so that reading it gives back the very same study?

JSON writes a float as the shortest decimal that reads back as the same float: nothing is rounded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from horizon_bo.errors import HorizonBOError, InvalidSpaceError, StudyFormatError
from horizon_bo.study.history import Change
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.trials import Study, Trial


def study_record(study: Study) -> dict[str, Any]:
    """Everything about a study but its trials, as JSON can hold it."""
    record = plain(study)
    del record["trials"]
    record["target"] = with_inputs(plain(study.target))
    record["space"] = _space_record(study.space)
    return record


def study_from(record: Mapping[str, Any], trials: Sequence[Trial] = ()) -> Study:
    """The study that `study_record` described, with these trials."""
    try:
        given = dict(record)
        given["target"] = Horizon(**given["target"])
        given["space"] = _space_from(given["space"])
        return Study(**given, trials=tuple(trials))
    except (TypeError, KeyError, ValueError) as error:
        raise _unreadable("study", error) from error


def trial_record(trial: Trial) -> dict[str, Any]:
    """One trial as JSON can hold it."""
    changes = [change.record for change in trial.changes]
    return {
        **with_inputs(plain(trial)),
        "settings": dict(trial.settings),
        "changes": changes,
    }


def trial_from(record: Mapping[str, Any]) -> Trial:
    """The trial that `trial_record` described."""
    try:
        given = dict(record)
        given["assumed"] = tuple(given.get("assumed", ()))
        given["changes"] = tuple(Change(**change) for change in given.get("changes", ()))
        return Trial(**given)
    except (TypeError, ValueError) as error:
        raise _unreadable("trial", error) from error


def as_json(record: Any) -> str:
    """One line of JSON, or an error that names what JSON cannot hold."""
    try:
        return json.dumps(record, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSpaceError(
            f"a setting cannot be stored ({error}), expected numbers, strings, lists and mappings; "
            "put a name in the scale's settings and look the object up in your own code"
        ) from error


def plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, one level deep."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def with_inputs(record: dict[str, Any]) -> dict[str, Any]:
    """The record with inputs as JSON can hold them, and without what nobody said."""
    inputs = dict(record.pop("inputs"))
    said = _said(record, "vocabulary")
    return {**said, "inputs": inputs} if inputs else said


def scale_record(scale: Scale) -> dict[str, Any]:
    """A model to build as JSON can hold it."""
    return _said({**plain(scale), "settings": dict(scale.settings)}, "sparsity")


def _said(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The record without that field where it is `None`, as records once were."""
    return {k: value for k, value in record.items() if k != name or value is not None}


def _space_record(space: SearchSpace) -> dict[str, Any]:
    is_range = isinstance(space.tokens, tuple)
    return {
        **plain(space),
        "scales": [scale_record(scale) for scale in space.scales],
        "tokens": {"range" if is_range else "values": list(space.tokens)},
    }


def _space_from(record: Mapping[str, Any]) -> SearchSpace:
    tokens = record["tokens"]
    given = {
        **record,
        "learning_rate": tuple(record["learning_rate"]),
        "scales": [Scale(**scale) for scale in record["scales"]],
        "tokens": tuple(tokens["range"]) if "range" in tokens else list(tokens["values"]),
    }
    return SearchSpace(**given)


def _unreadable(what: str, error: Exception) -> HorizonBOError:
    return StudyFormatError(
        f"a stored {what} cannot be read ({error}), expected a record written by this version; "
        "open it with the version that wrote it or restore a copy"
    )
