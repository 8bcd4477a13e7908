"""Both ends of a simulated TCP connection, and the two directions of data between them.

    Transport A ── write ──▶ Pipe(A→B) ── data_received ──▶ Transport B
                ◀─────────── Pipe(B→A) ◀─────── write ─────

Pinned semantics, as a kernel's TCP shows them:
    - Bytes arrive in order, at once or in pieces; what was written apart may arrive together.
    - Over a cut link bytes are held, ends and resets too; nobody notices until it heals. What had
      arrived before is the receiver's, though it may be paused or not read.
    - A process that is killed, or aborts, resets its connections if something that came was not
      read, else ends them; what it wrote beyond the kernel's buffer is lost. A machine that loses
      power says nothing; whoever writes to it once it is up again is reset.
    - Writing to a side that is gone comes back as a reset.
    - `pause_writing` when more than the kernel's buffer and the protocol's limit are under way.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.sim.scheduler import Handle

if TYPE_CHECKING:
    from harness.sim.links import Link
    from harness.sim.loop import SimLoop
    from harness.sim.network import Server

KERNEL_BYTES = 256 << 10
"""Under way or waiting to be read, before the writing side's own buffer fills."""

READ_BYTES = 256 << 10
"""At once, as asyncio's transports read: whoever then pauses gets no more."""

HIGH_WATER = 64 << 10

END, RESET, OPEN = b"", None, ()
"""What travels beside bytes: all of it is false. OPEN is the third packet of a handshake."""

Data = bytes | None | tuple[()]


def reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


class Socket:
    """What `get_extra_info("socket")` gives: names and options, and nothing to send with."""

    def __init__(self, here: tuple[str, int], there: tuple[str, int] | None) -> None:
        self._here, self._there = here, there

    def getsockname(self) -> tuple[str, int]:
        return self._here

    def getpeername(self) -> tuple[str, int]:
        if self._there is None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return self._there

    def setsockopt(self, *option: Any) -> None:
        return

    def getsockopt(self, *option: Any) -> int:
        return 0

    def fileno(self) -> int:
        return -1


