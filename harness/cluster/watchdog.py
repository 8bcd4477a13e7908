"""Removes a run's containers and network when the harness is gone.

`python -m harness.cluster.watchdog LABEL` waits for the end of standard input, which comes when the
harness ends, however it ends, and then removes what carries the run's label. A harness that ended
well has left nothing.
"""

from __future__ import annotations

import contextlib
import signal
import sys

import docker
from docker.errors import DockerException

LABEL = "assay.run"


def remove(client: docker.DockerClient, label: str) -> list[str]:
    """Remove containers, then networks, with this label; their names."""
    removed = []
    wanted = {"label": label}
    for container in client.containers.list(all=True, filters=wanted, ignore_removed=True):
        with contextlib.suppress(DockerException):
            container.remove(force=True, v=True)
            removed.append(str(container.name))
    for network in client.networks.list(filters=wanted):
        with contextlib.suppress(DockerException):
            network.remove()
            removed.append(str(network.name))
    return removed


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    sys.stdin.buffer.read()
    remove(docker.from_env(), f"{LABEL}={sys.argv[1]}")


if __name__ == "__main__":
    main()
