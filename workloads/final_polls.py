"""Reads every partition to its end, after healing, with fresh clients.

Each thread crashes its client, so that a new one opens; takes all keys from the beginning; asks the
leaders for the end offsets; and polls until somebody has read every key up to its end. A key whose
end nobody could tell, or that nobody could read up to it, is stuck, and named.

The end of a key is the largest of: what a leader answered after healing. An offset that was
acknowledged and lies beyond it is the checker's business: there will never be anything to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness import generator as gen
from harness.op import Kind, Op


class FinalPolls:
    """Watches the final polls and says when all is read."""

    def __init__(self, keys: Iterable[int], timeout_s: float) -> None:
        self._keys = tuple(keys)
        self._timeout_s = timeout_s
        self._ends: dict[int, int] = {}
        self._read: dict[int, int] = {}  # the next offset after the last one read
        self._fresh: set[Any] = set()  # processes that took all keys from the beginning

    @property
    def generator(self) -> Any:
        everything = gen.Call("assign", list(self._keys), extra={"seek-to-beginning": True})
        polls = gen.repeat(gen.Call("poll", [["poll"]]))
        reader = gen.concat(
            gen.once(gen.Call("crash")),
            gen.until_ok(gen.repeat(everything)),
            gen.until_ok(gen.stagger(0.2, gen.repeat(gen.Call("list-offsets")))),
            polls,
        )
        return gen.time_limit(
            self._timeout_s, gen.until(self.caught_up, gen.clients(gen.each_thread(reader)))
        )

    def observe(self, op: Op) -> None:
        if op.type is not Kind.OK:
            return
        if op.f == "list-offsets":
            for key, end in op.value.items():
                self._ends[int(key)] = max(end, self._ends.get(int(key), 0))
        elif op.f == "assign" and (op.extra or {}).get("seek-to-beginning"):
            self._fresh.add(op.process)
        elif op.f == "poll" and op.process in self._fresh:
            for key, messages in op.value[0][1].items():
                if messages:
                    after = messages[-1][0] + 1
                    self._read[int(key)] = max(after, self._read.get(int(key), 0))

    def caught_up(self) -> bool:
        return not self.stuck()

    def stuck(self) -> Sequence[str]:
        return [reason for key in self._keys if (reason := self._stuck(key))]

    def _stuck(self, key: int) -> str | None:
        if key not in self._ends:
            return f"key {key}: no leader told its end offset"
        end, read = self._ends[key], self._read.get(key, 0)
        return f"key {key}: read up to offset {read} of {end}" if read < end else None
