"""History: what was a trial before somebody changed what it says, and why did they?"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

Kind = Literal["corrected", "forgotten", "withdrawn", "imported again"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a trial after the fact.

    Args:
        kind: What was done.
        before: The fields that it changed, as they were, by name.
        reason: Why, in the words of who did it; `None` where nothing was said.
    """

    kind: Kind
    before: Mapping[str, Any]
    reason: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in get_args(Kind):
            raise ValueError(f"change is {self.kind!r}, expected one of {get_args(Kind)}")
        object.__setattr__(self, "before", MappingProxyType(dict(self.before)))

    @property
    def record(self) -> dict[str, Any]:
        """The change as JSON can hold it."""
        before = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in self.before.items()
        }
        return {"kind": self.kind, "before": before, "reason": self.reason}
