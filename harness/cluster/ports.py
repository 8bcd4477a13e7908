"""Ports of 127.0.0.1 that nobody else takes while a cluster lives.

A node that is dead keeps its port reserved, so that it can come back under its address. Two rules
make that hold without a listening socket:
    - ports come from below the range from which the kernel draws the ports of outgoing
      connections; there, a dead node's port could be taken by any client, or even by a proxy's own
      attempt to connect to it (TCP allows a connection to itself);
    - two clusters of this project, of any users, exclude each other by an abstract Unix socket
      named after the port: it lives in the same network namespace as the port and vanishes with
      its process, however that ends.

Blind to: foreign programs that bind a port of ours after it was picked.
"""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random

from harness.errors import EnvironmentFailure

_FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """Ports held by this process until `release`."""

    def __init__(self) -> None:
        self._locks: dict[int, socket.socket] = {}
        self._candidates = iter(_candidates())

    def take(self) -> int:
        """A port that is free now and that no other `Ports` on this machine has.

        Raises:
            EnvironmentFailure: there is none.
        """
        for port in self._candidates:
            lock = _lock(port)
            if lock is None:
                continue
            if _is_free(port):
                self._locks[port] = lock
                return port
            lock.close()
        raise EnvironmentFailure("no TCP port is free on 127.0.0.1")

    def release(self) -> None:
        """Give all ports back. Idempotent."""
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()

    @property
    def taken(self) -> frozenset[int]:
        return frozenset(self._locks)


def _candidates() -> list[int]:
    try:
        end = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError):
        end = 32_768
    if end - _FIRST < 1_000:  # someone gave nearly all ports to the kernel: share them with it
        end = 61_000
    ports = list(range(_FIRST, end))
    # Not from the run's seed: two runs of one seed at once had better begin in different places.
    Random().shuffle(ports)
    return ports


def _lock(port: int) -> socket.socket | None:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0assay-port-{port}")
    except OSError:
        lock.close()
        return None
    return lock


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
