"""Threads: how many does the core compute with, and what becomes of the memory that it frees?

Batches of small matrices lose more to waking threads than they gain, and on one thread sums come
out the same, bit for bit, whatever the machine's number of cores.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np  # noqa: F401  what is to be limited must be loaded
from threadpoolctl import ThreadpoolController

#: `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of glibc's mallopt(3), and bytes: up to the first stay
#: with the process once freed, and what is smaller than the second is taken from there.
_KEPT_MEMORY = ((-1, 1 << 28), (-3, 1 << 25))


def _keep_memory() -> None:
    """Let the process keep freed arrays: asking the system anew is a quarter of a belief's time."""
    with suppress(OSError, AttributeError):  # where there is no glibc
        for parameter, size in _KEPT_MEMORY:
            ctypes.CDLL(None).mallopt(parameter, size)


@cache
def _linear_algebra() -> ThreadpoolController:
    """The libraries that NumPy computes with, looked up once."""
    _keep_memory()
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
