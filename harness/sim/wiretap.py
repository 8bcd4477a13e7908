"""Who sent what to whom, and when it arrived: listens to every link of a world.

    world.network.tap = Wiretap()    before the first connection

To listen changes nothing: no chance is drawn, and no callback is scheduled. Connections beside all
links, which are the harness' own, are not heard.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.sim.transport import Pipe


@dataclass(slots=True)
class Message:
    """Bytes of one write. Times are the world's nanoseconds; `arrived` is that of the last byte,
    None if it never did."""

    source: str
    target: str
    sent: int
    size: int
    arrived: int | None = None

    def since(self, zero: int) -> Message:
        """The same by a clock that began at `zero`."""
        arrived = None if self.arrived is None else self.arrived - zero
        return replace(self, sent=self.sent - zero, arrived=arrived)


class Wiretap:
    """See the module. `messages` are in order of their sending."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._under_way: dict[Pipe, deque[tuple[Message, int]]] = {}

    def sent(self, pipe: Pipe, now: int, size: int) -> None:
        message = Message(pipe.link.source, pipe.link.target, now, size)
        self.messages.append(message)
        self._under_way.setdefault(pipe, deque()).append((message, size))

    def arrived(self, pipe: Pipe, now: int, size: int) -> None:
        """A stream knows no messages: so many bytes more of it are there."""
        queue = self._under_way[pipe]
        while size:
            message, left = queue.popleft()
            if left > size:
                queue.appendleft((message, left - size))
                return
            message.arrived = now
            size -= left
