"""Causal consistency by its definitions: every order of every choice of what happened. Slow, plain.

It shares nothing with the checkers. Histories are lists of `Access`; a write in doubt may be left
out, and comes after what its session had done and before nothing of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from harness.history import History
from harness.op import Kind, Op


@dataclass(frozen=True)
class Access:
    """A read or a write; `value` None is the initial one."""

    number: int
    session: int
    write: bool
    key: int
    value: int | None
    sure: bool = True


def drawn(rng: random.Random, operations: int, keys: int = 2, sessions: int = 3) -> list[Access]:
    """Random operations, in the order of their sessions; reads of anything that is written."""
    shapes = [
        (rng.randrange(sessions), rng.random() < 0.5, rng.randrange(keys))
        for _ in range(operations)
    ]
    found = []
    for number, (session, write, key) in enumerate(shapes):
        if write:
            found.append(Access(number, session, True, key, number + 1, rng.random() < 0.8))
        else:
            written = [n + 1 for n, (_, is_write, k) in enumerate(shapes) if is_write and k == key]
            found.append(Access(number, session, False, key, rng.choice([None, *written])))
    return found


def history_of(accesses: Sequence[Access]) -> History:
    """Operations one after another, those in doubt without an end."""
    ops: list[Op] = []
    for one in accesses:
        process = one.session
        asked = [one.key, one.value if one.write else None]
        f = "write" if one.write else "read"
        ops.append(Op(0, len(ops), Kind.INVOKE, process, f, asked))
        kind = Kind.OK if one.sure else Kind.INFO
        ops.append(Op(0, len(ops), kind, process, f, [one.key, one.value]))
    return History.of(ops)


class World:
    """One choice of what happened, with its causal order."""

    def __init__(self, accesses: Sequence[Access]) -> None:
        self.all = list(accesses)
        self.writer = {(one.key, one.value): one for one in self.all if one.write}
        self.after: dict[Access, set[Access]] = {one: set() for one in self.all}
        for one in self.all:
            for other in self.all:
                session = one.session == other.session and one.number < other.number and one.sure
                read = not other.write and self.writer.get((other.key, other.value)) == one
                if session or read:
                    self.after[one].add(other)
        for middle in self.all:
            for one in self.all:
                if middle in self.after[one]:
                    self.after[one] |= self.after[middle]
        self.past = {
            one: {other for other in self.all if one in self.after[other]} for one in self.all
        }

    @property
    def sound(self) -> bool:
        """Nothing comes before itself, and nothing was read that was not written."""
        reads = (one for one in self.all if not one.write and one.value is not None)
        return all(one not in self.after[one] for one in self.all) and all(
            (one.key, one.value) in self.writer for one in reads
        )

    def orders(self, some: Iterable[Access]) -> Iterator[tuple[Access, ...]]:
        """All orders of some operations that agree with causal order."""
        for order in permutations(some):
            if not any(
                earlier in self.after[later]
                for at, later in enumerate(order)
                for earlier in order[:at]
            ):
                yield order

    def causal(self) -> bool:
        """Of each read, some order of its past explains it."""
        return self.sound and all(
            any(_explains(order, {one}) for order in self.orders([*self._writes(one), one]))
            for one in self.all
            if not one.write
        )

    def _writes(self, read: Access) -> list[Access]:
        return [one for one in self.past[read] if one.write]

    def convergent(self) -> bool:
        """One order of all writes explains each read, of which it has the past."""
        if not self.sound:
            return False
        reads = [one for one in self.all if not one.write]
        writes = [one for one in self.all if one.write]
        return any(
            all(
                _explains((*(w for w in order if w in self.past[read]), read), {read})
                for read in reads
            )
            for order in self.orders(writes)
        )

    def memory(self) -> bool:
        """For each session, one order of all writes and its own reads explains these."""
        if not self.sound:
            return False
        writes = [one for one in self.all if one.write]
        for session in {one.session for one in self.all}:
            mine = {one for one in self.all if one.session == session and not one.write}
            if not any(_explains(order, mine) for order in self.orders([*writes, *mine])):
                return False
        return True


def _explains(order: Sequence[Access], reads: set[Access]) -> bool:
    """Whether each of these reads has the value that was written last before it."""
    values: dict[int, int | None] = {}
    for one in order:
        if one.write:
            values[one.key] = one.value
        elif one in reads and values.get(one.key) != one.value:
            return False
    return True


def worlds(accesses: Sequence[Access]) -> Iterator[World]:
    """Every choice of which writes in doubt happened."""
    doubtful = [one for one in accesses if not one.sure]
    for count in range(len(doubtful) + 1):
        for left_out in combinations(doubtful, count):
            yield World([one for one in accesses if one not in left_out])


def models(accesses: Sequence[Access]) -> set[str]:
    """The models that the history keeps."""
    found = set()
    for world in worlds(accesses):
        if world.causal():
            found.add("cc")
        if world.convergent():
            found.add("ccv")
        if world.memory():
            found.add("cm")
    return found
