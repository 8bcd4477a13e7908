"""A first signal is noted, and looked at between runs; a second one is raised."""

from __future__ import annotations

import os
import signal

import pytest

from harness.explore.interrupts import noted


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_raised_between_two_runs(signum: int) -> None:
    before = signal.getsignal(signum)
    with noted() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), signum)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signum) == before


def test_a_second_signal_is_raised_at_once() -> None:
    with noted():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
