"""What is sent to which key, and which keys are read: generators for workloads on a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import generator as gen
from harness.op import Kind, Op

UNSEEN_P = 1 / 3
"""How many assignments get the keys that have unseen messages."""


class Sends(gen.Generator):
    """Sends to random keys; `sent[k]` values of key k are used up."""

    __slots__ = ("per_op", "sent")

    def __init__(self, sent: tuple[int, ...], per_op: int = 1) -> None:
        self.sent, self.per_op = sent, per_op

    def op(self, context: gen.Context) -> gen.Step:
        sent = list(self.sent)
        mops = []
        for _ in range(context.rng.randint(1, self.per_op)):
            key = context.rng.randrange(len(sent))
            mops.append(["send", key, sent[key]])
            sent[key] += 1
        call = gen.fill_in(gen.Call("send", mops), context)
        if not isinstance(call, gen.Call):
            return call
        return call, Sends(tuple(sent), self.per_op)


class First(gen.Generator):
    """What `first` has to say goes before `rest`; ends when `rest` does."""

    __slots__ = ("first", "listens", "rest")

    def __init__(self, first: gen.Generator, rest: gen.Generator) -> None:
        assert not first.listens
        self.first, self.rest = first, rest
        self.listens = rest.listens

    def op(self, context: gen.Context) -> gen.Step:
        step = self.first.op(context)
        if isinstance(step, tuple):
            return step[0], First(step[1], self.rest)
        step = self.rest.op(context)
        return (step[0], First(self.first, step[1])) if isinstance(step, tuple) else step

    def update(self, context: gen.Context, event: Op) -> gen.Generator:
        return First(self.first, self.rest.update(context, event)) if self.listens else self


class PollUnseen(gen.Generator):
    """Adds keys to some assignments: those whose newest message nobody has polled yet.

    Else a message whose readers all went elsewhere would stay unseen until the final reads.
    `sent` and `polled` are the newest value of each key; values of a key ascend.
    Source: jepsen.tests.kafka (`poll-unseen`).
    """

    __slots__ = ("child", "polled", "sent")
    listens = True

    def __init__(
        self, child: gen.Generator, sent: Mapping[int, int], polled: Mapping[int, int]
    ) -> None:
        self.child, self.sent, self.polled = child, sent, polled

    def op(self, context: gen.Context) -> gen.Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        if call.f == "assign" and context.rng.random() < UNSEEN_P:
            unseen = [k for k, value in self.sent.items() if self.polled.get(k, -1) < value]
            keys = sorted({*call.value, *unseen})
            call = gen.Call(call.f, keys, call.process, call.time, call.type, call.extra)
        return call, PollUnseen(after, self.sent, self.polled)

    def update(self, context: gen.Context, event: Op) -> gen.Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        sent, polled = self.sent, self.polled
        if event.type is Kind.OK and event.f == "send":
            sent = _newest(sent, ((key, message) for _, key, message in event.value))
        elif event.type is Kind.OK and event.f == "poll":
            polled = _newest(polled, _last_of_each(event.value))
        return PollUnseen(child, sent, polled)


def _last_of_each(mops: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
    for _, *polled in mops:
        for by_key in polled:
            yield from ((int(key), messages[-1]) for key, messages in by_key.items() if messages)


def _newest(known: Mapping[int, int], found: Iterable[tuple[int, Any]]) -> Mapping[int, int]:
    newest = dict(known)
    for key, message in found:
        value = message[1] if isinstance(message, list) else message
        if isinstance(value, int):
            newest[key] = max(value, newest.get(key, -1))
    return newest
