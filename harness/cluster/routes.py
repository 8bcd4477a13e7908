"""After a run, its addresses lead nowhere: not past this machine to somebody else.

While a run's network is there, its own route is nearer. When it is gone, a client that was
abandoned and still tries to reach a node would speak to whatever the default route leads to. A
route that says *unreachable* stands behind, for as long as the harness's process lives.

Such a route carries this project's number and, as its metric, the process that wants it; so those
of dead processes can be told and removed (`sweep`).
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

_PROTOCOL = "198"  # one that no routing daemon has
_TIMEOUT_S = 10.0
_KIND = ["type", "unreachable", "proto", _PROTOCOL]

_ours: set[str] = set()


def guard(subnet: IPv4Network) -> None:
    """Make the subnet unreachable wherever no nearer route leads to it. Idempotent."""
    sweep()
    if not _ours:
        atexit.register(_remove_ours)
    _ours.add(str(subnet))
    _ip("replace", "unreachable", str(subnet), "metric", str(os.getpid()), "proto", _PROTOCOL)


def sweep() -> list[str]:
    """Remove the routes of processes that are gone; their subnets."""
    gone = [(to, pid) for to, pid in _standing() if not Path(f"/proc/{pid}").exists()]
    for subnet, pid in gone:
        _remove(subnet, pid)
    return [subnet for subnet, _ in gone]


def _standing() -> list[tuple[str, int]]:
    """Subnet and process of each such route."""
    listed = json.loads(_ip("show", *_KIND).strip() or "[]")
    return [(route["dst"], int(route["metric"])) for route in listed]


def _remove_ours() -> None:
    for subnet in _ours:
        _remove(subnet, os.getpid())


def _remove(subnet: str, pid: int) -> None:
    _ip("del", "unreachable", subnet, "metric", str(pid), "proto", _PROTOCOL)


def _ip(*words: str) -> str:
    """What `ip route` answers; nothing where it refuses or is not installed: this is a net below
    the clients' own good manners."""
    command: Sequence[str] = ["ip", "-json", "route", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
