"""OtherStudy: what does another study say, as a table of logged runs?"""

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

from horizon_bo.store.opening import study_store

if TYPE_CHECKING:
    from horizon_bo.tables.logged import LoggedTable


def logged_study(address: str | PathLike[str], source: str | None = None) -> "LoggedTable":
    """The runs of another study that have ended, as a table of logged runs.

    Args:
        address: The study's path or URL.
        source: Recipe of runs that were made under that study's own; `None` means the same.
    """
    from horizon_bo.tables.logged import logged_table
    from horizon_bo.tables.trials import carried

    store = study_store(address)
    study = store.read().study
    runs, said = carried(study, store.name, source)
    logged = logged_table(runs)
    return replace(logged, remarks=(*said, *logged.remarks))