class Pipe:
    """One direction of one connection, over one link."""

    __slots__ = (
        *("_expected", "_handle", "_last", "_queue", "_rng", "held", "in_flight", "link"),
        *("receiver", "sender", "waiting"),
    )

    def __init__(self, link: Link, sender: Transport, receiver: Transport) -> None:
        self.link, self.sender, self.receiver = link, sender, receiver
        self.in_flight = 0
        self.held = False  # the link is cut: `flow` goes on
        self.waiting = False  # the receiver does not read: `flow` goes on
        self._queue: deque[tuple[int, Data]] = deque()
        self._rng = link.chance()
        self._last = 0
        self._expected = False  # an arrival is on the scheduler's list
        loop = receiver.loop
        self._handle = Handle(self.arrive, (), loop, loop.context)
        link.pipes[self] = None

    def send(self, data: Data) -> None:
        """Bytes, END, RESET or OPEN: on their way."""
        scheduler = self.receiver.loop.scheduler
        now = scheduler.now
        size = len(data) if data else 0
        arrival = now + self.link.delay_ns(now, size, self._rng)
        if arrival < self._last:
            arrival = self._last
        self._last = arrival
        self.in_flight += size
        self._queue.append((arrival, data))
        self.link.pipes[self] = None
        if self.link.tap is not None and size:
            self.link.tap.sent(self, now, size)
        if not self._expected and not self.held and not self.waiting:
            self._expected = True
            scheduler.at(arrival, self._handle)

    def flow(self) -> None:
        """What held the bytes is over. They need as long as if they left now."""
        self.held = False
        cut_at, queue = self.link.cut_at, self._queue
        if queue and queue[-1][0] > cut_at:
            now = self.receiver.loop.scheduler.now
            first = now + self.link.delay_ns(now, 0, self._rng)
            self._last = max(self._last, first)
            for at, (when, data) in enumerate(queue):
                if when > cut_at:
                    queue[at] = max(when, first), data
        self._expect_next()

    def resumed(self) -> None:
        """The receiver reads again what the kernel has kept for it."""
        if self.waiting:
            self.waiting = False
            if self._queue and not self._expected and not self.held:
                self._expect(max(self._queue[0][0], self.receiver.loop.scheduler.now))

    def arrive(self) -> None:
        """Hand over everything that has come by now, on the receiver's loop."""
        self._expected = False
        receiver, queue, link = self.receiver, self._queue, self.link
        now = due = receiver.loop.scheduler.now
        if link.cut:
            due = link.cut_at  # by then the rest was not in the receiver's kernel
            if not queue or queue[0][0] > due:
                # With nothing to hold (it was dropped) the link would not tell it when it heals.
                self.held = bool(queue)
                return
        if receiver.listener is not None and queue and queue[0][1] is OPEN:
            if queue[0][0] <= due:
                queue.popleft()
                receiver.accept()
            self._expect_next()
            return
        if receiver.paused and not receiver.closed:
            self.waiting = True
            return
        came: list[bytes] = []
        room = READ_BYTES
        while queue and queue[0][0] <= due and room > 0:
            when, data = queue[0]
            if came and not data:
                break  # the end is for the next turn: a reader that pauses now does not read it
            queue.popleft()
            if not data:
                if not queue:
                    self.link.pipes.pop(self, None)
                self._expect_next()
                receiver.ended(data is RESET)
                return
            if len(data) > READ_BYTES:
                queue.appendleft((when, data[READ_BYTES:]))
                data = data[:READ_BYTES]
            room -= len(data)
            first = len(data) if link.cut else link.pieces(data, self._rng)
            came.append(data[:first] if first < len(data) else data)
            if first < len(data):
                later = now + self.link.delay_ns(now, len(data) - first, self._rng)
                self._last = max(self._last, later)
                queue.appendleft((later, data[first:]))
        self._hand_over(came)
        self._expect_next()

    def drop(self) -> None:
        """What is under way is lost."""
        self._queue.clear()
        self.in_flight = 0
        self.held = False  # the link forgets this pipe, and would not tell it when it heals
        self.link.pipes.pop(self, None)

    def outlive(self, kernel: SimLoop) -> None:
        """The receiving process is gone; its kernel still answers."""
        self._handle.cancel()
        self._handle = Handle(self.arrive, (), kernel, kernel.context)
        self._expected = False
        self._expect_next()

    def trim(self) -> None:
        """The sending process is gone, and with it what the kernel had not taken yet."""
        while self.in_flight > KERNEL_BYTES:
            when, data = self._queue.pop()
            size = len(data) if data else 0
            kept = max(size - (self.in_flight - KERNEL_BYTES), 0)
            self.in_flight -= size - kept
            if data and kept:
                self._queue.append((when, data[:kept]))

    @property
    def unread(self) -> bool:
        """Whether bytes wait in the receiver's kernel."""
        link = self.link
        due = link.cut_at if link.cut else self.receiver.loop.scheduler.now
        return any(data for when, data in self._queue if when <= due)

    def _hand_over(self, came: list[bytes]) -> None:
        if not came:
            return
        data = came[0] if len(came) == 1 else b"".join(came)
        self.in_flight -= len(data)
        self.link.carried += len(data)
        if self.link.tap is not None:
            self.link.tap.arrived(self, self.receiver.loop.scheduler.now, len(data))
        self.sender.drained()
        self.receiver.received(data)

    def _expect_next(self) -> None:
        if self._queue and not self._expected and not self.held and not self.waiting:
            self._expect(self._queue[0][0])

    def _expect(self, when: int) -> None:
        self._expected = True
        scheduler = self.receiver.loop.scheduler
        scheduler.at(max(when, scheduler.now), self._handle)


