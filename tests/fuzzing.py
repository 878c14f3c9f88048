"""Fuzzing: how many inputs of a kind are tried, from which seed, and what may come of one?

A merge tries 500 from seed 0. `make fuzz` tries 25,000 from a fresh seed, which it prints, and
`make fuzz SEED=… COUNT=…` the same ones again. Nobody is ever shown a traceback, waits longer than
20 s, or is given a value that is not the one he wrote.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from horizon_bo.errors import HorizonBOError

T = TypeVar("T")

COUNT = int(os.environ.get("HORIZON_BO_FUZZ", "500"))
SEED = int(os.environ.get("HORIZON_BO_FUZZ_SEED", "0"))
#: Of a thousand inputs, how many are of a kind.
SHARES = {
    "delimited tables": 120,
    "JSON and Parquet tables": 80,
    "bytes as tables": 120,
    "rows as tables": 60,
    "frames as tables": 80,
    "mappings": 80,
    "templates of commands": 80,
    "last lines of commands": 60,
    "numbers in words": 40,
    "numbers with suffixes": 40,
    "study files, damaged": 70,
    "events, altered": 60,
    "cases.json": 60,
    "command lines": 50,
}
assert sum(SHARES.values()) == 1000
#: No input may take longer, in seconds: of this process, and by the clock of a machine that others
#: may keep busy.
LONGEST_S, LONGEST_BUSY_S = 20.0, 200.0
#: A message longer than this, in characters, is not one clear line.
LONGEST_MESSAGE = 3000


def fuzzed(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try the inputs of a kind."""
    some = settings(
        max_examples=max(1, SHARES[kind] * COUNT // 1000),
        phases=[Phase.generate, Phase.shrink],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: hypothesis.seed(SEED)(some(test))


@contextmanager
def in_time() -> Iterator[None]:
    """Fail where something takes longer than anybody waits."""
    began_s, clock_s = time.process_time(), time.monotonic()
    try:
        yield
    finally:
        took_s = (time.process_time() - began_s, time.monotonic() - clock_s)
        assert took_s[0] < LONGEST_S
        assert took_s[1] < LONGEST_BUSY_S


def refused_or(call: Callable[[], T]) -> T | None:
    """What a call gives, `None` where it is refused in one clear line, within the time there is."""
    found, said = None, ""
    try:
        with in_time():
            found = call()
    except HorizonBOError as error:
        said = str(error)
    assert len(said) < LONGEST_MESSAGE
    return found


def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes with some of them changed, cut out, doubled or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        length = draw(st.sampled_from([1, 2, 16, 100, 4096]))
        match draw(st.sampled_from(["set", "flip", "flip", "cut", "end", "double", "put"])):
            case "set":
                changed[at : at + length] = bytes([draw(st.integers(0, 255))]) * length
            case "flip":
                changed[at : at + 1] = bytes([changed[at] ^ (1 << draw(st.integers(0, 7)))])
            case "cut":
                del changed[at : at + length]
            case "end":
                del changed[at:]
            case "double":
                changed[at:at] = changed[at : at + length]
            case "put":
                changed[at:at] = draw(st.binary(min_size=1, max_size=8))
        changed = changed or bytearray(b"\0")
    return bytes(changed)


names = st.sampled_from(
    ["learning_rate", "params", "tokens", "loss", "trials", "study", "id", "status", "target"]
)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(10**30), 10**400)
    | st.text(max_size=8)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner),
    max_leaves=5,
)


def spoilt(draw: Any, record: Any) -> Any:
    """A record with one value somewhere in it changed or dropped."""
    held = record.items() if isinstance(record, dict) else enumerate(record)
    inner = [key for key, value in held if isinstance(value, dict | list) and value]
    if inner and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(inner))
        return _with(record, key, spoilt(draw, record[key]))
    key = draw(st.sampled_from(list(record) if isinstance(record, dict) else range(len(record))))
    if draw(st.booleans()):
        return _with(record, key, draw(values))
    if isinstance(record, dict):
        return {name: value for name, value in record.items() if name != key}
    return [value for k, value in enumerate(record) if k != key]


def _with(record: Any, key: Any, value: Any) -> Any:
    if isinstance(record, dict):
        return {**record, key: value}
    return [value if k == key else old for k, old in enumerate(record)]
