"""Licences: under which settings an anomaly is legal, and what must have caused it.

A setting alone excuses nothing: a message lost with acks=1 is legal where a leader may have
changed, and a bug where nothing was broken.

    control   what is licensed                         setting             cause in the history
    C01       loss, and what a reused offset shows     acks=0, acks=1      leaders may have changed
    C01       the same, and what readers saw undone    unclean=true        leaders may have changed
    C02       a message twice                          no idempotence      an answer may be lost
    C13, C15  loss of what was only in page caches     flush-messages > 1  too many without power
    C10       loss of what had expired                 retention-ms        that much time
    C04       gaps between the sends of an operation   always              none needed

A cause lies in a finding's `span`; a fault counts from its invocation until `LINGER_NS` after its
end. What it hit counts, too: where only clients were cut off, no leader changed.
Source: the controls, behaviours that must not be flagged, of the catalogue of faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.history import History
from harness.spells import Spell
from harness.verdict import Finding

Cause = Callable[[Finding, Sequence[Spell], History], str | None]
"""Finding, faults and history → the cause in words, or None if there is none."""

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
    "poll-skip",
    "int-poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
)


@dataclass(frozen=True, slots=True)
class Licence:
    """A setting under which some anomalies are legal, if they have a cause.

    Attributes:
        setting: what the run was told, as a person would say it.
        why: how the anomaly follows from it; a sentence that goes on from `setting`.
        needs: what the history must show, in words.
        strict: whether it holds under the strongest promise, too.
    """

    control: str
    anomalies: tuple[str, ...]
    setting: str
    why: str
    needs: str
    cause: Cause
    strict: bool = False


def licences(promises: Mapping[str, Any]) -> Iterator[Licence]:
    """All that these promises give; the first that finds a cause decides."""
    if promises.get("acks", "all") != "all":
        yield _weak_acks(promises)
    if promises.get("unclean") is True:
        yield _unclean()
    if promises.get("idempotence") is False and promises.get("retries") != 0:
        yield _retried()
    if promises.get("flush-messages") != 1:
        yield _page_caches(promises)
    if promises.get("retention-ms") is not None:
        yield _retention(promises["retention-ms"])
    yield Licence(
        "C04",
        ("int-send-skip",),
        "always",
        "others send, too: nothing is promised about offsets between two sends of an operation",
        "nothing",
        lambda finding, faults, history: "nothing was broken",
        strict=True,
    )


def _weak_acks(promises: Mapping[str, Any]) -> Licence:
    if promises["acks"] == "0":
        why = "the producer does not wait for an answer, so nobody knows what arrived"
        return Licence("C01", LOSS, "acks=0", why, "any fault", _or_client_crash(_any(_every)))
    why = (
        "the leader answers before anybody else has the message, so one that stops leading may "
        "take acknowledged messages with it"
    )
    if promises.get("replication-factor") == 1:
        # Nobody else can lead; only what was not synced can go.
        losing = _losing(promises)
        cause = _any(lambda spell: spell.kind in losing)
        return Licence("C01", LOSS, "acks=1", why, "a power failure", _unread(cause))
    cause = _any(_can_change_leaders)
    return Licence("C01", LOSS, "acks=1", why, "a fault that can change leaders", _unread(cause))


def _unclean() -> Licence:
    return Licence(
        "C01",
        (*UNDOING, "duplicate"),
        "unclean=true",
        "a replica that was not in sync may lead, and what it lacks is gone, read or not",
        "a fault that can change leaders",
        _any(_can_change_leaders),
    )


def _retried() -> Licence:
    return Licence(
        "C02",
        ("duplicate",),
        "idempotence=false",
        "a producer that gets no answer sends again, and the broker takes it for another message",
        "a fault that can lose an answer",
        _any(_every),
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
        ),
        f"retention-ms={retention_ms}",
        "messages expire, and a reader that is behind is set to what is left",
        "as much time",
        partial(_expired, retention_ms),
        strict=True,
    )


# -- causes --------------------------------------------------------------------------------------


def _every(spell: Spell) -> bool:
    """Any fault can lose an answer on its way."""
    return True


def _can_change_leaders(spell: Spell) -> bool:
    """Of or around any node: who led what is not in the history. Cut-off clients move nobody."""
    return spell.between_nodes


def _losing(promises: Mapping[str, Any]) -> frozenset[str]:
    """Faults that take a node's page cache. A volatile disk is the node's own process."""
    volatile = promises.get("disk") == "volatile"
    return frozenset({"power-off", "kill", "crash"} if volatile else {"power-off"})


def _any(fits: Callable[[Spell], bool]) -> Cause:
    """A fault that `fits` within the finding's span."""

    def cause(finding: Finding, faults: Sequence[Spell], history: History) -> str | None:
        found = [spell for spell in _within(finding, faults) if fits(spell)]
        return _listed(found) if found else None

    return cause


def _or_client_crash(cause: Cause) -> Cause:
    """As `cause`, or a client that went away with what it had not sent yet."""

    def found(finding: Finding, faults: Sequence[Spell], history: History) -> str | None:
        why = cause(finding, faults, history)
        if why is None:
            begin, end = finding.span or (0, 2**63 - 1)
            crashed = history.select(f="crash")
            crashed = crashed[history.process[crashed] >= 0]
            times = history.time[crashed]
            if ((times >= begin) & (times <= end)).any():
                why = "a client crashed"
        return why

    return found


def _unread(cause: Cause) -> Cause:
    """As `cause`; but of what was below the high watermark nothing may go.

    An offset with two messages is legal if one of them is known from its sender alone: two readers
    who disagree have both read below the high watermark.
    """

    def found(finding: Finding, faults: Sequence[Spell], history: History) -> str | None:
        if finding.anomaly == "inconsistent-offsets":
            fs = {history[position].f for position in finding.witness}
            if fs <= {"poll"}:
                return None
        return cause(finding, faults, history)

    return found


def _together(
    enough: int, kinds: frozenset[str], finding: Finding, faults: Sequence[Spell], _: History
) -> str | None:
    """`enough` nodes that lost their page cache and cannot have caught up in between."""
    lost = [spell for spell in _within(finding, faults) if spell.kind in kinds]
    for last in lost:
        weak = [s for s in lost if s.begin <= last.begin <= s.end + LINGER_NS]
        if len({spell.node for spell in weak}) >= enough or any(s.node is None for s in weak):
            return _listed(weak)
    return None


def _expired(retention_ms: int, finding: Finding, _: Sequence[Spell], __: History) -> str | None:
    if finding.span is None:
        return None
    age_s = (finding.span[1] - finding.span[0]) / 1e9
    return f"{age_s:.1f} s passed" if age_s * 1000 >= retention_ms else None


def _within(finding: Finding, faults: Iterable[Spell]) -> Iterator[Spell]:
    """The faults that may have had an effect in the finding's span; all if it has none."""
    if finding.span is None:
        yield from faults
        return
    begin, end = finding.span
    yield from (s for s in faults if s.begin <= end and s.end + LINGER_NS >= begin)


def _listed(found: Sequence[Spell]) -> str:
    said = [spell.describe() for spell in found[:3]]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(said) + more
