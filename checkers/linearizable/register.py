"""A register is linearizable: a read returns what was written last, at one moment within the read.

Reads `write` and `read`, with values, or `[key, value]` for a register of each key; a read of
nothing is null. `cas` (`[old, new]`) is judged by the search, as is a key of which a value was
written twice, or null.

Anomalies:
    stale-read        a value was read after another had replaced it
    future-read       a value was read before anybody began to write it
    phantom           a value was read that nobody tried to write
    G1a               a value was read whose write failed
    nonlinearizable   no order of the operations is legal (found by the search)

Blind to: how many reads of a value were stale: a value that was read too late is one finding, with
    one of those that had replaced it.
Cost: sorting; about 1 s for 1,000,000 operations. The search: see `search`.
Source: Gibbons & Korach, "Testing Shared Memories", SIAM J. Computing 1997.

How it works. Where each value is written once, the operations of a value stand together in any
order: its write, then its reads. Let `done` be the first end among them, and `last` the last begin.
A value that is done before another one's last begin must stand before it; so two values of which
each is done before the other's last begin contradict each other, and where no two do, all is well.
Most values are done after their last begin: all their operations overlap. Those of the others, from
`done` to `last` they are certainly the register's value, so no two of these spans may overlap, and
no value may have all of its operations within one. A write in doubt that was read did happen, and
has no end; one that nobody read can be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers import linearizable
from checkers.linearizable import values as columns
from checkers.linearizable.argue import witness, words
from checkers.linearizable.models import Register
from checkers.linearizable.values import Bools, Ints, Ops
from checkers.strangers import knows
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

Span = tuple[int, int]
"""Begin and end of an operation."""

ANOMALIES = ("stale-read", "future-read", "phantom", "G1a", "nonlinearizable")


@knows(Register.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every value that contradicts others, key by key."""
    model = Register()
    keyed = linearizable.are_keyed(history, model)
    read = columns.told(history, "read", keyed)
    write = columns.asked(history, "write", keyed)
    failed = columns.asked(history, "write", keyed, failed=True)
    if read is None or write is None or failed is None:
        return linearizable.judge(history, model, budget=linearizable.budget(contract))
    blocks = Blocks.of(history, read, write, failed)
    searched = _ambiguous(history, blocks, keyed)
    clear = np.ones(len(blocks.key), np.bool_)
    if len(searched):
        clear = ~np.isin(blocks.key, searched)
    verdict = _Findings(history, blocks, keyed, clear).verdict()
    if not len(searched):
        return verdict
    keys = {None if not keyed else history.values.decode(int(code)) for code in searched}
    rest = linearizable.judge(history, model, keys=keys, budget=linearizable.budget(contract))
    return linearizable.both(verdict, rest)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The operations of each value of a key, by number.

    Attributes:
        read, write, failed: the operations; of_read, of_write: the block of each.
        key, value: the codes of each block.
        done: the first end of an operation of the block; -1 for null, which was there at first.
        last: the last begin, -1 if there is none.
        writer: the block's write, or -1; writes: how many there are.
        fails: whether a write of the block failed.
        reads: whether anybody read it.
    """

    read: Ops
    write: Ops
    of_read: Ints
    of_write: Ints
    failed: Ops
    of_failed: Ints
    key: Ints
    value: Ints
    done: Ints
    last: Ints
    writer: Ints
    writes: Ints
    fails: Bools
    reads: Bools

    @staticmethod
    def of(history: History, read: Ops, write: Ops, failed: Ops) -> Blocks:
        groups = (read, write, failed)
        keys, _ = columns.dense(np.concatenate([ops.key for ops in groups]))
        values, codes = columns.dense(np.concatenate([ops.value for ops in groups]))
        # Each key's null is a value of its own, so that other values may be told by them alone.
        null = codes[values] == NULL if len(codes) else np.zeros(0, np.bool_)
        numbers = columns.grouped(keys, np.where(null, len(codes) + keys, values))
        count = int(numbers.max()) + 1 if len(numbers) else 0
        ends = np.cumsum([len(ops) for ops in groups])
        of_read, of_write, of_failed = np.split(numbers, ends[:-1])
        key, value = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
        for ops, block in zip(groups, (of_read, of_write, of_failed), strict=True):
            key[block], value[block] = ops.key, ops.value
        done = np.full(count, len(history), np.int64)
        last = np.full(count, -1, np.int64)
        for ops, block in ((read, of_read), (write, of_write)):
            np.minimum.at(done, block, ops.end)
            np.maximum.at(last, block, ops.begin)
        done[value == NULL] = -1
        writer = np.full(count, -1, np.int64)
        writer[of_write] = np.arange(len(write))
        fails, reads = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        fails[of_failed], reads[of_read] = True, True
        return Blocks(
            *(read, write, of_read, of_write, failed, of_failed, key, value, done, last, writer),
            *(np.bincount(of_write, minlength=count), fails, reads),
        )

    @property
    def written(self) -> Bools:
        """Which blocks have an origin: a write that may have happened, or the beginning."""
        written: Bools = (self.writer >= 0) | (self.value == NULL)
        return written

    def begun(self) -> Ints:
        """When the write of each block began; -1 if it has none."""
        if not len(self.write):
            return np.full(len(self.key), -1, np.int64)
        return np.where(self.writer >= 0, self.write.begin[self.writer], -1)


def _ambiguous(history: History, blocks: Blocks, keyed: bool) -> Ints:
    """Codes of the keys that only the search can judge."""
    twice = (blocks.writes > 1) | ((blocks.writes > 0) & (blocks.value == NULL))
    return np.unique(np.concatenate([blocks.key[twice], _swapped(history, keyed)]))


def _swapped(history: History, keyed: bool) -> Ints:
    """Codes of the keys that somebody may have changed by cas."""
    ops = columns.begins(history, "cas")
    pair = history.pair[ops]
    ops = ops[(pair < 0) | (history.type[pair] != FAIL)]
    if not keyed:
        return np.full(min(len(ops), 1), NULL, np.int64)
    keys = {value[0] for at in ops.tolist() if isinstance(value := history.values.get(at), list)}
    return np.array(sorted(key for key in keys if isinstance(key, int)), np.int64)


class _Findings:
    def __init__(self, history: History, blocks: Blocks, keyed: bool, clear: Bools) -> None:
        self.history, self.blocks, self.keyed, self.clear = history, blocks, keyed, clear
        self.begun = blocks.begun()

    def verdict(self) -> Verdict:
        blocks = self.blocks
        orphan = self.clear & blocks.reads & ~blocks.written
        early = self.clear & blocks.written & (blocks.done < self.begun)
        pairs = self._contradictions(self.clear & blocks.written & ~early)
        found = {
            "stale-read": (len(pairs[0]), map(self._stale, *(p[:EXAMPLES_MAX] for p in pairs))),
            "future-read": self._each(early, self._future),
            "phantom": self._each(orphan & ~blocks.fails, self._phantom),
            "G1a": self._each(orphan & blocks.fails, self._aborted),
        }
        return Verdict.of(
            [finding for _, findings in found.values() for finding in findings],
            counts={name: count for name, (count, _) in found.items() if count},
            stats={
                "keys": len(np.unique(blocks.key)),
                "reads": len(blocks.read),
                "writes": len(blocks.write),
            },
        )

    @staticmethod
    def _each(chosen: Bools, argue: Any) -> tuple[int, Iterator[Finding]]:
        which = np.flatnonzero(chosen)
        return len(which), map(argue, which[:EXAMPLES_MAX].tolist())

    def _contradictions(self, chosen: Bools) -> tuple[list[int], list[int]]:
        """Pairs of blocks each of which must stand before the other; one for each first block.

        Spans are compared for all keys at once: a key's positions are moved behind those of the
        key before it.
        """
        blocks, which = self.blocks, np.flatnonzero(chosen)
        shift = columns.dense(blocks.key[which])[0] * (len(self.history) + 2) + 1
        done, last = blocks.done[which] + shift, blocks.last[which] + shift
        certain = np.flatnonzero(done < last)
        certain = certain[np.argsort(done[certain])]
        # Of those that begin later, the nearest is the one that this span may reach.
        second = np.append(certain[1:], certain[:1])
        crossed = done[second] < last[certain]
        crossed[-1:] = False
        # Of those that overlap in all their operations, it is the first done of those begun within.
        rest = np.flatnonzero(done > last)
        rest = rest[np.argsort(last[rest])]
        least = np.minimum.accumulate(done[rest][::-1])[::-1]
        at = np.searchsorted(last[rest], done[certain])
        inside = np.append(least, 2**62)[at] < last[certain]
        inside &= ~crossed
        first = np.concatenate([certain[crossed], certain[inside]])
        found = rest[np.isin(done[rest], least[at[inside]])]
        found = found[np.argsort(done[found])]
        partner = found[np.searchsorted(done[found], least[at[inside]])]
        return which[first].tolist(), which[np.concatenate([second[crossed], partner])].tolist()

    # -- arguments ---------------------------------------------------------------------------------

    def _stale(self, one: int, other: int) -> Finding:
        old, new = sorted((one, other), key=lambda block: int(self.begun[block]))
        ops = _Pair(self._ops(old), self._ops(new), self._is_null(old)).least()
        a, d, c, b = ops.ends()
        former, later = self._value(old), self._value(new)
        first = "the register holds null until something is written"
        once = ""
        if a is not None:
            begun = f"before {self._words(d)} began at op {d[0]}"
            first = f"{self._words(a)} ended at op {a[1]}, {begun}: so {former} came before {later}"
            once = f", and {former} was written once"
        return self._finding(
            "stale-read",
            old,
            f"{former} was read after {later} had replaced it",
            (
                *self._origins(old, new),
                first,
                f"{self._words(c)} ended at op {c[1]}, so that {later} had come by then",
                f"however, {self._words(b)} began later, at op {b[0]}{once}: a contradiction",
            ),
            ops.all(),
        )

    def _future(self, block: int) -> Finding:
        ops = self._ops(block)
        write, read = ops[0], min(ops[1:], key=lambda op: op[1])
        return self._finding(
            "future-read",
            block,
            f"{self._value(block)} was read before anybody began to write it",
            (
                f"{self._words(read)} ended at op {read[1]}",
                f"however, the only write of {self._value(block)} began later, at op {write[0]}: "
                "a contradiction",
            ),
            [write, read],
        )

    def _phantom(self, block: int) -> Finding:
        read = self._ops(block)[0]
        return self._finding(
            "phantom",
            block,
            f"{self._value(block)} was read, and nobody tried to write it",
            (
                f"{self._words(read)}: from op {read[0]} to op {read[1]}",
                f"however, no write of {self._value(block)} is in the history: a contradiction",
            ),
            [read],
        )

    def _aborted(self, block: int) -> Finding:
        read = self._ops(block)[0]
        at = int(np.flatnonzero(self.blocks.of_failed == block)[0])
        begin = int(self.blocks.failed.begin[at])
        end = int(self.history.pair[begin])
        return self._finding(
            "G1a",
            block,
            f"{self._value(block)} was read, and its write failed",
            (
                f"op {end} told that the write of {self._value(block)} did not happen",
                f"however, {self._words(read)} at op {read[1]}, and nobody else wrote it: "
                "a contradiction",
            ),
            [read, (begin, end)],
        )

    def _finding(
        self, anomaly: str, block: int, claim: str, because: tuple[str, ...], ops: list[Span]
    ) -> Finding:
        calls = [columns.call(self.history, begin, self.keyed) for begin, _ in ops]
        whole = witness(self.history, calls)
        key = columns.shown(self.history, int(self.blocks.key[block])) if self.keyed else None
        return Finding(
            anomaly=anomaly,
            claim=claim if key is None else f"key {key}: {claim}",
            because=because,
            witness=whole,
            key=key,
            span=(int(self.history.time[whole[0]]), int(self.history.time[whole[-1]])),
        )

    def _origins(self, *of: int) -> Iterator[str]:
        for block in of:
            if self.blocks.writer[block] >= 0:
                begin = int(self.begun[block])
                yield f"{self._words((begin, 0))}, the only one of this value, began at op {begin}"

    def _ops(self, block: int) -> list[Span]:
        """The operations of a block: its write first, if it has one, then its reads."""
        blocks = self.blocks
        found = []
        for ops, of in ((blocks.write, blocks.of_write), (blocks.read, blocks.of_read)):
            mine = of == block
            found += list(zip(ops.begin[mine].tolist(), ops.end[mine].tolist(), strict=True))
        return found

    def _is_null(self, block: int) -> bool:
        return bool(self.blocks.value[block] == NULL)

    def _value(self, block: int) -> str:
        value = columns.shown(self.history, int(self.blocks.value[block]))
        return "null" if value is None else repr(value)

    def _words(self, op: Span) -> str:
        call = columns.call(self.history, op[0], self.keyed)
        return f"c{call.process}'s {words(call)}"


class _Pair:
    """Two blocks that contradict each other, and the least of their operations that do.

    `old` and `new` have their write first, unless the old one is null, which has none.
    """

    def __init__(self, old: list[Span], new: list[Span], null: bool) -> None:
        self.null = null
        self.old, self.new = self._outer(old, not null), self._outer(new, True)

    @staticmethod
    def _outer(ops: list[Span], written: bool) -> list[Span]:
        """The write, the first to end, the last to begin."""
        kept = [min(ops, key=lambda op: op[1]), max(ops, key=lambda op: op[0])]
        return list(dict.fromkeys(ops[:1] + kept if written else kept))

    def ends(self) -> tuple[Span | None, Span, Span, Span]:
        """Of the old the first to end (None for null), of the new the last to begin; of the new the
        first to end, of the old the last to begin."""
        first = None if self.null else min(self.old, key=lambda op: op[1])
        last = max(self.new, key=lambda op: op[0])
        return first, last, min(self.new, key=lambda op: op[1]), max(self.old, key=lambda op: op[0])

    def contradict(self) -> bool:
        if not self.old:
            return False
        a, d, c, b = self.ends()
        return (a is None or a[1] < d[0]) and c[1] < b[0]

    def least(self) -> _Pair:
        assert self.contradict()
        for block, first in ((self.old, 0 if self.null else 1), (self.new, 1)):
            for op in block[first:]:
                block.remove(op)
                if not self.contradict():
                    block.append(op)
        return self

    def all(self) -> list[Span]:
        return [*self.old, *self.new]
