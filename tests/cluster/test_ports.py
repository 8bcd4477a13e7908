"""Ports are held by one cluster alone, and outside of what the kernel gives to clients."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from harness.cluster.ports import Ports


def test_two_holders_never_have_a_port_in_common() -> None:
    one, two = Ports(), Ports()
    first = {one.take() for _ in range(200)}
    second = {two.take() for _ in range(200)}
    assert len(first) == len(second) == 200 and not first & second
    assert one.taken == first
    one.release()
    two.release()
    assert one.taken == frozenset()


def test_a_port_that_is_in_use_is_not_taken() -> None:
    ports = Ports()
    port = ports.take()
    ports.release()
    with socket.create_server(("127.0.0.1", port)):
        again = Ports()
        again._candidates = iter([port, port + 1, port + 2, port + 3])
        assert again.take() != port
        again.release()


def test_a_lock_is_seen_by_other_processes_and_ends_with_its_holder() -> None:
    program = (
        "from harness.cluster.ports import _lock; import sys;"
        "print(_lock(int(sys.argv[1])) is not None)"
    )

    def can_lock(port: int) -> bool:
        done = subprocess.run(
            [sys.executable, "-c", program, str(port)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip() == "True"

    ports = Ports()
    port = ports.take()
    assert not can_lock(port)
    ports.release()
    assert can_lock(port)
    assert can_lock(port)


def test_ports_are_below_those_of_outgoing_connections() -> None:
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = Ports()
    taken = {ports.take() for _ in range(50)}
    ports.release()
    assert begin < 11_000 or max(taken) < begin
