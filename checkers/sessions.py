"""Each session by itself sees what it may rely on, whatever the others see: the four guarantees.

    read-your-writes     a read sees what its session has written before
    monotonic-reads      a read sees what its session has read before
    monotonic-writes     who sees a write sees those that its session had made before, in that order
    writes-follow-reads  who sees a write sees what its session had read before, in that order

An anomaly has the name of the guarantee that it breaks. `-o sessions=ryw,mr` says which of the four
(`ryw`, `mr`, `mw`, `wfr`) were promised; unless told otherwise all are. A session is a process,
until an operation of it is in doubt: what goes on from there is another one.

Registers: `write` and `read`, of `[key, value]` or of one key, each value written once; null is
    there before any. Every session has an order of each key's writes of its own, so that nothing is
    said of two sessions that disagree (see `causal`). What is older than what is known only by the
    guarantees themselves, so that most contradictions take two of them or more: that a session
    reads 1 again after its own write of 2 takes read-your-writes, and that 2 came after 1. Such a
    finding is legal if one of them was not promised, and then has its name.
    `checkers.session_registers` has the table.
Versions: with `-o versions=true` the values of registers are integers of which a greater one is
    newer, and need not be different; a write's is that which its completion tells. Then each
    guarantee stands by itself.
Collections: `add`, `append` or `insert` of an element, and `read` `[v, …]` of all; with keys
    `[key, element]` and `[key, [v, …]]`. A read is held against all that its session had added or
    read, and against what the sessions whose elements it has had added or read before them. Where
    elements are appended, to see them in another order is wrong, too.

Blind to: writes in doubt, which may take place at any later time or never, unless somebody read
    them; chains of more than two sessions, and of older versions by more than one (see `causal`,
    where all four hold together); reads of values that were written twice or by nobody, which are a
    doubt; of collections, what one key tells of another, and elements that were added twice. What
    is neither written nor read but, say, removed, explains anything: then nothing is found.
Cost: 1 to 2 s for 1,000,000 operations on registers; about 2 µs an element of what collections'
    reads tell. Where reads are older than real time allows, the most that is sought for is what
    each session knows of each other one.
Source: D. B. Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (PDIS 1994);
    P. Viotti, M. Vukolić, "Consistency in Non-Transactional Distributed Storage Systems" (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from checkers import growing, session_sets, session_versions, session_words
from checkers.accesses import NOBODY, Accesses
from checkers.session_registers import ALL
from checkers.session_words import NAMES
from checkers.told import Told, judged
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, OK
from harness.verdict import Verdict

ANOMALIES = NAMES

REGISTERS = frozenset({"write", "read-init"})
COLLECTIONS = frozenset({"add", "append", "insert"})

Detect = Callable[[Told], Mapping[str, Cases]]


def check(history: History, contract: Contract) -> Verdict:
    """What its session cannot have read, by one of four guarantees."""
    names = _names(history, failed=True)
    strange = sorted(_names(history, failed=False) - REGISTERS - COLLECTIONS - {"read"})
    if strange or (names & REGISTERS and names & COLLECTIONS):
        what = ", ".join(strange) if strange else "a register's write together with an add"
        doubt = f"{what}: what that does to later reads is not known, so that nothing was judged"
        return Verdict.of(doubts=[doubt])
    if contract.promises.get("versions") is True:
        detect, doubts, stats = _versions(history)
    elif names & COLLECTIONS or (not names & REGISTERS and _are_lists(history)):
        detect, doubts, stats = _collections(history)
    else:
        detect, doubts, stats = _registers(history, contract)
    return judged(history, detect, doubts=doubts, stats=stats)


Plan = tuple[Detect, list[str], dict[str, int]]


def _registers(history: History, contract: Contract) -> Plan:
    promised = contract.promises.get("sessions", NAMES)
    allowed = sum(1 << at for at, name in enumerate(NAMES) if name in promised)
    accesses = Accesses.of(history)
    doubts = [*accesses.doubts()]
    if nobody := int((~accesses.write & (accesses.source == NOBODY)).sum()):
        doubts.append(f"{nobody} reads have a value that nobody wrote: see --workload register")
    stats = {"reads": int((~accesses.write).sum()), "writes": int(accesses.write.sum())}

    def detect(told: Told) -> Mapping[str, Cases]:
        whole = told.history is history
        return session_words.cases(told, accesses if whole else Accesses.of(told.history), allowed)

    return detect, doubts, stats


def _versions(history: History) -> Plan:
    versions = session_versions.Versions.of(history)
    stats = {"reads": int((~versions.write).sum()), "writes": int(versions.write.sum())}
    return session_versions.cases, [*versions.doubts()], stats


def _collections(history: History) -> Plan:
    found, odd = growing.collections(history)
    doubts = [f"{odd} operations have values that this checker cannot read"] if odd else []
    stats = {
        "reads": sum(len(one.readings) for one in found),
        "writes": sum(len(one.additions) for one in found),
    }
    if not stats["reads"]:
        doubts.append("nobody read anything")

    def detect(told: Told) -> Mapping[str, Cases]:
        whole = told.history is history
        return session_sets.cases(told, found if whole else growing.collections(told.history)[0])

    return detect, doubts, stats


def _names(history: History, *, failed: bool) -> set[str]:
    """What clients did, or also what they failed to do."""
    begin = np.flatnonzero((history.type == 0) & (history.process >= 0))
    if not failed:
        pair = history.pair[begin]
        begin = begin[(pair < 0) | (history.type[pair] != FAIL)]
    return {history.fs[code] for code in np.unique(history.f[begin]).tolist()}


def _are_lists(history: History) -> bool:
    """Whether what was read is lists, where nobody wrote."""
    end = history.select(f="read")
    end = end[(history.process[end] >= 0) & (history.type[end] == OK)]
    told = [value for at in end.tolist() if (value := history.values.get(at)) is not None]
    # A pair may be a key and its value, too.
    return all(isinstance(value, list) for value in told) and not all(
        len(value) == 2 and not isinstance(value[1], list) for value in told
    )


assert len(NAMES) == ALL.bit_length()
