"""Storage: how is an Ax study saved, and what must Ax be told so that it can read it back?

Importing this module adds the tuner's classes to Ax's JSON registries, so that the stock
`Client.save_to_json_file` and `Client.load_from_json_file` work. SQL needs `sql_storage`, since Ax
creates no tables, leaves its own metrics out of a custom registry, and silently goes on with the
first database when a second is named.

One process writes at a time: two Ax clients on one experiment lose trials without a word. Where
several processes share a study, use `HorizonTuner(study=…)`, whose storage refuses a stale writer.
"""

from importlib.util import find_spec

from ax.api.configs import StorageConfig
from ax.storage.json_store.encoders import metric_to_dict, runner_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY
from ax.storage.metric_registry import CORE_METRIC_REGISTRY
from ax.storage.registry_bundle import RegistryBundle
from ax.storage.sqa_store.db import (
    Base,
    create_all_tables,
    get_engine,
    init_engine_and_session_factory,
)
from sqlalchemy import String, TypeDecorator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from horizon_bo.ax.adapter import HorizonGenerators
from horizon_bo.ax.orchestration import CommandLoss, CommandRunner
from horizon_bo.errors import MissingExtraError, StorageError

#: Characters that PostgreSQL allows at most in a VARCHAR; its TEXT takes no length at all, and Ax
#: gives its own more than this.
_LONGEST_VARCHAR = 10_485_760


def sql_storage(url: str) -> StorageConfig:
    """Where an Ax client saves every step: an SQLAlchemy URL; its tables are made if need be.

    Pass it to `horizon_client` and to `HorizonClient.load_from_database`.

    Raises:
        MissingExtraError: A package that Ax needs for it is not installed.
        StorageError: The database cannot be reached, or this process already uses another one.
    """
    if find_spec("tabulate") is None:  # what Ax prints of its data needs it, and Ax does not say so
        raise MissingExtraError("sql_storage", "tabulate", "ax")
    try:
        wanted = make_url(url)
        init_engine_and_session_factory(url=url)
        engine = get_engine()
        if engine.url != wanted:
            raise StorageError(
                f"{wanted!r} was named, expected {engine.url!r}, which this process already uses: "
                "Ax keeps one database a process; start another process"
            )
        if engine.dialect.name == "postgresql":
            _drop_long_lengths()
        create_all_tables(engine)
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        said = str(error).splitlines()[0]
        raise StorageError(
            f"{url!r} cannot be used ({said}), expected an SQLAlchemy URL of a database that can "
            "be written to, such as sqlite:///study.db; correct it"
        ) from error
    return StorageConfig(url=url, registry_bundle=_bundle())


def register() -> None:
    """Teach Ax's JSON registries the classes of this package; doing so twice changes nothing."""
    CORE_ENCODER_REGISTRY[CommandRunner] = runner_to_dict
    CORE_ENCODER_REGISTRY[CommandLoss] = metric_to_dict
    for known in (HorizonGenerators, CommandRunner, CommandLoss):
        CORE_DECODER_REGISTRY[known.__name__] = known


def _drop_long_lengths() -> None:
    """Take the lengths that MySQL needs, and PostgreSQL refuses, off Ax's text columns."""
    for table in Base.metadata.tables.values():
        for column in table.columns:
            kind = column.type
            if isinstance(kind, TypeDecorator):
                kind = kind.impl_instance
            if isinstance(kind, String) and (kind.length or 0) > _LONGEST_VARCHAR:
                kind.length = None


def _bundle() -> RegistryBundle:
    return RegistryBundle(
        metric_clss={CommandLoss: None, **CORE_METRIC_REGISTRY},
        runner_clss={CommandRunner: None},
    )


register()
