"""Licences: under which settings an anomaly is legal, and what must have caused it.

A setting alone excuses nothing: a message lost with acks=1 is legal where a leader may have
changed, and a bug where nothing was broken.

    control   what is licensed                         setting             cause in the history
    C01       loss, and what a reused offset shows     acks=0, acks=1      leaders may have changed
    C01       the same, and what readers saw undone    unclean=true        leaders may have changed
    C02       a message twice                          no idempotence      an answer may be lost
    C13, C15  loss of what was only in page caches     flush-messages > 1  too many without power
    C10       loss of what had expired                 retention-ms        that much time
    C09       nothing found by time                    always              leaders may have changed
    C04       gaps between the sends of an operation   always              none needed
    –         what only a stronger model forbids       consistency-model   none needed
    C14       two that believe to hold a lock          fenced              none needed
    –         what only another model forbids          causality           none needed
    –         reads of a set that come too early       linearizable        none needed
    –         values that are lost, or come out twice  delivery            none needed
    –         balances below zero                      negative-balances   none needed
    –         what other sessions' guarantees forbid   sessions            none needed

A cause lies in a case's window; a fault counts from its invocation until `LINGER_NS` after its end.
What it hit counts, too: where only clients were cut off, no leader changed. So does what it is: an
operation that nobody knows (a look, load, however long it lasts) may have broken nothing,
and so excuses nothing. A nemesis of somebody's plug-in says which of `FAULTS` its own is *like*, in
the evidence of its effect: `Effect.observed(like="pause")`.
Source: the controls, behaviours that must not be flagged, of the catalogue of faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from harness import consistency
from harness.history import History
from harness.spells import Spell
from harness.windows import ANYBODY, LONG_AGO, Bools, Windows

LINGER_NS = 15 * 1_000_000_000
"""How long after its end a fault still counts. A leader that was paused goes on acknowledging until
its session has ended; a cut link delivers what it held; an operation that met the fault may be
retried until its time-out, 10 s by default."""

# What an acknowledged message that is gone looks like, when nobody had read it: it is missing, and
# another one has its offset, so that a sender's next message may lie before its last one.
LOSS = (
    "lost-write",
    "unseen",
    "inconsistent-offsets",
    "nonmonotonic-send",
    "int-nonmonotonic-send",
)
# And when it may have been read: readers are set back, and a retry may put it elsewhere.
UNDOING = (
    *LOSS,
    "read-then-lost",
    "deleted-reappears",
    "poll-skip",
    "int-poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
    "listoffsets-too-late",
    "listoffsets-too-early",
)


FAULTS = frozenset(
    {"kill", "power-off", "pause", "partition", "links", "reset-links", "crash", "disk"}
    | {"packet", "bump-clock", "strobe-clock", "reset-clock"}
)
"""What is known to break something: ours, and Jepsen's."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What may have caused a case whose window it meets.

    Attributes:
        words: for a sentence.
        begin, end: nanoseconds.
        process: the only process to whose sends it can have done anything; None for all.
        since: only what was sent since then.
    """

    words: str
    begin: int
    end: int
    process: int | None = None
    since: int = LONG_AGO


Find = Callable[[Sequence[Spell], History], list[Cause]]


def _nothing(faults: Sequence[Spell], history: History) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Licence:
    """A setting under which some anomalies are legal, if they have a cause.

    Attributes:
        setting: what the run was told, as a person would say it.
        why: how the anomaly follows from it; a sentence that goes on from `setting`.
        needs: what the history must show, in words.
        causes: faults and history → all causes.
        strict: whether it holds under the strongest promise, too.
        by_leaders: whether it works by a change of leaders, and so not after `led_until`.
        unsettled: whether it excuses nothing that had been read.
        retries: whether a send that lasted long is a cause.
        age_ns: as much time is a cause; None if time is none.
        always: whether no cause is needed.
    """

    control: str
    anomalies: tuple[str, ...]
    setting: str
    why: str
    needs: str
    causes: Find = _nothing
    strict: bool = False
    by_leaders: bool = False
    unsettled: bool = False
    retries: bool = False
    age_ns: int | None = None
    always: bool = False

    def excuses(self, windows: Windows, causes: Sequence[Cause]) -> Bools:
        """bool[cases]; which of the cases have one of the causes."""
        legal = np.full(len(windows), self.always)
        for cause in causes:
            legal |= self._meets(windows, cause)
        if self.retries:
            legal |= windows.retried
        if self.age_ns is not None:
            legal |= (windows.begin > LONG_AGO) & (windows.end - windows.begin >= self.age_ns)
        return legal & ~windows.settled if self.unsettled else legal

    def words(self, window: Windows, causes: Sequence[Cause]) -> str:
        """What caused the one case of the window."""
        found = [cause.words for cause in causes if self._meets(window, cause).any()]
        if found:
            return _listed(found)
        if self.retries and window.retried.any():
            return "the send lasted so long that it may have been sent again"
        if self.age_ns is not None:
            return f"{(window.end[0] - window.begin[0]) / 1e9:.1f} s passed"
        return "no cause is needed" if self.always else "nothing was broken"

    def _meets(self, windows: Windows, cause: Cause) -> Bools:
        end = np.minimum(windows.end, windows.led_until) if self.by_leaders else windows.end
        meets: Bools = (cause.begin <= end) & (cause.end >= windows.begin)
        meets &= windows.begin >= cause.since
        if cause.process is not None:
            meets &= (windows.process == cause.process) | (windows.process == ANYBODY)
        return meets


def licences(promises: Mapping[str, Any]) -> Iterator[Licence]:
    """All that these promises give; the first that finds a cause decides."""
    if promises.get("acks", "all") != "all":
        yield _weak_acks(promises)
    if promises.get("unclean") is True and promises.get("replication-factor") != 1:
        yield _unclean()
    if promises.get("idempotence") is False and promises.get("retries") != 0:
        yield _retried()
    if promises.get("flush-messages") != 1:
        yield _page_caches(promises)
    if promises.get("retention-ms") is not None:
        yield _retention(promises["retention-ms"])
    yield Licence(
        "C09",
        ("listoffsets-too-late",),
        "always",
        "a leader that does not know yet that another one leads finds nothing where it has nothing",
        "a fault that can change leaders",
        partial(_any, _can_change_leaders),
        strict=True,
        unsettled=True,
    )
    if promises.get("consistency-model") is not None:
        yield _weak_isolation(promises["consistency-model"], promises.get("anomalies") or "")
    if promises.get("fenced") is True:
        why = "who holds a lock is decided by tokens, where its resource is asked"
        legal = ("mutex-overlap",)
        yield Licence("C14", legal, "fenced=true", why, "nothing", strict=True, always=True)
    if promises.get("causality") in WEAK_CAUSALITY:
        yield _weak_causality(promises["causality"])
    if promises.get("delivery") in WEAK_DELIVERY:
        yield _weak_delivery(promises["delivery"])
    if promises.get("linearizable") is False:
        why = "a set need not show at once what is in it"
        setting, legal = "linearizable=false", ("stale-read",)
        yield Licence("by definition", legal, setting, why, "nothing", strict=True, always=True)
    if promises.get("negative-balances") is True:
        why, legal = "somebody may owe something", ("negative-value",)
        setting = "negative-balances=true"
        yield Licence("by definition", legal, setting, why, "nothing", strict=True, always=True)
    if (promised := promises.get("sessions")) is not None:
        yield _other_guarantees(promised)
    yield Licence(
        "C04",
        ("int-send-skip",),
        "always",
        "others send, too: nothing is promised about offsets between two sends of an operation",
        "nothing",
        strict=True,
        always=True,
    )


def _weak_isolation(model: str, besides: str) -> Licence:
    wrong = consistency.forbidden(model).union(consistency.anomalies(besides) or ())
    legal = set(consistency.ANOMALIES) - wrong
    return Licence(
        "by definition",
        tuple(name for name in consistency.ANOMALIES if name in legal),
        f"consistency-model={model}",
        "only stronger models forbid it",
        "nothing",
        strict=True,
        always=True,
    )


WEAK_CAUSALITY: Mapping[str, tuple[str, ...]] = {
    "cc": ("CyclicCF", "WriteHBInitRead", "CyclicHB"),
    "ccv": ("WriteHBInitRead", "CyclicHB"),
    "cm": ("CyclicCF",),
}
"""What is legal under causal consistency, causal convergence and causal memory."""


WEAK_DELIVERY: Mapping[str, tuple[tuple[str, ...], str]] = {
    "at-least-once": (("duplicate",), "what may have been lost on its way is delivered again"),
    "at-most-once": (("lost",), "what was lost on its way is not delivered again"),
}
"""What is legal under each, and why."""


def _weak_delivery(how: str) -> Licence:
    legal, why = WEAK_DELIVERY[how]
    setting = f"delivery={how}"
    return Licence("by definition", legal, setting, why, "nothing", strict=True, always=True)


def _weak_causality(model: str) -> Licence:
    return Licence(
        "by definition",
        WEAK_CAUSALITY[model],
        f"causality={model}",
        "only other models forbid it",
        "nothing",
        strict=True,
        always=True,
    )


SESSION_GUARANTEES: Mapping[str, str] = {
    "ryw": "read-your-writes",
    "mr": "monotonic-reads",
    "mw": "monotonic-writes",
    "wfr": "writes-follow-reads",
}
"""What sessions may rely on, in short and in full."""


def _other_guarantees(promised: Sequence[str]) -> Licence:
    short = ",".join(one for one, full in SESSION_GUARANTEES.items() if full in promised)
    return Licence(
        "by definition",
        tuple(name for name in SESSION_GUARANTEES.values() if name not in promised),
        f"sessions={short}",
        "only other guarantees forbid it",
        "nothing",
        strict=True,
        always=True,
    )


def _weak_acks(promises: Mapping[str, Any]) -> Licence:
    if promises["acks"] == "0":
        # Nor in which order, so that here a message that was read (`unsettled`) proves nothing: a
        # server that was paused may take an earlier one from its socket after a later one.
        why = "the producer does not wait for an answer, so nobody knows what arrived"
        return Licence("C01", LOSS, "acks=0", why, "any fault", _faults_and_crashes)
    why = (
        "the leader answers before anybody else has the message, so one that stops leading may "
        "take acknowledged messages with it"
    )
    if promises.get("replication-factor") == 1:
        # Nobody else can lead; only what was not synced can go.
        losing = _losing(promises)
        causes = partial(_any, lambda spell: spell.acts_as in losing)
        return Licence("C01", LOSS, "acks=1", why, "a power failure", causes, unsettled=True)
    return Licence(
        "C01",
        LOSS,
        "acks=1",
        why,
        "a fault that can change leaders",
        partial(_any, _can_change_leaders),
        by_leaders=True,
        unsettled=True,
    )


def _unclean() -> Licence:
    return Licence(
        "C01",
        (*UNDOING, "duplicate"),
        "unclean=true",
        "a replica that was not in sync may lead, and what it lacks is gone, read or not",
        "a fault that can change leaders",
        partial(_any, _can_change_leaders),
        by_leaders=True,
    )


def _retried() -> Licence:
    return Licence(
        "C02",
        ("duplicate",),
        "idempotence=false",
        "a producer that gets no answer sends again, and the broker takes it for another message",
        "a fault that can lose an answer, or a send that timed out",
        partial(_any, _breaks),
        retries=True,
    )


def _page_caches(promises: Mapping[str, Any]) -> Licence:
    """With acks=all as many replicas have a message as must be in sync; else one may be alone."""
    replicas = promises.get("replication-factor") or 3
    enough = promises.get("min-insync-replicas") or max(replicas - 1, 1)
    if promises.get("acks", "all") != "all" or promises.get("unclean") is True:
        enough = 1
    return Licence(
        "C13",
        UNDOING,
        f"flush-messages={promises.get('flush-messages') or 'unset'}",
        "messages are acknowledged from page caches, and a message need be in no more than "
        f"{enough} of them",
        f"{enough} nodes without power at once",
        partial(_together, enough, _losing(promises)),
    )


def _retention(retention_ms: int) -> Licence:
    return Licence(
        "C10",
        (
            "lost-write",
            "unseen",
            "read-then-lost",
            "poll-skip",
            "int-poll-skip",
            "nonmonotonic-poll",
            "listoffsets-too-late",
        ),
        f"retention-ms={retention_ms}",
        "messages expire, and a reader that is behind is set to what is left",
        "as much time",
        strict=True,
        age_ns=retention_ms * 1_000_000,
    )


# -- causes --------------------------------------------------------------------------------------


def _breaks(spell: Spell) -> bool:
    """Any fault can lose an answer on its way."""
    return spell.acts_as in FAULTS


def _can_change_leaders(spell: Spell) -> bool:
    """Of or around any node: who led what is not in the history. Cut-off clients move nobody."""
    return _breaks(spell) and spell.between_nodes


def _losing(promises: Mapping[str, Any]) -> frozenset[str]:
    """Faults that take a node's page cache. A volatile disk is the node's own process."""
    volatile = promises.get("disk") == "volatile"
    return frozenset({"power-off", "kill", "crash"} if volatile else {"power-off"})


def _any(fits: Callable[[Spell], bool], faults: Sequence[Spell], _: History) -> list[Cause]:
    """Each fault that `fits`."""
    return [
        Cause(spell.describe(), spell.begin, spell.end + LINGER_NS)
        for spell in faults
        if fits(spell)
    ]


def _faults_and_crashes(faults: Sequence[Spell], history: History) -> list[Cause]:
    """Any fault; and a client that went away with what it had not sent yet.

    Such a client takes its own messages only, and those that it was given shortly before; and each
    client goes away when the final reads begin, by which time there is nothing to send.
    """
    phases = [
        int(history.time[position])
        for position in history.select(f="phase").tolist()
        if history[position].value == "final-reads"
    ]
    last = min(phases, default=int(history.time.max()) if len(history) else 0)
    crashes = [
        Cause("its client crashed", time, time, process, time - LINGER_NS)
        for position in history.select(f="crash").tolist()
        if (process := int(history.process[position])) >= 0
        and (time := int(history.time[position])) <= last
    ]
    return _any(_breaks, faults, history) + crashes


def _together(
    enough: int, kinds: frozenset[str], faults: Sequence[Spell], _: History
) -> list[Cause]:
    """`enough` nodes that lost their page cache and had not caught up in between.

    All of them must meet the window: it ends after the last began, and begins before the first of
    those that are needed was over.
    """
    lost = [spell for spell in faults if spell.acts_as in kinds]
    found = []
    for last in lost:
        weak = _weak_at(last, lost)
        still = 0 if last.weak is None else last.begin
        until: dict[str, int] = {}
        for spell in weak:
            if spell.node is not None:
                until[spell.node] = max(until.get(spell.node, still), spell.end)
        ends = sorted(until.values(), reverse=True)
        over = [s.end for s in weak if s.node is None] + ends[enough - 1 : enough]
        if over:
            words = _listed([spell.describe() for spell in weak])
            found.append(Cause(words, last.begin, max(over) + LINGER_NS))
    return found


def _weak_at(last: Spell, lost: Sequence[Spell]) -> list[Spell]:
    """The losses of nodes that lacked writes when `last` began, its own among them.

    Where the harness looked who was back in sync, that counts; else the time since they returned.
    """
    before = [spell for spell in lost if spell.begin <= last.begin]
    recent = [spell for spell in before if last.begin <= spell.end + LINGER_NS]
    if last.weak is None:
        return recent
    latest = {spell.node: spell for spell in before if spell.node in last.weak}
    own = [s for s in recent if s.position == last.position or s.weak is None]
    return list(dict.fromkeys([*latest.values(), *own]))


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more
