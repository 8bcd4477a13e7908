"""Segments that no server reads: sent to see whether a packet rule counts them. Needs root."""

from __future__ import annotations

import contextlib
import socket
import struct

from harness.cluster.namespaces import socket_in

NOBODYS_PORT = 9  # discard: nobody listens there, so the kernel itself refuses at once


class Sender:
    """Sends from the network namespace of process `pid`, or from this one.

    Its socket is made when it is first needed; it takes whole packets and receives nothing.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._socket: socket.socket | None = None

    def send(self, source_port: int, target: str, target_port: int) -> None:
        """Raises OSError: the packet cannot leave, for another reason than a rule."""
        if self._socket is None:
            self._socket = self._make()
        # Dropped on leaving, a packet is refused to its sender, and counted all the same.
        with contextlib.suppress(PermissionError):
            self._socket.sendto(segment(source_port, target, target_port), (target, 0))

    def _make(self) -> socket.socket:
        return socket.socket(*_RAW) if self._pid is None else socket_in(self._pid, *_RAW)

    def close(self) -> None:
        """An open socket would keep its namespace in being."""
        if self._socket is not None:
            self._socket.close()


_RAW = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def segment(source_port: int, target: str, target_port: int) -> bytes:
    """An IP packet with a TCP segment that every kernel throws away: its checksum is wrong.

    The kernel that sends it fills in length, source and the checksum of the IP header.
    """
    address = socket.inet_aton(target)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 6, 0, bytes(4), address)
    reset = 0x04  # if it were read after all, it would ask for no answer
    tcp = struct.pack("!HHIIBBHHH", source_port, target_port, 0, 0, 5 << 4, reset, 0, 0xDEAD, 0)
    return ip + tcp
