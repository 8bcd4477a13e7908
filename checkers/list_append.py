"""Transactions over lists keep the isolation that they promise.

Reads transactions of `["append", k, v]` and `["r", k, [v, …]]`; a read of null is the empty list.
Values are unique per key; one that is appended twice makes the verdict unknown.

Anomalies:
    G0, G1c, G-single, G-nonadjacent, G2-item   a transaction comes before itself: see
                        `checkers.cycles`, also for `-process` and `-realtime`
    internal            a read contradicts what its own transaction read or appended before
    future-read         a transaction read what it appended only later
    G1a                 an element was read although its transaction had failed
    G1b                 a read ends between two appends of another transaction
    dirty-update        a transaction that took place appended behind one that had failed
    lost-update         two transactions read the same version and both appended to it
    duplicate-elements  a list has an element twice
    incompatible-order  two lists of a key, neither of which is the other's beginning; or one that
                        does not have a transaction's appends in their order
    phantom             an element was read that nobody had appended

Which of them are forbidden depends on `-o consistency-model=M` (strict-serializable unless told
otherwise; several as `M1,M2`; see `harness.consistency`), and `-o anomalies=A1,A2` forbids these
besides; the statistics `not` and `also-not` are the weakest models
that the history rules out, and all stronger ones.

A transaction of unknown outcome took place if somebody read what it appended; else it says nothing.
Of a key with two orders the longest list counts, and lists that contradict it give no edges.

A history in which no transaction was seen to depend on another is unknown.

Blind to: predicates (G2 but for G2-item, predicate-read-miss); an order that the database itself
    would tell, since lists tell theirs; what was appended to keys that nobody reads; that a
    transaction of unknown outcome was read and undone all the same.
Cost: 1,000,000 transactions in some seconds, linear in the elements that were read.
Source: Elle (Kingsbury, Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
    Observations", VLDB 2020), from its paper and names; ours are the component search without a
    time-out, exact edges to what nobody read, and witnesses that are minimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from checkers import cycles
from checkers.list_append_versions import Versions
from checkers.list_append_words import Words
from checkers.transactions import Ints, wide
from checkers.txn_cases import Cases, cycle_cases, judged, unrelated
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL
from harness.verdict import EXAMPLES_MAX, Finding, Verdict


def check(history: History, contract: Contract, examples: int = EXAMPLES_MAX) -> Verdict:
    """Transactions over lists keep their isolation: every anomaly, counted, and some argued."""
    versions = Versions(history)
    stats = {"transactions": len(versions.t)}
    return judged(history, detected(versions), _find, _doubts(versions), examples, stats)


def _find(history: History, index: Ints) -> Iterator[Finding]:
    for cases in detected(Versions(history, index)).values():
        yield from cases.some(EXAMPLES_MAX)


def detected(versions: Versions) -> dict[str, Cases]:
    """The cases of each anomaly that the history has, the gravest first."""
    tried = {name: detect(versions) for name, detect in _DETECT.items()}
    tried.update(_cycles(versions))
    return {name: cases for name, cases in tried.items() if cases.count}


def _doubts(v: Versions) -> list[str]:
    doubts = v.t.unread(("append", "r"))
    if len(v.repeated):
        key = int(v.repeated[0])
        doubts.append(
            f"{len(v.repeated)} keys had a value appended twice, the first is {v.t.name(key)}: "
            "which transaction somebody read there cannot be told"
        )
    if len(v.unlike):
        at = int(v.t.begin[v.t.txn[v.unlike[0]]])
        doubts.append(f"{len(v.unlike)} reads gave no list, the first is of op {at}")
    return [*doubts, *unrelated(v.t, v.edges[0])]


# -- one transaction, one list -------------------------------------------------------------------


def _rows(v: Versions) -> tuple[Ints, Ints]:
    """The read, and the append, of each micro-operation; or -1."""
    read = np.full(len(v.t.mop), -1, np.int32)
    append = read.copy()
    read[v.r_mop], append[v.a_mop] = np.arange(len(v.r_mop)), np.arange(len(v.a_mop))
    return read, append


def _internal(v: Versions) -> Cases:
    """Each read again, from its end: what its transaction appended, then what it had read."""
    read_of, append_of = _rows(v)
    cur = v.t.before[v.r_mop]
    left = v.r_len.copy()
    bad: list[int] = []
    active = np.flatnonzero(cur >= 0)
    while len(active):
        at = cur[active]
        earlier, own = read_of[at], append_of[at]
        for mine, other in (
            zip(active[earlier >= 0].tolist(), earlier[earlier >= 0].tolist(), strict=True)
            if not v.prefix.all()
            else ()
        ):
            if not np.array_equal(v.list_of(mine, int(left[mine])), v.list_of(other)):
                bad.append(mine)
        if v.prefix.all():
            mine = active[earlier >= 0]
            bad += mine[v.r_len[earlier[earlier >= 0]] != left[mine]].tolist()
        active, own = active[own >= 0], own[own >= 0]
        end = np.maximum(v.r_start[active] + left[active] - 1, 0)
        fits = (left[active] > 0) & (v.elements[end] == v.a_value[own])
        bad += active[~fits].tolist()
        active = active[fits]
        left[active] -= 1
        cur[active] = v.t.before[cur[active]]
        active = active[cur[active] >= 0]
    bad = sorted(set(bad))

    def make(number: int) -> Finding:
        read = bad[number]
        words = Words(v, int(v.r_txn[read]))
        key = v.t.name(int(v.r_key[read]))
        claim = (
            f"a transaction read {words.read(read)} of {key}, which is not what it had left there"
        )
        because = [
            f"T1 read {words.read(read)} of {key}",
            f"however, T1 itself had done this before: {words.earlier(int(v.r_mop[read]))}; "
            "what follows from it is another list: a contradiction",
        ]
        return words.finding("internal", claim, because, key=int(v.r_key[read]))

    return Cases(len(bad), make)


def _future_reads(v: Versions) -> Cases:
    read_of, _ = _rows(v)
    found: set[tuple[int, int]] = set()
    cur = v.t.before[v.a_mop]
    active = np.flatnonzero(cur >= 0)
    while len(active):
        read = read_of[cur[active]]
        seen = np.where(read >= 0, v.r_len[read], 0) if len(v.r_len) else np.zeros_like(read)
        version = v.version[active]
        hit = (version >= 0) & (version < v.base[v.a_key[active]] + seen)
        hit &= v.prefix[read] if len(v.prefix) else False
        found |= set(zip(active[hit].tolist(), read[hit].tolist(), strict=True))
        cur[active] = v.t.before[cur[active]]
        active = active[cur[active] >= 0]
    known = np.flatnonzero(v.x_append >= 0)
    for at in known.tolist():
        own, odd = int(v.x_append[at]), int(v.x_read[at])
        if v.a_txn[own] == v.r_txn[odd] and v.a_mop[own] > v.r_mop[odd]:
            found.add((own, odd))
    cases = sorted(found)

    def make(number: int) -> Finding:
        append, read = cases[number]
        words = Words(v, int(v.r_txn[read]))
        key, value = v.t.name(int(v.a_key[append])), words.value(append)
        because = [
            f"T1 read {value} of {key}",
            f"however, only after that did T1 append {value} to it: a contradiction",
        ]
        claim = f"a transaction read {value} of {key}, which it appended only later"
        return words.finding("future-read", claim, because, key=int(v.a_key[append]))

    return Cases(len(cases), make)


def _duplicates(v: Versions) -> Cases:
    found = [(int(v.longest[v.v_key[at]]), int(v.v_value[at])) for at in v.twice.tolist()]
    pair = wide(v.x_read, int(v.x_element.max(initial=0)) + 1, v.x_element)
    _, first, count = np.unique(pair, return_index=True, return_counts=True)
    known = {(int(v.r_key[read]), value) for read, value in found}
    for at in first[count > 1].tolist():
        read, value = int(v.x_read[at]), int(v.x_value[at])
        if (int(v.r_key[read]), value) not in known:
            known.add((int(v.r_key[read]), value))
            found.append((read, value))

    def make(number: int) -> Finding:
        read, code = found[number]
        words = Words(v, int(v.r_txn[read]))
        key, value = v.t.name(int(v.r_key[read])), v.t.value(code)
        because = [
            f"T1 read {words.read(read)} of {key}, which has {value} more than once",
            f"however, {value} is appended to it no more than once: a contradiction",
        ]
        claim = f"{key} has {value} twice"
        return words.finding("duplicate-elements", claim, because, key=int(v.r_key[read]))

    return Cases(len(found), make)


def _incompatible(v: Versions) -> Cases:
    odd = np.flatnonzero(~v.prefix)
    odd = odd[np.unique(v.r_key[odd], return_index=True)[1]]

    own = _disordered(v)

    def make(number: int) -> Finding:
        if number >= len(odd):
            return _out_of_order(v, *own[number - len(odd)])
        read = int(odd[number])
        key = int(v.r_key[read])
        longest = int(v.longest[key])
        words = Words(v, int(v.r_txn[longest]), int(v.r_txn[read]))
        one, other = words.name(int(v.r_txn[longest])), words.name(int(v.r_txn[read]))
        because = [
            f"{one} read {words.read(longest)} of {v.t.name(key)}",
            f"however, {other} read {words.read(read)} of it, and neither is the beginning of the "
            "other, although nothing but appending changes it: a contradiction",
        ]
        claim = f"{v.t.name(key)} was read in two orders"
        return words.finding("incompatible-order", claim, because, key=key)

    return Cases(len(odd) + len(own), make)


def _disordered(v: Versions) -> list[tuple[int, int]]:
    """Two appends of a transaction of which the second was read without the first before it."""
    _, append_of = _rows(v)
    cur = v.t.before[v.a_mop]
    while True:  # what it read in between does not matter
        reads = np.flatnonzero(cur >= 0)
        reads = reads[append_of[cur[reads]] < 0]
        if not len(reads):
            break
        cur[reads] = v.t.before[cur[reads]]
    second = np.flatnonzero((cur >= 0) & (v.version >= 0) & v.usable[v.a_key])
    second = second[v.committed[v.a_txn[second]]]
    first = append_of[cur[second]]
    bad = (v.version[first] < 0) | (v.version[first] > v.version[second])
    return list(zip(first[bad].tolist(), second[bad].tolist(), strict=True))


def _out_of_order(v: Versions, first: int, second: int) -> Finding:
    read = v.shortest_with(int(v.version[second]))
    words = Words(v, int(v.a_txn[second]), int(v.r_txn[read]))
    one, other = words.value(first), words.value(second)
    key = int(v.a_key[second])
    reader = words.name(int(v.r_txn[read]))
    because = [
        f"T1 appended {one} to {v.t.name(key)}, and then {other}",
        f"however, {reader} read {words.read(read)} of it, where {one} does not come before "
        f"{other}: a contradiction",
    ]
    claim = f"{other} of {v.t.name(key)} was read without {one}, which came first, before it"
    return words.finding("incompatible-order", claim, because, key=key)


# -- who wrote what was read ---------------------------------------------------------------------


def _seen(v: Versions, wanted: Callable[[Ints], Ints]) -> list[tuple[int, int, int]]:
    """(key, value, append) of elements that were read, each once, whose appends are `wanted`."""
    found: dict[tuple[int, int], int] = {}
    for at in np.flatnonzero(wanted(v.v_append)).tolist():
        found[int(v.v_key[at]), int(v.v_value[at])] = int(v.v_append[at])
    for at in np.flatnonzero(wanted(v.x_append)).tolist():
        where = int(v.r_key[v.x_read[at]]), int(v.x_value[at])
        found.setdefault(where, int(v.x_append[at]))
    return [(key, value, append) for (key, value), append in found.items()]


def _reader(v: Versions, key: int, value: int) -> int:
    """The read with the shortest list that has the value."""
    reads = np.flatnonzero(v.r_key == key)
    reads = reads[np.argsort(v.r_len[reads], kind="stable")]
    return next(int(read) for read in reads if (v.list_of(int(read)) == value).any())


def _aborted(v: Versions) -> Cases:
    def failed(append: Ints) -> Ints:
        known = append >= 0
        out = np.zeros(len(append), np.int64)
        out[known] = v.t.status[v.a_txn[append[known]]] == FAIL
        return out

    found = _seen(v, failed)

    def make(number: int) -> Finding:
        key, value, append = found[number]
        read = _reader(v, key, value)
        words = Words(v, int(v.a_txn[append]), int(v.r_txn[read]))
        name, what = v.t.name(key), words.value(append)
        because = [
            f"T1 appended {what} to {name} and failed: it did not take place",
            f"however, T2 read {what} of it: a contradiction",
        ]
        claim = f"{what} of {name} was read although its transaction had failed"
        return words.finding("G1a", claim, because, key=key)

    return Cases(len(found), make)


def _phantoms(v: Versions) -> Cases:
    found = _seen(v, lambda append: (append < 0).astype(np.int64))

    def make(number: int) -> Finding:
        key, value, _ = found[number]
        words = Words(v, int(v.r_txn[_reader(v, key, value)]))
        name, what = v.t.name(key), v.t.value(value)
        because = [
            f"T1 read {what} of {name}",
            f"however, nobody ever appended {what} to it: a contradiction",
        ]
        claim = f"{what} of {name} was read, and nobody had appended it"
        return words.finding("phantom", claim, because, key=key)

    return Cases(len(found), make)


def _intermediate(v: Versions) -> Cases:
    if not len(v.v_key):
        return Cases.none()
    _, append_of = _rows(v)
    more = np.zeros(len(v.a_mop), np.bool_)
    cur = v.t.before[v.a_mop]
    while (cur >= 0).any():
        there = cur >= 0
        earlier = append_of[cur[there]]
        more[earlier[earlier >= 0]] = True
        cur[there] = v.t.before[cur[there]]
    reads = v.plain[v.r_len[v.plain] > 0]
    append = v.v_append[v.base[v.r_key[reads]] + v.r_len[reads] - 1]
    known = append >= 0
    reads, append = reads[known], append[known]
    bad = more[append] & (v.a_txn[append] != v.r_txn[reads])
    bad &= v.t.status[v.a_txn[append]] != FAIL
    reads, append = reads[bad], append[bad]

    def make(number: int) -> Finding:
        read, first = int(reads[number]), int(append[number])
        words = Words(v, int(v.a_txn[first]), int(v.r_txn[read]))
        key = int(v.r_key[read])
        name, what = v.t.name(key), words.value(first)
        because = [
            f"T1 appended {what} to {name}, and went on to append more to it",
            f"however, T2 read {words.read(read)} of it, which ends with {what}: a contradiction",
        ]
        claim = f"{words.read(read)} of {name} was read in the middle of a transaction"
        return words.finding("G1b", claim, because, key=key)

    return Cases(len(reads), make)


def _dirty_updates(v: Versions) -> Cases:
    if not len(v.v_key):
        return Cases.none()
    known = v.v_append >= 0
    failed = np.zeros(len(v.v_key), np.bool_)
    failed[known] = v.t.status[v.a_txn[v.v_append[known]]] == FAIL
    at = np.flatnonzero(failed & v.usable[v.v_key])
    after = v.next[at]
    there = after < v.base[v.v_key[at] + 1]
    at, after = at[there], after[there]

    def make(number: int) -> Finding:
        first, second = int(at[number]), int(after[number])
        read = v.shortest_with(second)
        words = Words(v, int(v.writer[first]), int(v.writer[second]), int(v.r_txn[read]))
        name = v.t.name(int(v.v_key[first]))
        one, other = (words.value(int(v.v_append[a])) for a in (first, second))
        reader = words.name(int(v.r_txn[read]))
        because = [
            f"T1 appended {one} to {name} and failed: it did not take place",
            f"T2 appended {other} to it, and took place",
            f"however, {reader} read {words.read(read)} of it, in which {other} comes after {one}, "
            "so that what T2 wrote rests on what never was: a contradiction",
        ]
        claim = f"{other} was appended to {name} behind {one}, whose transaction had failed"
        return words.finding("dirty-update", claim, because, key=int(v.v_key[first]))

    return Cases(len(at), make)


def _lost_updates(v: Versions) -> Cases:
    read_of, _ = _rows(v)
    root = v.a_mop.copy()
    while (v.t.before[root] >= 0).any():
        root = np.where(v.t.before[root] >= 0, v.t.before[root], root)
    first = read_of[root]
    first = np.unique(first[(first >= 0) & (v.a_mop != root)])
    first = first[v.prefix[first] & v.usable[v.r_key[first]]]
    version = v.base[v.r_key[first]] + v.r_len[first]
    state = wide(version, len(v.base) + 1, v.r_key[first])
    order = np.argsort(state, kind="stable")
    first, state = first[order], state[order]
    cuts = np.flatnonzero(state[1:] != state[:-1]) + 1
    starts = np.r_[0, cuts][: len(first)]
    sizes = np.diff(np.r_[starts, len(first)])
    starts = starts[sizes > 1]

    def make(number: int) -> Finding:
        one, other = first[starts[number] : starts[number] + 2].tolist()
        words = Words(v, int(v.r_txn[one]), int(v.r_txn[other]))
        key = int(v.r_key[one])
        name = v.t.name(key)
        because = [
            f"T1 and T2 both read {words.read(one)} of {name}, and then appended to it",
            "however, whichever came second would have read what the first had appended: "
            "a contradiction",
        ]
        claim = f"two transactions read {words.read(one)} of {name} and appended to it"
        return words.finding("lost-update", claim, because, key=key)

    return Cases(len(starts), make)


_DETECT: dict[str, Callable[[Versions], Cases]] = {
    "phantom": _phantoms,
    "duplicate-elements": _duplicates,
    "incompatible-order": _incompatible,
    "G1a": _aborted,
    "dirty-update": _dirty_updates,
    "G1b": _intermediate,
    "future-read": _future_reads,
    "internal": _internal,
    "lost-update": _lost_updates,
}

ANOMALIES = (*_DETECT, *cycles.ANOMALIES)


# -- cycles --------------------------------------------------------------------------------------


def _cycles(v: Versions) -> dict[str, Cases]:
    edges, free = v.edges
    return cycle_cases(v.t, v.committed, edges, free, lambda txns: Words(v, *txns))
