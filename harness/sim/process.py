"""A process that hashes like every other: what byte-identical histories need of Python itself.

Strings hash by PYTHONHASHSEED, and before Python 3.12 `None` hashes by its address, so that sets of
tuples are iterated in another order in another process. Both are fixed when a process begins.
"""

from __future__ import annotations

import ctypes
import os
import sys

from harness.errors import UsageError

ADDR_NO_RANDOMIZE = 0x0040000
"""personality(2): where Python's static objects are loaded no longer varies."""

ASK = 0xFFFFFFFF


def begin_again() -> None:
    """Run this very command in a process that hashes alike; returns if this is one already, or if
    the kernel does not let us have one."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.personality(ASK)
    if os.environ.get("PYTHONHASHSEED") == "0" and before & ADDR_NO_RANDOMIZE:
        return
    if os.environ.get(MARK) == "1":
        return  # a second time would be no better: this kernel refuses
    libc.personality(before | ADDR_NO_RANDOMIZE)
    environment = {**os.environ, "PYTHONHASHSEED": "0", MARK: "1"}
    os.execve(sys.executable, sys.orig_argv, environment)


def require_assertions() -> None:
    """Raises UsageError: this Python was told to leave assertions out (-O, PYTHONOPTIMIZE)."""
    if sys.flags.optimize:
        raise UsageError(
            "this Python leaves assertions out (-O, PYTHONOPTIMIZE): kafka-python 3 reads a byte "
            "of each message within one: brokers and clients would misunderstand each other, "
            "and a seed would not be the same run. Start Python without"
        )


MARK = "ASSAY_HASHES_ALIKE"


def hashes_alike() -> bool:
    """Whether histories of this process are those of any other."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        return False
    fixed = sys.version_info >= (3, 12)
    return fixed or bool(ctypes.CDLL(None).personality(ASK) & ADDR_NO_RANDOMIZE)
