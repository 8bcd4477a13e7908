"""Ctrl-C between simulated runs, never within one.

A `KeyboardInterrupt` is raised wherever the process happens to be. In a simulated world that is, as
a rule, in the code of a node, which would end itself: the signal would be taken for its crash, and
nobody would be interrupted. So a first signal is noted only, and whoever runs one seed after
another looks at the note between them; a run takes a second or two. A second signal is raised.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Between two runs. Raises KeyboardInterrupt."""
        if self.asked:
            raise KeyboardInterrupt

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self.check()
        self.asked = True


@contextlib.contextmanager
def noted() -> Iterator[Interrupts]:
    """SIGINT and SIGTERM are noted."""
    interrupts = Interrupts()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {signum: signal.signal(signum, interrupts._hear) for signum in signals}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
