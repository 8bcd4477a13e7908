"""A log keeps what it acknowledged: once, in order, and for every reader the same.

Reads `send`, `poll` and `txn` (micro-operations `["send", k, v]` → `["send", k, [offset, v]]` and
`["poll"]` → `["poll", {k: [[offset, v], …]}]`), `assign`, `subscribe` and `seek`, `delete-records`,
and the marks of a run's final reads. Values are unique per key; a repeated one makes the verdict
unknown, as does one that is spelled in another way, and a history in which nobody sends or polls.

Anomalies, of a message (a value of a key) unless they say otherwise:
    inconsistent-offsets    an offset holds two messages
    duplicate               it lies at two offsets
    lost-write              it took place, somebody who had to pass it read on, nobody ever read it
    unseen                  it was acknowledged, and complete final reads did not find it
    read-then-lost          it was read, and complete final reads did not find it any more
    deleted-reappears       it was deleted on request, acknowledged, and final reads found it again
    G1a                     it was read although its send failed
    precommitted-read       a transaction read what it itself sent
    phantom                 it was read, and nobody had sent it
    int-poll-skip           one operation polled past a message that is known to lie in between
    int-nonmonotonic-poll   one operation polled the same place again, or one before it
    int-nonmonotonic-send   one operation sent two messages, and they lie the other way round
    poll-skip               as int-poll-skip, from one operation of a process to its next
    nonmonotonic-poll       as int-nonmonotonic-poll, from one operation of a process to its next
    nonmonotonic-send       as int-nonmonotonic-send, from one operation of a process to its next

Never flagged: gaps in the offsets; what may have been deleted on request and is not found, or not
passed by who reads on behind it; sends with an unknown outcome, seen or not; what a process reads
after it let go of a key, took it up from the beginning, or seeked; what it reads while subscribed,
from one operation to the next, since somebody else may have read what lies between; what nobody has
read of a key of which all readers had seeked or subscribed, and so need not have passed it.

Statistics: messages by fate, and `worst-realtime-lag` (see `checkers.log.lag`).

Blind to: loss at the tail without final reads (a note says of how many messages that is all there
    is to say); groups, commits, timestamps, cycles of transactions.
Cost: a million operations about a second, less where values and offsets are dense.
Source: jepsen.tests.kafka (`analysis` and what it calls); slots as in its `version-orders`, but
    without a vector as long as the largest offset, and by the offset of each entry where it has one
    instead of by its value, so that a duplicate is not reported as a nonmonotonic poll too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.log import contents, deletions, legible
from checkers.log.cases import Cases, Proofs
from checkers.log.final import final_reads, phases
from checkers.log.lag import worst_lag
from checkers.log.order import Order
from checkers.log.replay import Detect, detected, findings
from checkers.log.sequences import Sequences
from checkers.log.tables import Tables
from harness.guarantees import Contract, Excuses
from harness.history import History
from harness.op import FAIL, INFO, OK
from harness.verdict import EXAMPLES_MAX, Finding, Verdict
from harness.windows import Windows

ANOMALIES: dict[str, Detect] = {
    "lost-write": contents.lost_writes,
    "unseen": contents.unseen,
    "read-then-lost": contents.read_then_lost,
    "deleted-reappears": deletions.reappeared,
    "inconsistent-offsets": contents.inconsistent_offsets,
    "duplicate": contents.duplicates,
    "phantom": contents.phantoms,
    "G1a": contents.aborted_reads,
    "precommitted-read": contents.precommitted_reads,
    "int-poll-skip": lambda order: Sequences.polls(order).skips("internal"),
    "int-nonmonotonic-poll": lambda order: Sequences.polls(order).reversals("internal"),
    "int-nonmonotonic-send": lambda order: Sequences.sends(order).reversals("internal"),
    "poll-skip": lambda order: Sequences.polls(order).skips("external"),
    "nonmonotonic-poll": lambda order: Sequences.polls(order).reversals("external"),
    "nonmonotonic-send": lambda order: Sequences.sends(order).reversals("external"),
}
"""By name, the gravest first."""


def check(history: History, contract: Contract, examples: int = EXAMPLES_MAX) -> Verdict:
    """Every anomaly with its exact count and findings of so many of its worst cases: of those that
    the contract forbids, and of those that it allows."""
    order = Order(Tables.of(history))
    found: list[Finding] = []
    counts: dict[str, int] = {}
    doubts = [*legible.doubts(history), *_repeated(order), *_final_reads(history)]
    windows: dict[str, Windows] = {}
    excuses = contract.excuses(history)
    for name, cases in detected(order, ANOMALIES).items():
        counts[name] = len(cases)
        if cases.windows is not None:
            windows[name] = cases.windows
        chosen = _chosen(excuses, name, cases, examples)
        found += findings(order, name, cases, ANOMALIES[name], chosen)
    return Verdict.of(found, counts=counts, doubts=doubts, stats=_stats(order), windows=windows)


def _chosen(excuses: Excuses, name: str, cases: Cases, examples: int) -> list[int]:
    """The worst forbidden cases, and the worst of those that are legal."""
    if cases.windows is None:
        return list(range(min(len(cases), examples)))
    legal = excuses.of(name, cases.windows)
    chosen: list[int] = np.flatnonzero(~legal)[:examples].tolist()
    chosen += np.flatnonzero(legal)[:examples].tolist()
    return chosen


def _repeated(order: Order) -> list[str]:
    """Doubts where the workload sent a value of a key more than once."""
    repeated = contents.repeated(order)
    if not len(repeated):
        return []
    proofs = Proofs(order)
    message = int(repeated[0])
    by = ", ".join(proofs.at(op) for op in proofs.senders(message)[:EXAMPLES_MAX])
    return [
        f"{len(repeated)} messages were sent more than once, so that whether one of them is a "
        f"duplicate cannot be said; the first is {proofs.message(message)} of "
        f"{proofs.key(int(order.key[message]))} ({by})"
    ]


def _final_reads(history: History) -> list[str]:
    """Doubts where a run of ours did not read everything in the end."""
    if not phases(history):
        return []
    final = final_reads(history)
    if final is None:
        return ["there were no final reads: what is missing at the end of a key goes unseen"]
    if final.complete:
        return []
    stuck = "; ".join(final.stuck[:EXAMPLES_MAX]) or "they were interrupted"
    return [f"the final reads did not read everything: {stuck}"]


def _stats(order: Order) -> dict[str, Any]:
    tables = order.tables
    status = tables.status[tables.sent.op]
    unjudged = contents.unjudged(order)
    note = (
        f"{unjudged} acknowledged messages were not judged: nobody read them, nor past them, and "
        "no complete final reads followed"
    )
    return {
        "keys": len(tables.keys),
        "sends": {
            name: int((status == code).sum())
            for name, code in (("ok", OK), ("fail", FAIL), ("info", INFO))
        },
        "polled": len(tables.polled),
        "read": int(order.read.sum()),
        "never read though acknowledged": int((order.acknowledged & ~order.read).sum()),
        "not judged though acknowledged": unjudged,
        "steps while subscribed": Sequences.polls(order).unjudged,
        "worst-realtime-lag": worst_lag(order),
        **({"note": note} if unjudged else {}),
    }
