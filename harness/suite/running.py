"""One command of assay in a process of its own, within a budget of time.

A process of its own, since a simulated run must hash like every other, and since what one job does
to its process is no other job's affair. It ends however this one ends. Interrupted, by a signal or
since its time is up, it gets the time that a run needs to heal and to judge what there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

GRACE_S = 120.0
"""What healing, final reads and judging may take after an interrupt."""

INTERRUPTED = "interrupted"

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; negative for the signal that ended it.
        out, err: all that it said.
        cut_short: "the time was up" or "interrupted"; None if it came to its own end.
    """

    status: int
    out: str
    err: str
    cut_short: str | None
    took_s: float


def run(words: Sequence[str], budget_s: float, notes: Path) -> Ended:
    """The command `assay WORDS`, to its end. What it says goes to files that begin with `notes`.

    Raises:
        KeyboardInterrupt: a second one came; the command is gone.
    """
    began = time.monotonic()
    out, err = notes.with_name(f"{notes.name}.json"), notes.with_name(f"{notes.name}.log")
    cut_short = None
    with out.open("wb") as saying, err.open("wb") as telling:
        child = subprocess.Popen(
            [sys.executable, "-m", "harness.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=saying,
            stderr=telling,
            start_new_session=True,  # a terminal's Ctrl-C is passed on once, not sent twice
            preexec_fn=partial(_begin, os.getpid()),
        )
        try:
            try:
                child.wait(budget_s)
            except subprocess.TimeoutExpired:
                cut_short = "the time was up"
            except KeyboardInterrupt:
                cut_short = INTERRUPTED
            if cut_short is not None:
                _interrupt(child)
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    said, told = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    return Ended(child.returncode, said, told, cut_short, time.monotonic() - began)


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)  # to it alone, who knows what to do with those below it
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)


def _begin(parent: int) -> None:
    """In the new process: it can be interrupted even where we cannot, and ends with us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before it could be said
