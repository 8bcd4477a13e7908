"""How the process holds memory while histories are decoded and judged.

NumPy makes and frees arrays of some megabytes all the time. glibc takes the pages of each from the
kernel and gives them back, so that every array costs a page fault for each of its pages: a third of
the time that decoding takes. Python's collector in turn looks for cycles among objects that have
none.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
MMAP_BYTES = 1 << 25
"""Blocks from here on come from the kernel directly; glibc allows no more."""
KEPT_BYTES = 1 << 27
"""Free memory that is kept for the next array."""


@cache
def keep_freed() -> bool:
    """Keep freed memory in the process from now on; whether that is possible here.

    It is not where the C library is not glibc; nothing depends on it but speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for cycles: decoding makes none, and to look costs a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