class Transport(asyncio.Transport):
    """One end.

    Attributes:
        loop: the incarnation that it belongs to. out: where writes go. peer: the other end.
        listener: who is to accept it, until the third packet of the handshake has come.
        closed: nothing is handed over any more. dead: its host is; it has no effects.
        paused: the protocol does not read.
    """

    def __init__(
        self,
        loop: SimLoop,
        here: tuple[str, int],
        there: tuple[str, int],
        forget: Callable[[Transport], None],
    ) -> None:
        super().__init__({"sockname": here, "peername": there, "socket": Socket(here, there)})
        self.loop = loop
        self.listener: Server | None = None
        self.out: Pipe
        self.peer: Transport
        self.closed = False
        self.paused = True  # until somebody reads
        self.silent = False  # its machine lost power: nothing comes back from it
        self._forget = forget
        self._protocol: asyncio.BaseProtocol | None = None
        self._buffered: asyncio.BufferedProtocol | None = None
        self._closing = self._eof_sent = self._eof_seen = self._lost = False
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._protocol_paused = False

    def join(self, peer: Transport, there: Link, back: Link) -> None:
        """Connect two ends, over the links in both directions."""
        self.peer, peer.peer = peer, self
        self.out, peer.out = Pipe(there, self, peer), Pipe(back, peer, self)

    # -- asyncio's side ----------------------------------------------------------------------

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        is_buffered = isinstance(protocol, asyncio.BufferedProtocol)
        self._buffered = protocol if is_buffered else None  # type: ignore[assignment]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data: expecting a bytes-like object, got {type(data).__name__}")
        if self._eof_sent:
            raise RuntimeError("cannot write after write_eof()")
        if not data or self.closed or self._closing or self.loop.dead:
            return
        out = self.out
        out.send(bytes(data))
        if out.in_flight > KERNEL_BYTES + self._high and not self._protocol_paused:
            self._protocol_paused = True
            self.get_protocol().pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._eof_sent and not self.closed and not self.loop.dead:
            self._eof_sent = True
            self.out.send(END)

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing or self.closed

    def is_reading(self) -> bool:
        return not self.paused and not self.is_closing()

    def pause_reading(self) -> None:
        if not self.is_closing():
            self.paused = True

    def resume_reading(self) -> None:
        if self.paused and not self.is_closing():
            self.paused = False
            self.peer.out.resumed()

    def get_write_buffer_size(self) -> int:
        return max(self.out.in_flight - KERNEL_BYTES, 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 4 * low if low is not None else HIGH_WATER
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low

    def close(self) -> None:
        """The kernel sends what was written; a process does not wait for that."""
        if self._closing or self.closed or self.loop.dead:
            return
        self._closing = True
        if not self.get_write_buffer_size():
            self._finish(None)

    def abort(self) -> None:
        """Close the socket at once, as asyncio does."""
        if not self.closed and not self.loop.dead:
            self._leave()
            self._end(None)

    # -- the network's side ------------------------------------------------------------------

    def made(self, protocol: asyncio.BaseProtocol) -> None:
        self.set_protocol(protocol)
        self.paused = False
        protocol.connection_made(self)  # which may pause reading at once
        if self.is_reading():
            self.peer.out.resumed()  # what came before there was somebody to read it

    def accept(self) -> None:
        """The handshake is complete, and there is somebody to take it, or not any more."""
        listener, self.listener = self.listener, None
        assert listener is not None
        if not self.closed and listener.is_serving():
            self.made(listener.factory())
        else:
            self.closed = True
            self._forget(self)
            self._refuse()

    def received(self, data: bytes) -> None:
        if self.closed:
            self._refuse()
            return
        if self._closing:
            return  # asyncio reads no more once it is closing
        if self._buffered is None:
            self._protocol.data_received(data)  # type: ignore[union-attr]
            return
        at = 0
        while at < len(data) and not self.closed and not self._closing:
            buffer = memoryview(self._buffered.get_buffer(len(data) - at))
            size = min(len(buffer), len(data) - at)
            buffer[:size] = data[at : at + size]
            self._buffered.buffer_updated(size)
            at += size

    def ended(self, was_reset: bool) -> None:
        """The other side ended its direction, or everything."""
        if self.closed or self.silent:
            return
        if was_reset:
            self._end(reset_error())
        elif not self._eof_seen:
            self._eof_seen = True
            if not self._closing and not self._protocol.eof_received():  # type: ignore[union-attr]
                self.close()

    def drained(self) -> None:
        """Some of what was written arrived."""
        if self._closing and not self.closed:
            if not self.get_write_buffer_size():
                self._finish(None)
        elif self._protocol_paused and self.get_write_buffer_size() <= self._low:
            self._protocol_paused = False
            self.loop.call_soon(self._resume_writing, context=self.loop.context)

    def kill(self, kernel: SimLoop) -> None:
        """The process is gone: its kernel tells the other side, when the link lets it."""
        if not self.closed:
            self.closed = True
            self._leave()
        self.peer.out.outlive(kernel)
        self._forget(self)

    def vanish(self) -> None:
        """It never came to be."""
        self.closed = self.silent = True
        self.out.drop()
        self._forget(self)

    def go_silent(self, kernel: SimLoop) -> None:
        """The machine is without power."""
        self.closed = self.silent = True
        self.out.drop()
        self.peer.out.outlive(kernel)
        self._forget(self)

    def wake(self) -> None:
        """The machine is up again, and knows nothing of this connection."""
        self.silent = False

    def reset(self) -> None:
        """As a middlebox does it: this side learns it now, and nothing more arrives."""
        self.out.drop()
        if not self.closed:
            self.loop.call_soon(self._end, reset_error(), context=self.loop.context)

    def _leave(self) -> None:
        """What the kernel does when a process lets go of a socket that has more to send."""
        self.out.trim()
        if self.peer.out.unread or self.listener is not None:
            self.out.send(RESET)
        elif not self._eof_sent:
            self.out.send(END)

    def _refuse(self) -> None:
        """Bytes for somebody who is not there: the kernel answers with a reset."""
        if not self.silent and not self._lost:
            self._lost = True
            self.out.send(RESET)

    def _finish(self, error: Exception | None) -> None:
        """Orderly: the other side reads to the end."""
        if not self._eof_sent:
            self._eof_sent = True
            self.out.send(END)
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self.closed:
            return
        self.closed = self._closing = True
        self._forget(self)
        if error is not None:
            self.out.drop()
        self.loop.call_soon(self._connection_lost, error, context=self.loop.context)

    def _connection_lost(self, error: Exception | None) -> None:
        self.peer.out.resumed()
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def _resume_writing(self) -> None:
        if not self.closed and self._protocol is not None:
            self._protocol.resume_writing()
