"""Threads: how many does the core compute with?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on that many threads, then give back the caller's setting."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread.

    Batches of small matrices lose more to waking threads than they gain, and sums come out the
    same, bit for bit, whatever the machine's number of cores.
    """
    with threads(1):
        yield
