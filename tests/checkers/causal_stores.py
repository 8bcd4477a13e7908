"""Replicated registers of known consistency, and what sessions of them read.

Each session has a replica of its own, which takes the writes of others when they are delivered.

    sequential   one register for all
    memory       causes are delivered before effects, and what comes last stays (causal memory)
    convergent   causes are delivered before effects, and the latest clock stays (convergence)
    eventual     writes are delivered in any order, the latest first as a rule
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from harness.history import History
from harness.op import Kind, Op

KINDS = ("sequential", "memory", "convergent", "eventual")


@dataclass(frozen=True)
class Write:
    clock: tuple[int, int]
    key: int
    value: int
    causes: frozenset[int]


@dataclass
class Replica:
    values: dict[int, tuple[tuple[int, int], int]] = field(default_factory=dict)
    has: set[int] = field(default_factory=set)
    clock: int = 0


def recorded(
    kind: str, rng: random.Random, operations: int, sessions: int = 4, keys: int = 2
) -> History:
    """What sessions did, one operation after another; some writes end in doubt, and are delivered
    or not."""
    replicas = [Replica() for _ in range(1 if kind == "sequential" else sessions)]
    waiting: list[tuple[int, Write]] = []
    ops: list[Op] = []
    process = list(range(sessions))
    for number in range(operations):
        session = rng.randrange(sessions)
        replica = replicas[session % len(replicas)]
        key = rng.randrange(keys)
        if rng.random() < 0.5:
            replica.clock += 1
            write = Write((replica.clock, session), key, number, frozenset(replica.has))
            kept = rng.random() < 0.9
            lost = not kept and rng.random() < 0.5
            if not lost:
                _apply(kind, replica, write)
                others = [each for each in range(len(replicas)) if replicas[each] is not replica]
                waiting += [(each, write) for each in others]
            _tell(ops, process[session], "write", [key, number], [key, number], kept)
            if not kept:
                process[session] += sessions  # somebody else goes on from here
        else:
            read = replica.values.get(key, ((0, 0), None))[1]
            _tell(ops, process[session], "read", [key, None], [key, read], True)
        for _ in range(rng.randrange(3)):
            _deliver(kind, rng, replicas, waiting)
    return History.of(ops)


def _tell(ops: list[Op], process: int, f: str, asked: object, told: object, kept: bool) -> None:
    ops.append(Op(0, len(ops), Kind.INVOKE, process, f, asked))
    ops.append(Op(0, len(ops), Kind.OK if kept else Kind.INFO, process, f, told))


def _deliver(
    kind: str, rng: random.Random, replicas: list[Replica], waiting: list[tuple[int, Write]]
) -> None:
    ready = [
        at
        for at, (where, write) in enumerate(waiting)
        if kind == "eventual" or write.causes <= replicas[where].has
    ]
    if ready:
        where, write = waiting.pop(rng.choice(ready[-3:] if kind == "eventual" else ready))
        _apply(kind, replicas[where], write)


def _apply(kind: str, replica: Replica, write: Write) -> None:
    replica.has.add(write.value)
    replica.clock = max(replica.clock, write.clock[0])
    before = replica.values.get(write.key)
    if before is None or kind in ("memory", "sequential") or before[0] < write.clock:
        replica.values[write.key] = write.clock, write.value
