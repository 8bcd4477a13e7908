"""Transactions over registers keep the isolation that they promise.

Reads transactions of `["w", k, v]` and `["r", k, v]`; a register that nobody wrote is null. Values
are unique per key; one that is written twice makes the verdict unknown.

Anomalies:
    G0, G1c, G-single, G-nonadjacent, G2-item   a transaction comes before itself: see
                        `checkers.cycles`, also for `-process` and `-realtime`
    internal            a read contradicts what its own transaction read or wrote
    G1a                 a value was read although its transaction had failed
    G1b                 a value was read that its transaction overwrote itself
    lost-update         two transactions read the same version and both wrote the key
    cyclic-versions     the order of a key's versions contradicts itself
    phantom             a value was read that nobody had written

How two versions of a key follow each other is seen only where a transaction touches both. More
follows from what is promised of each key: `-o wfr-keys=false` if not even that a transaction's
writes follow what it read of the same key; `-o sequential-keys=true` if every process meets its
versions in order; `-o linearizable-keys=true` if all do in real time. Where the database tells when
a transaction took place (a log's position, a timestamp of the commit), by a number that stands in
its completion under some name, `-o transaction-order=NAME` lets the writes of a key follow each
other by it. See `checkers.rw_register_versions`.

`-o consistency-model=M` says what is forbidden, `-o anomalies=A1,A2` what is besides.

A write of unknown outcome took place if somebody read it. A key whose order contradicts itself is
told, and gives no order.

A history in which no transaction was seen to depend on another is unknown.

Blind to: the order of versions beyond those rules; predicates; an order of transactions that wrote
    no key in common, whoever tells it: no model of consistency speaks of it; that a transaction of
    unknown outcome was read and undone all the same.
Cost: 1,000,000 transactions in some seconds; linear.
Source: Elle (Kingsbury, Alvaro, VLDB 2020); ours uses writes of unknown outcome, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from checkers import cycles
from checkers.rw_register_versions import LINEARIZABLE, SEQUENTIAL, WFR, Registers
from checkers.rw_register_words import Words
from checkers.transactions import Ints
from checkers.txn_cases import Cases, cycle_cases, judged, unrelated
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

_OPTIONS = {"wfr-keys": WFR, "sequential-keys": SEQUENTIAL, "linearizable-keys": LINEARIZABLE}


def check(history: History, contract: Contract, examples: int = EXAMPLES_MAX) -> Verdict:
    """Transactions over registers keep their isolation: every anomaly, counted, and some argued."""
    promised = {"wfr-keys": True, **contract.promises}
    rules = frozenset(rule for name, rule in _OPTIONS.items() if promised.get(name))
    made = partial(Registers, rules=rules, by=contract.promises.get("transaction-order"))
    registers = made(history)
    stats = {"transactions": len(registers.t)}
    find = partial(_find, made)
    return judged(history, detected(registers), find, _doubts(registers), examples, stats)


def _find(
    made: Callable[[History, Ints], Registers], history: History, index: Ints
) -> Iterator[Finding]:
    for cases in detected(made(history, index)).values():
        yield from cases.some(EXAMPLES_MAX)


def detected(registers: Registers) -> dict[str, Cases]:
    """The cases of each anomaly that the history has, the gravest first."""
    tried = {name: detect(registers) for name, detect in _DETECT.items()}
    tried.update(_cycles(registers))
    return {name: cases for name, cases in tried.items() if cases.count}


def _doubts(v: Registers) -> list[str]:
    doubts = v.t.unread(("w", "r"))
    if len(v.repeated):
        doubts.append(
            f"{len(v.repeated)} keys had a value written twice, the first is "
            f"{v.t.name(int(v.repeated[0]))}: whose it was cannot be told"
        )
    if len(v.unlike):
        at = int(v.t.begin[v.t.txn[v.unlike[0]]])
        doubts.append(f"{len(v.unlike)} reads gave no single value, the first is of op {at}")
    if v.by is not None and not v.numbers:
        doubts.append(f"no completion has a number {v.by} that says when it took place")
    return [*doubts, *unrelated(v.t, v.edges[0])]


# -- one read ------------------------------------------------------------------------------------


def _internal(v: Registers) -> Cases:
    """What a transaction knows of a key is what it read or wrote last; and what it will write."""
    version = v.version_of_mop
    before = v.t.before[v.r_mop]
    known = before >= 0
    bad = np.zeros(len(v.r_mop), np.bool_)
    bad[known] = version[before[known]] != v.r_version[known]
    bad[known] &= version[before[known]] >= 0
    write = v.wrote[v.r_version]
    mine = write >= 0
    mine[mine] = v.w_txn[write[mine]] == v.r_txn[mine]
    bad[mine] |= v.w_mop[write[mine]] > v.r_mop[mine]
    reads = np.flatnonzero(bad & v.usable[v.r_key])

    def make(number: int) -> Finding:
        read = int(reads[number])
        words = Words(v, int(v.r_txn[read]))
        at = int(v.r_version[read])
        value, key = words.value(at), words.key(at)
        before = int(v.t.before[v.r_mop[read]])
        if before >= 0 and version[before] not in (-1, at):
            last = f"T1 itself had done this before: {words.mop(before)}; so it would read the same"
        else:
            last = f"only after that did T1 write {value} to it"
        because = [f"T1 read {value} of {key}", f"however, {last}: a contradiction"]
        claim = f"a transaction read {value} of {key} against what it knew"
        return words.finding("internal", claim, because, key=int(v.r_key[read]))

    return Cases(len(reads), make)


def _first_reads(v: Registers, wanted: Ints) -> Ints:
    """Of the versions read by these reads, the first read of each."""
    _, first = np.unique(v.r_version[wanted], return_index=True)
    return wanted[first]


def _aborted(v: Registers) -> Cases:
    write = v.wrote[v.r_version]
    bad = write >= 0
    bad[bad] = v.t.status[v.w_txn[write[bad]]] == FAIL
    reads = _first_reads(v, np.flatnonzero(bad))
    did = " and failed: it did not take place"
    return _misread(v, "G1a", reads, did, "although its transaction had failed")


def _intermediate(v: Registers) -> Cases:
    write = v.wrote[v.r_version]
    bad = (write >= 0) & v.usable[v.r_key]
    at = write[bad]
    status = v.t.status[v.w_txn[at]]
    bad[bad] = ~v.final[at] & (v.w_txn[at] != v.r_txn[bad]) & (status != FAIL)
    did = ", and went on to write it again"
    return _misread(v, "G1b", np.flatnonzero(bad), did, "in the middle of a transaction")


def _misread(v: Registers, anomaly: str, reads: Ints, did: str, when: str) -> Cases:
    """Reads of what should not have been seen: what its writer `did`, and `when` it was read."""

    def make(number: int) -> Finding:
        read = int(reads[number])
        at = int(v.r_version[read])
        words = Words(v, int(v.w_txn[v.wrote[at]]), int(v.r_txn[read]))
        value, key = words.value(at), words.key(at)
        because = [
            f"T1 wrote {value} to {key}{did}",
            f"however, T2 read {value} of it: a contradiction",
        ]
        claim = f"{value} of {key} was read {when}"
        return words.finding(anomaly, claim, because, key=int(v.r_key[read]))

    return Cases(len(reads), make)


def _phantoms(v: Registers) -> Cases:
    bad = (v.wrote[v.r_version] < 0) & (v.r_version >= len(v.t.keys))
    reads = _first_reads(v, np.flatnonzero(bad))

    def make(number: int) -> Finding:
        read = int(reads[number])
        words = Words(v, int(v.r_txn[read]))
        at = int(v.r_version[read])
        value, key = words.value(at), words.key(at)
        because = [
            f"T1 read {value} of {key}",
            f"however, nobody ever wrote {value} to it: a contradiction",
        ]
        claim = f"{value} of {key} was read, and nobody had written it"
        return words.finding("phantom", claim, because, key=int(v.r_key[read]))

    return Cases(len(reads), make)


# -- two transactions ----------------------------------------------------------------------------


def _lost_updates(v: Registers) -> Cases:
    reads = np.flatnonzero(v.outer & v.later[v.r_mop] & v.usable[v.r_key])
    order = np.argsort(v.r_version[reads], kind="stable")
    reads = reads[order]
    version = v.r_version[reads]
    cuts = np.flatnonzero(version[1:] != version[:-1]) + 1
    starts = np.r_[0, cuts][: len(reads)]
    starts = starts[np.diff(np.r_[starts, len(reads)]) > 1]

    def make(number: int) -> Finding:
        one, other = reads[starts[number] : starts[number] + 2].tolist()
        words = Words(v, int(v.r_txn[one]), int(v.r_txn[other]))
        at = int(v.r_version[one])
        value, key = words.value(at), words.key(at)
        because = [
            f"T1 and T2 both read {value} of {key}, and then wrote it",
            "however, whichever came second would have read what the first had written: "
            "a contradiction",
        ]
        claim = f"two transactions read {value} of {key} and wrote it"
        return words.finding("lost-update", claim, because, key=int(v.r_key[one]))

    return Cases(len(starts), make)


def _cyclic_versions(v: Registers) -> Cases:
    def make(number: int) -> Finding:
        key = int(v.cyclic[number])
        words = Words(v)
        because = [
            f"{words.value(one)}{words.writer(one)} < {words.value(other)}, because "
            f"{words.rule(one, kind, other)[0]}"
            for one, kind, other in _circle(v, key)
        ]
        because[-1] = f"however, {because[-1]}: a contradiction"
        claim = f"the versions of {v.t.name(key)} come in no order"
        return words.finding("cyclic-versions", claim, because, key=key)

    return Cases(len(v.cyclic), make)


def _circle(v: Registers, key: int) -> list[tuple[int, int, int]]:
    """A shortest circle of versions of the key: (version, rule, version)."""
    at = np.flatnonzero(v.v_key[v.ruled.source] == key)
    edges = v.ruled.take(at)
    after: dict[int, list[tuple[int, int]]] = {}
    for one, kind, other in zip(
        edges.source.tolist(), edges.kind.tolist(), edges.target.tolist(), strict=True
    ):
        after.setdefault(one, []).append((kind, other))
    best: list[tuple[int, int, int]] = []
    for start in after:
        came: dict[int, tuple[int, int]] = {}
        queue = deque([start])
        while queue and start not in came:
            node = queue.popleft()
            for kind, other in after.get(node, ()):
                if other not in came:
                    came[other] = (node, kind)
                    queue.append(other)
        if start not in came:
            continue
        way: list[tuple[int, int, int]] = []
        node = start
        while not way or node != start:
            before, kind = came[node]
            way.append((before, kind, node))
            node = before
        if not best or len(way) < len(best):
            best = way[::-1]
    return best


_DETECT: dict[str, Callable[[Registers], Cases]] = {
    "phantom": _phantoms,
    "cyclic-versions": _cyclic_versions,
    "G1a": _aborted,
    "G1b": _intermediate,
    "internal": _internal,
    "lost-update": _lost_updates,
}

ANOMALIES = (*_DETECT, *cycles.ANOMALIES)


# -- cycles --------------------------------------------------------------------------------------


def _cycles(v: Registers) -> dict[str, Cases]:
    edges, free = v.edges
    return cycle_cases(v.t, v.committed, edges, free, lambda txns: Words(v, *txns))
