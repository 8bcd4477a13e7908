"""Removes a run's containers and network when the harness is gone.

`python -m harness.cluster.watchdog RUN PID` waits until standard input ends or the harness, process
PID, does; then it removes what carries the run's label. A harness that has removed everything
itself says so with a byte first.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

import docker
from docker.errors import DockerException

from harness.cluster import routes
from harness.cluster.leftovers import is_left, remove_run

DONE = b"\n"

# The engine may still be carrying out a request of a harness that died while it waited for the
# answer: a container appears after everything was removed. So look again for a while.
CALM_S = 3.0
PAUSE_S = 0.5
GIVE_UP_S = 120.0


def main() -> None:
    run, harness = sys.argv[1], int(sys.argv[2])
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # those are for the harness, which then ends in order
    if not _ended_well(harness):
        sweep(run)


def _ended_well(harness: int) -> bool:
    """Wait for the end. A fork of the harness may hold the pipe open: hence the pidfd."""
    stdin = sys.stdin.fileno()
    try:
        gone = os.pidfd_open(harness)
    except ProcessLookupError:
        return False
    ready, _, _ = select.select([stdin, gone], [], [])
    # Both at once: the byte was sent before the end.
    return stdin in ready and os.read(stdin, 1) == DONE


def sweep(run: str) -> None:
    """Remove what the run left, until nothing has appeared for a while."""
    begin = calm = time.monotonic()
    while time.monotonic() < min(calm + CALM_S, begin + GIVE_UP_S):
        try:
            with contextlib.closing(docker.from_env()) as client:
                remove_run(client, run)
                if is_left(client, run):
                    calm = time.monotonic()
        except (DockerException, OSError):
            calm = time.monotonic()  # the engine is busy, or starts again
        time.sleep(PAUSE_S)
    routes.sweep()


if __name__ == "__main__":
    main()
