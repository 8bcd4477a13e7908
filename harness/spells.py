"""The faults of a history as spells: what was broken, where, and from when to when.

    fault          begins with        is over after                       hits
    kill           kill               start of the same node              a node
    power-off      power-off          start of the same node              a node
    pause          pause              resume of the same node             a node
    partition      start-partition    stop-partition, the next partition  links
    links          start-links        stop-links, the next start-links    links
    any other X    start-X            stop-X, the next start-X            whatever its value names
                   X                  its own completion

A crash that nobody planned is a spell, too. Whatever is still open ends with the phase that heals,
or with the history. Faults that were skipped are none. Other tools' values (`"majority"`, `:all`)
name no node; such a spell has no targets, which means: anything may have been hit.

Called by `harness.guarantees` (is there a cause?) and `harness.coverage` (what was exercised?).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.history import History
from harness.op import Op

HEALERS: Mapping[str, str] = {"kill": "start", "power-off": "start", "pause": "resume"}
"""Faults of single nodes, and the operation that ends them."""

CLIENT_HOST = re.compile(r"c\d+")
"""Names of client hosts; see `harness.cluster.contract`."""

MARKS = frozenset({"phase", "stats"})
"""What a run journals of itself as operations of the nemesis."""

Link = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Spell:
    """One fault at one node, or on a set of links.

    Attributes:
        kind: see the table.
        position: of its first event in the history.
        begin, end: nanoseconds; it may have had an effect from its invocation until it was over.
        applied: when it had been applied for sure; `begin` if nobody knows.
        node: the node that was hit; None where links or unknown targets were.
        links: directed links (from, to) that were hit.
        roles: what the node was then ("leader", "controller", "follower"), if the run wrote it.
        like: the fault that a plug-in says its own is like; see `acts_as`.
        weak: nodes that lacked writes before it, since they were not back in sync after an earlier
            loss; None where nobody looked.
        healer: position of the first event of the operation that ended it; None if nobody did, and
            it was over because the history was.
    """

    kind: str
    position: int
    begin: int
    end: int
    applied: int
    node: str | None = None
    links: frozenset[Link] = frozenset()
    roles: tuple[str, ...] = ()
    like: str | None = None
    weak: tuple[str, ...] | None = None
    healer: int | None = None

    @property
    def acts_as(self) -> str:
        """The kind by whose effects it is to be judged: what somebody calls a fault says nothing of
        what it breaks."""
        return self.like or self.kind

    @property
    def between_nodes(self) -> bool:
        """Whether it can have touched what nodes say to each other, or a node itself."""
        if not self.links:
            return True
        return not all(any(map(CLIENT_HOST.fullmatch, link)) for link in self.links)

    def describe(self) -> str:
        """For a sentence: `kill of n1 at 3.1 s`."""
        whom = f" of {self.node}" if self.node else ""
        if self.links:
            names = sorted({name for link in self.links for name in link})
            whom = f" around {', '.join(names)}"
        return f"{self.kind}{whom} at {self.begin / 1e9:.1f} s"


def spells(history: History) -> list[Spell]:
    """All faults that were applied, in the order in which they began."""
    reader = _Reader()
    for begun, ended in operations(history):
        reader.take(begun, ended)
    end = int(history.time.max()) if len(history) else 0
    reader.end_all(end, None)
    return sorted(reader.found, key=lambda s: (s.begin, s.position, s.node or ""))


def operations(history: History) -> Iterator[tuple[Op, Op | None]]:
    """What others than clients did: both events of each operation, in order of the first one."""
    for position in (history.process < 0).nonzero()[0].tolist():
        pair = int(history.pair[position])
        if not 0 <= pair < position:
            yield history[position], history[pair] if pair >= 0 else None


class _Reader:
    """Goes through the nemesis' operations and keeps what is still on."""

    def __init__(self) -> None:
        self.found: list[Spell] = []
        self._on: list[Spell] = []

    def take(self, begun: Op, ended: Op | None) -> None:
        time, f = (ended or begun).time, begun.f
        heals = f in HEALERS.values() or f.startswith("stop-")
        if f == "phase":
            if begun.value == "heal" and ended is not None and _says(ended, "at", "end"):
                self.end_all(time, begun.index)
        elif heals and _effect(ended).get("outcome") == "failed":
            pass  # nobody knows what it mended
        elif f.startswith("stop-"):
            kind = f.removeprefix("stop-")
            self._end(time, begun.index, lambda spell: spell.kind == kind)
        elif heals:
            self._mend(begun, _effect(ended), time)
        elif f not in MARKS:
            self._begin(begun, ended)

    def _mend(self, healer: Op, effect: Mapping[str, Any], time: int) -> None:
        """Nodes are up again, but for those that a probe saw down; all if none is named."""
        nodes = _nodes(healer.value)
        kinds = {kind for kind, by in HEALERS.items() if by == healer.f} | {"crash"}
        up = {node for node in nodes if _outcome(effect, node) != "unobserved"}
        self._end(
            time,
            healer.index,
            lambda spell: spell.kind in kinds and (not nodes or spell.node in up),
        )

    def end_all(self, time: int, healer: int | None) -> None:
        self._end(time, healer, lambda spell: True)

    def _begin(self, begun: Op, ended: Op | None) -> None:
        kind = begun.f.removeprefix("start-")
        lasting = kind != begun.f or kind in (*HEALERS, "crash")
        if kind != begun.f:
            self._end(begun.time, begun.index, lambda spell: spell.kind == kind)
        for spell in _applied(kind, begun, ended):
            if lasting:
                self._on.append(spell)
            else:
                healer = None if ended is None else begun.index
                self.found.append(replace(spell, end=(ended or begun).time, healer=healer))

    def _end(self, time: int, healer: int | None, over: Callable[[Spell], bool]) -> None:
        self.found += [
            replace(spell, end=max(time, spell.begin), healer=healer)
            for spell in self._on
            if over(spell)
        ]
        self._on = [spell for spell in self._on if not over(spell)]


