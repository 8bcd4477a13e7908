"""Sockets in the network namespaces of other processes.

A socket belongs to the namespace in which it was made, whoever uses it. So a thread that enters a
namespace, makes a socket and ends gives this process a foot in there. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)  # os.setns is only there from Python 3.12 on


def socket_in(pid: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket in the network namespace of process `pid`. The caller closes it.

    Raises:
        OSError: there is no such process, or this one may not enter its namespace.
    """
    made: Future[socket.socket] = Future()

    def enter_and_make() -> None:
        try:
            fd = os.open(Path(f"/proc/{pid}/ns/net"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), "setns")
                made.set_result(socket.socket(family, kind, protocol))
            finally:
                os.close(fd)
        except BaseException as error:
            made.set_exception(error)

    # A thread of its own, never one of a pool: it stays in the namespace until it ends.
    Thread(target=enter_and_make, name=f"namespace of {pid}", daemon=True).start()
    return made.result()
