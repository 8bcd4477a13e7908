"""Arrays that follow each other share their pages, and the collector comes back."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys

import pytest

from harness.memory import keep_freed, uncollected

FAULTS = """
import resource, sys
import numpy as np
from harness.memory import keep_freed
if len(sys.argv) > 1:
    assert keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        held = [np.full(1 << 19, number) for number in range(4)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(*options: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *options], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_freed_memory_is_kept_for_the_next_array() -> None:
    assert keep_freed()
    assert faults("keep") * 10 < faults()


def test_the_collector_works_again_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError), uncollected():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
