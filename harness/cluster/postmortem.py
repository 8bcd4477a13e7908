"""What can be said of a process from outside: its threads' states, its end, the end of its log."""

from __future__ import annotations

import contextlib
from pathlib import Path

LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 64 * 1024


def thread_states(pid: int) -> list[str]:
    """The state letters of a process's threads (T: stopped), empty if there is no such process."""
    states = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # After the command's name, which may itself contain spaces and brackets.
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def describe(status: int) -> str:
    """A process's end in words.

    >>> describe(-9)
    'killed by signal 9'
    """
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def tail(log: Path) -> str:
    """The last lines of a log, empty if there is none."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])
    return ""


def quote(log: Path) -> str:
    """The end of a log for a message, with its path."""
    lines = tail(log).splitlines() or ["(nothing)"]
    return "\n".join([f"  the end of {log}:", *(f"    {line}" for line in lines)])
