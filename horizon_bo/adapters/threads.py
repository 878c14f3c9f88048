"""Threads: how many does the core compute with?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, then give back the caller's setting.

    Batches of small matrices lose more to waking threads than they gain, and sums come out the
    same, bit for bit, whatever the machine's number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
