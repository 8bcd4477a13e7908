"""Databases of known isolation, beside those of `tests.checkers.txns`, and flaws to put into them.

Each flaw is a database of locks, which is strictly serializable, that is wrong in one way now and
then; what it may show, and what it shows sooner or later, stands beside it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.checkers.txns import Database, Running


def reads(running: Running) -> set[int]:
    return {mop[1] for mop in running.told if mop[0] == "r"}


def written(running: Running) -> set[int]:
    return {mop[1] for mop in running.told if mop[0] != "r"}


@dataclass
class Locking(Database):
    """Strict two-phase locks of what is read and written: repeatable read, and where nobody reads
    by predicate that is strict serializability."""

    def waits(self, running: Running, others: list[Running]) -> bool:
        f, key, _ = running.asked[len(running.told)]
        locked = (written(one) | (reads(one) if f != "r" else set()) for one in others)
        return any(key in keys for keys in locked)

    def _seen(self, running: Running, key: int) -> Any:
        source = running.writes if key in running.writes else self.past[-1]
        return copy.copy(source.get(key))


@dataclass
class Uncommitted(Database):
    """Read uncommitted: writes take effect at once, and are locked and undone; reads see all."""

    undo: dict[int, dict[int, Any]] = field(default_factory=dict)

    def waits(self, running: Running, others: list[Running]) -> bool:
        f, key, _ = running.asked[len(running.told)]
        return f != "r" and any(key in written(one) for one in others)

    def step(self, running: Running) -> None:
        f, key, value = running.asked[len(running.told)]
        if f == "r":
            running.told.append([f, key, copy.copy(self.state.get(key))])
            return
        running.told.append([f, key, value])
        self.undo.setdefault(id(running), {}).setdefault(key, self.state.get(key))
        self.state[key] = self._written(self.state.get(key), value)

    def commit(self, running: Running) -> bool:
        if self.rng.random() < 0.1:
            self.abort(running)
            return False
        self.undo.pop(id(running), None)
        return True

    def abort(self, running: Running) -> None:
        self.state.update(self.undo.pop(id(running), {}))


@dataclass
class Sites(Database):
    """Parallel snapshot isolation: two sites, each of which takes over the other's commits later,
    causes first. Of two that write a key one sees the other, or it fails."""

    commits: list[tuple[frozenset[int], dict[int, Any]]] = field(default_factory=list)
    there: list[set[int]] = field(default_factory=lambda: [set(), set()])
    known: dict[int, frozenset[int]] = field(default_factory=dict)

    def begin(self, process: int, asked: list[list[Any]]) -> Running:
        for site in self.there:
            for number, (causes, _) in enumerate(self.commits):
                if number not in site and causes <= site and self.rng.random() < 0.3:
                    site.add(number)
        running = Running(process, asked)
        known = frozenset(self.there[process % 2])
        self.known[id(running)] = known
        for number in sorted(known):
            running.snapshot.update(self.commits[number][1])
        return running

    def _seen(self, running: Running, key: int) -> Any:
        source = running.writes if key in running.writes else running.snapshot
        return copy.copy(source.get(key))

    def commit(self, running: Running) -> bool:
        known = self.known.pop(id(running))
        if not running.writes:
            return True
        for number, (_, writes) in enumerate(self.commits):
            if number not in known and writes.keys() & running.writes.keys():
                return False
        self.there[running.process % 2].add(len(self.commits))
        self.commits.append((known, dict(running.writes)))
        return True

    def abort(self, running: Running) -> None:
        self.known.pop(id(running))


# -- flaws ---------------------------------------------------------------------------------------


@dataclass
class Flawed(Locking):
    """Locks, and a flaw that shows now and then."""

    often = 0.2

    def now(self) -> bool:
        return self.rng.random() < self.often


@dataclass
class DirtyRead(Flawed):
    """Some reads see what others have not committed yet."""

    open: list[Running] = field(default_factory=list)

    def begin(self, process: int, asked: list[list[Any]]) -> Running:
        running = super().begin(process, asked)
        self.open.append(running)
        return running

    def waits(self, running: Running, others: list[Running]) -> bool:
        f = running.asked[len(running.told)][0]
        return False if f == "r" and self.now() else super().waits(running, others)

    def _seen(self, running: Running, key: int) -> Any:
        for one in self.open:
            if one is not running and key in one.writes and key not in running.writes:
                return copy.copy(one.writes[key])
        return super()._seen(running, key)

    def commit(self, running: Running) -> bool:
        self._end(running)
        return super().commit(running) if self.rng.random() > 0.1 else False

    def abort(self, running: Running) -> None:
        self._end(running)

    def _end(self, running: Running) -> None:
        self.open = [one for one in self.open if one is not running]


@dataclass
class LostUpdate(Flawed):
    """Reads are not locked any more: what was read may be old when it is written upon."""

    def waits(self, running: Running, others: list[Running]) -> bool:
        f, key, _ = running.asked[len(running.told)]
        return f != "r" and any(key in written(one) for one in others)


@dataclass
class StaleSnapshot(Flawed):
    """Who only reads gets an old state, whole."""

    often = 0.4

    def begin(self, process: int, asked: list[list[Any]]) -> Running:
        running = super().begin(process, asked)
        if all(mop[0] == "r" for mop in asked) and self.now():
            running.version = self.rng.randrange(len(self.past))
        else:
            running.version = -1
        return running

    def waits(self, running: Running, others: list[Running]) -> bool:
        return running.version < 0 and super().waits(running, others)

    def _seen(self, running: Running, key: int) -> Any:
        if running.version >= 0:
            return copy.copy(self.past[running.version].get(key))
        return super()._seen(running, key)


@dataclass
class FracturedRead(Flawed):
    """Some reads of who only reads see an older state than the others."""

    def _seen(self, running: Running, key: int) -> Any:
        first = key not in reads(running) and all(mop[0] == "r" for mop in running.asked)
        if first and self.now():
            return copy.copy(self.past[self.rng.randrange(len(self.past))].get(key))
        return super()._seen(running, key)


@dataclass
class AbortedWrite(Flawed):
    """Some transactions are told that they failed, and their writes stay."""

    def commit(self, running: Running) -> bool:
        return super().commit(running) and not (running.writes and self.now())


@dataclass
class Forgetful(Flawed):
    """Some acknowledged writes are gone after the commit."""

    def commit(self, running: Running) -> bool:
        if running.writes and self.now():
            return True
        return super().commit(running)


@dataclass
class OwnWritesUnseen(Flawed):
    """Some reads do not see what their own transaction has written."""

    def step(self, running: Running) -> None:
        super().step(running)
        f, key, _ = running.told[-1]
        if f == "r" and key in running.writes and self.now():
            running.told[-1][2] = copy.copy(self.past[-1].get(key))


@dataclass
class Torn(Flawed):
    """Some commits show half of what they wrote before the rest."""

    rest: dict[int, Any] = field(default_factory=dict)

    def waits(self, running: Running, others: list[Running]) -> bool:
        f, key, _ = running.asked[len(running.told)]
        return (f != "r" and key in self.rest) or super().waits(running, others)

    def begin(self, process: int, asked: list[list[Any]]) -> Running:
        if self.rest and self.rng.random() < 0.5:
            self.past.append({**self.past[-1], **self.rest})
            self.rest = {}
        return super().begin(process, asked)

    def commit(self, running: Running) -> bool:
        if len(running.writes) > 1 and not self.rest and self.rng.random() < 0.7:
            key = self.rng.choice(sorted(running.writes))
            self.rest = {key: running.writes.pop(key)}
        return super().commit(running)


@dataclass
class Twice(Flawed):
    """Some appends are done twice."""

    def _written(self, base: Any, value: Any) -> Any:
        after = super()._written(base, value)
        return [*after, value] if self.now() else after


@dataclass
class Shuffled(Flawed):
    """Some reads give a list in another order."""

    def step(self, running: Running) -> None:
        super().step(running)
        f, key, value = running.told[-1]
        if f == "r" and value and key not in written(running) and self.now():
            self.rng.shuffle(value)


@dataclass
class Invented(Flawed):
    """Some reads give a value that nobody wrote."""

    def step(self, running: Running) -> None:
        super().step(running)
        f, key, value = running.told[-1]
        if f == "r" and key not in written(running) and self.now():
            mine = 9000 + len(self.past)
            running.told[-1][2] = mine if self.registers else [*(value or []), mine]