def _applied(kind: str, begun: Op, ended: Op | None) -> Iterator[Spell]:
    """What an operation broke: a spell a node, or one for its links or for targets unknown."""
    effect = _effect(ended)
    if effect.get("outcome") == "skipped":
        return
    applied = ended.time if ended is not None else begun.time
    evidence = effect.get("evidence")
    like, weak = _like(evidence), _weak(evidence)
    spell = Spell(kind, begun.index, begun.time, begun.time, applied, like=like, weak=weak)
    if kind == "crash":
        yield _crash(spell, begun.value)
    elif links := _links(begun.value):
        yield replace(spell, links=links)
    elif nodes := _nodes(begun.value):
        roles = (ended.extra or {}).get("roles", {}) if ended is not None else {}
        for node in nodes:
            if _outcome(effect, node) != "skipped":
                like = _like(_seen(effect, node)) or spell.like
                yield replace(spell, node=node, roles=tuple(roles.get(node, ())), like=like)
    else:
        yield spell


def _crash(spell: Spell, value: Any) -> Spell:
    """The mark of a crash says which node ended and when, which was before it was noticed."""
    if not isinstance(value, Mapping):
        return spell
    at, node = value.get("time_ns"), value.get("node")
    begin = min(max(at, 0), spell.begin) if isinstance(at, int) else spell.begin
    return replace(spell, begin=begin, node=node if isinstance(node, str) else None)


def _outcome(effect: Mapping[str, Any], node: str) -> Any:
    """What came of it at one node of several, if the effect says so."""
    return _seen(effect, node).get("outcome")


def _seen(effect: Mapping[str, Any], node: str) -> Mapping[str, Any]:
    """What was seen at one node of several."""
    evidence = effect.get("evidence")
    seen = evidence.get(node) if isinstance(evidence, Mapping) else None
    return seen if isinstance(seen, Mapping) else {}


def _like(evidence: Any) -> str | None:
    """What the fault is like, if its evidence says so."""
    like = evidence.get("like") if isinstance(evidence, Mapping) else None
    return like if isinstance(like, str) else None


def _weak(evidence: Any) -> tuple[str, ...] | None:
    """Who lacked writes before it, if its evidence says so."""
    weak = evidence.get("weak") if isinstance(evidence, Mapping) else None
    return tuple(map(str, weak)) if isinstance(weak, list) else None


def _effect(ended: Op | None) -> Mapping[str, Any]:
    effect = (ended.extra or {}).get("effect") if ended is not None else None
    return effect if isinstance(effect, Mapping) else {}


def _says(op: Op, key: str, value: Any) -> bool:
    return key in (op.extra or {}) and (op.extra or {})[key] == value


def _nodes(value: Any) -> tuple[str, ...]:
    """The nodes that a value names; none if it speaks of them in another way."""
    if isinstance(value, Mapping):
        value = list(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    return ()


def _links(value: Any) -> frozenset[Link]:
    """The links of a grudge (receiver → senders that it does not hear) or of a list of pairs."""
    if not isinstance(value, Mapping):
        return frozenset()
    pairs = value.get("links")
    if isinstance(pairs, list):
        return frozenset(_pairs(pairs))
    if value and all(isinstance(senders, list) for senders in value.values()):
        return frozenset((str(s), r) for r, senders in value.items() for s in senders)
    return frozenset()


def _pairs(pairs: Iterable[Any]) -> Iterator[Link]:
    for pair in pairs:
        if isinstance(pair, list) and len(pair) == 2:
            yield str(pair[0]), str(pair[1])
