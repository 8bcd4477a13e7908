"""Shows that everybody gets something done again: every thread sends and polls, and every key is
sent to. A client that had to be given up after the healing is stuck, though the one that took its
place is not: what nothing holds back any more must be answered before an operation times out.

Blind to: a client that hung before the healing already, if its operation ended with it.

Source: the liveness mode of TigerBeetle's VOPR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness import generator as gen
from harness.errors import TimedOut
from harness.op import Kind, Op

FAR = 1_000_000
"""Values of these sends are far above all others; so far apart are those of threads on one key."""

PAUSE_S = 0.1
"""How soon a thread tries again."""

TIMED_OUT = TimedOut("").name


class Everywhere:
    """Each thread sends to its share of the keys, to each until it is acknowledged, then polls.

    Args:
        polls: whether what was acknowledged is there to be polled.
    """

    def __init__(self, keys: int, threads: int, limit_s: float, *, polls: bool = True) -> None:
        self._keys, self._threads, self._limit_s = keys, threads, limit_s
        self._shares = {
            thread: list(range(thread, keys, threads)) or [thread % keys]
            for thread in range(threads)
        }
        self._left = {(t, key) for t, share in self._shares.items() for key in share}
        self._polls = set(range(threads)) if polls else set()  # whose poll has not come back yet
        self._last: dict[tuple[int, int | str], Op] = {}
        self._began: set[int] = set()  # processes that have invoked something since the healing
        self._given_up: list[Op] = []

    @property
    def generator(self) -> Any:
        parts: list[Any] = []
        for thread, share in self._shares.items():
            sends = (self._until_sent(thread, key) for key in share)
            polls = [self._until_polled(thread, share)] if self._polls else []
            parts += [1, gen.concat(*sends, *polls)]
        return gen.time_limit(self._limit_s, gen.clients(gen.reserve(*parts, None)))

    def observe(self, op: Op) -> None:
        if not isinstance(op.process, int) or op.f not in ("send", "poll"):
            return
        thread = op.process % self._threads
        if op.type is Kind.INVOKE:
            self._began.add(op.process)
        elif op.process in self._began and op.error is not None and op.error[0] == TIMED_OUT:
            self._given_up.append(op)
        what = "poll" if op.f == "poll" else op.value[0][1]
        self._last[thread, what] = op
        if op.type is Kind.OK and op.f == "send":
            self._left.discard((thread, what))
        elif op.type is Kind.OK and any(
            messages for [_, polled] in op.value for messages in polled
        ):
            self._polls.discard(thread)

    def stuck(self) -> Sequence[str]:
        return list(self._told())

    def _told(self) -> Iterator[str]:
        for thread, key in sorted(self._left):
            op = self._last.get((thread, key))
            if op is None:
                yield f"thread {thread} did not come to send to key {key}"
            else:
                yield (
                    f"thread {thread} waits for key {key}: no send was acknowledged within "
                    f"{self._limit_s:g} s of healing; the last one, op {op.index}, got {_how(op)}"
                )
        for thread in sorted(self._polls):
            op = self._last.get((thread, "poll"))
            told = "it did not come to it" if op is None else f"op {op.index} got {_how(op)}"
            yield f"thread {thread} polled nothing within {self._limit_s:g} s of healing: {told}"
        for op in self._given_up:
            yield (
                f"process {op.process} was given up: op {op.index}, a {op.f}, began when all was "
                "healed, and had no answer until it timed out"
            )

    def _until_sent(self, thread: int, key: int) -> Any:
        base = FAR * (1 + thread // self._keys)
        attempts = range(base, base + round(self._limit_s / PAUSE_S))
        sends = (gen.Call("send", [["send", key, value]]) for value in attempts)
        return gen.until_ok(gen.delay(PAUSE_S, gen.concat(*sends)))

    def _until_polled(self, thread: int, share: Sequence[int]) -> Any:
        """From the beginning of its keys, where its own sends are at least."""
        assign = gen.Call("assign", share, extra={"seek-to-beginning": True})
        poll = gen.delay(PAUSE_S, gen.repeat(gen.Call("poll", [["poll"]])))
        return gen.concat(
            gen.until_ok(gen.delay(PAUSE_S, gen.repeat(assign))),
            gen.until(lambda: thread not in self._polls, poll),
        )


def _how(op: Op) -> str:
    if op.type is Kind.INVOKE:
        return "no answer"
    return "nothing" if op.error is None else f"{op.type.value} {op.error}"
