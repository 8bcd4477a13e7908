"""Shows that everybody gets something done again: every thread sends, and every key is sent to.

Source: the liveness mode of TigerBeetle's VOPR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness import generator as gen
from harness.op import Kind, Op

FAR = 1_000_000
"""Values of these sends are far above all others; so far apart are those of threads on one key."""

PAUSE_S = 0.1
"""How soon a thread tries again."""


class Everywhere:
    """Each thread sends to its share of the keys, to each until it is acknowledged."""

    def __init__(self, keys: int, threads: int, limit_s: float) -> None:
        self._keys, self._threads, self._limit_s = keys, threads, limit_s
        self._shares = {
            thread: list(range(thread, keys, threads)) or [thread % keys]
            for thread in range(threads)
        }
        self._left = {(t, key) for t, share in self._shares.items() for key in share}
        self._last: dict[tuple[int, int], Op] = {}

    @property
    def generator(self) -> Any:
        parts: list[Any] = []
        for thread, share in self._shares.items():
            parts += [1, gen.concat(*(self._until_sent(thread, key) for key in share))]
        return gen.time_limit(self._limit_s, gen.clients(gen.reserve(*parts, None)))

    def observe(self, op: Op) -> None:
        if not isinstance(op.process, int) or op.f != "send":
            return
        place = (op.process % self._threads, op.value[0][1])
        if op.type is Kind.OK:
            self._left.discard(place)
        self._last[place] = op

    def stuck(self) -> Sequence[str]:
        return list(self._told())

    def _told(self) -> Iterator[str]:
        for thread, key in sorted(self._left):
            op = self._last.get((thread, key))
            if op is None:
                yield f"thread {thread} did not come to send to key {key}"
            else:
                how = "no answer" if op.type is Kind.INVOKE else f"{op.type.value} {op.error}"
                yield (
                    f"thread {thread} waits for key {key}: no send was acknowledged within "
                    f"{self._limit_s:g} s of healing; the last one, op {op.index}, got {how}"
                )

    def _until_sent(self, thread: int, key: int) -> Any:
        base = FAR * (1 + thread // self._keys)
        attempts = range(base, base + round(self._limit_s / PAUSE_S))
        sends = (gen.Call("send", [["send", key, value]]) for value in attempts)
        return gen.until_ok(gen.delay(PAUSE_S, gen.concat(*sends)))
