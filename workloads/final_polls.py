"""Reads every partition to its end, after healing, with fresh clients.

Each thread crashes its client, so that a new one opens; takes all keys from the beginning; asks the
leaders for the end offsets; polls for some seconds; and begins again, since a client may be wedged
for good. It ends when somebody has read every key to its end, or at the deadline. A key that nobody
could read to its end is *stuck*, and named.

Where a key ends is the largest of what any client of the run has seen (acknowledged, polled) and
what its leader tells now. Where acknowledged messages are lost, nobody will ever read so far: there
the leader's word counts once it has told the same for `SETTLE_S`, and what is missing is the
checker's business.

Source: jepsen.tests.kafka (`final-polls`), whose polls never end where a message is lost, and whose
clients live until the deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness import generator as gen
from harness.op import Kind, Op, Process

NS = 1_000_000_000

CLIENT_S = 8.0
"""How long a client may try before a fresh one does."""

PAUSE_S = 0.2
"""Between attempts of a thread, so that it does not fill the history with failures."""

SETTLE_S = 3.0
"""How long a leader must tell the same end before it is believed to have lost the rest: longer than
an election, after which a leader may not know its end at once."""


class Ends:
    """The highest next offset of each key that any client has seen. Clients note, reads compare."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def note(self, key: int, end: int) -> None:
        if end > self._seen.get(key, 0):
            self._seen[key] = end

    def of(self, key: int) -> int:
        return self._seen.get(key, 0)


class FinalPolls:
    """Watches the final polls and says when all is read."""

    def __init__(self, keys: Iterable[int], timeout_s: float, ends: Ends) -> None:
        self._keys = tuple(keys)
        self._timeout_s = timeout_s
        self._ends = ends
        self._told: dict[int, tuple[int, int]] = {}  # key → end, since when its leader tells it
        self._told_at: dict[int, int] = {}  # key → when it was told last
        self._asking: set[Process] = set()
        self._fresh: set[Process] = set()  # processes that took all keys from the beginning
        self._read: dict[int, int] = {}  # the next offset after the last one read by one of these

    @property
    def generator(self) -> Any:
        everything = gen.Call("assign", list(self._keys), extra={"seek-to-beginning": True})
        ask = gen.Call("list-offsets")
        poll = gen.Call("poll", [["poll"]])
        look = gen.concat(
            gen.until_ok(gen.delay(PAUSE_S, gen.repeat(everything))),
            gen.until_ok(gen.delay(PAUSE_S, gen.repeat(ask))),
            gen.cycle(gen.concat(gen.limit(POLLS, gen.repeat(poll)), gen.once(ask))),
        )
        client = gen.concat(gen.once(gen.Call("crash")), gen.time_limit(CLIENT_S, look))
        reader = gen.cycle(client)
        everybody = gen.clients(gen.each_thread(reader))
        return gen.time_limit(self._timeout_s, gen.until(self.caught_up, everybody))

    def observe(self, op: Op) -> None:
        if op.f == "assign":
            self._observe_assign(op)
        elif op.type is not Kind.OK:
            return
        elif op.f == "list-offsets":
            self._observe_ends(op.value, op.time)
        elif op.f == "poll" and op.process in self._fresh:
            for key, messages in op.value[0][1].items():
                if messages:
                    after = messages[-1][0] + 1
                    self._read[int(key)] = max(after, self._read.get(int(key), 0))

    def caught_up(self) -> bool:
        return all(self._stuck(key) is None for key in self._keys)

    def stuck(self) -> Sequence[str]:
        return [reason for key in self._keys if (reason := self._stuck(key))]

    def _observe_assign(self, op: Op) -> None:
        # Only the invocation says where it reads from.
        if op.type is Kind.INVOKE and (op.extra or {}).get("seek-to-beginning"):
            self._asking.add(op.process)
        elif op.type is Kind.OK and op.process in self._asking:
            self._fresh.add(op.process)

    def _observe_ends(self, told: Mapping[str, int], now: int) -> None:
        for name, end in told.items():
            key = int(name)
            since = self._told[key][1] if self._told.get(key, (None, 0))[0] == end else now
            self._told[key], self._told_at[key] = (end, since), now

    def _stuck(self, key: int) -> str | None:
        if key not in self._told:
            return f"key {key}: no leader told where it ends"
        read, (told, since) = self._read.get(key, 0), self._told[key]
        end = max(told, self._ends.of(key))
        if read >= end:
            return None
        settled = self._told_at[key] - since >= SETTLE_S * NS
        if read >= told and settled:
            return None
        return f"key {key}: read up to offset {read} of {end}, where its leader tells {told}"


POLLS = 10
"""Polls of a client before it asks its leaders again."""
