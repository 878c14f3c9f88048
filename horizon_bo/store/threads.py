"""Threads: how many does the core compute with?

Batches of small matrices lose more to waking threads than they gain, and on one thread sums come
out the same, bit for bit, whatever the machine's number of cores.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np  # noqa: F401  what is to be limited must be loaded
from threadpoolctl import ThreadpoolController


@cache
def _linear_algebra() -> ThreadpoolController:
    """The libraries that NumPy computes with, looked up once."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, then give back the caller's setting."""
    with _linear_algebra().limit(limits=1):
        yield


def keep_to_one_thread() -> None:
    """Compute on one thread from now on, and so does what is loaded or started from here."""
    os.environ["OMP_NUM_THREADS"] = "1"
    _linear_algebra().limit(limits=1)
