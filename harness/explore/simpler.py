"""Simpler runs that may fail like a given one: what `assay shrink` tries. Pure functions.

Each of `WAYS` takes the smallest failing run so far and gives runs that are simpler than it in one
way, the boldest first. Whether they fail is for others to find out.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from harness.arguments import parse_concurrency
from harness.history import History
from harness.op import Kind
from harness.tape import FAULTS, Event, Tape

MS = 1_000_000
NS = 1_000_000_000

GAP_MIN = 10 * MS
"""Events that are nearer to each other than this are left where they are."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tape and the arguments of `assay run` that it is played with."""

    arguments: argparse.Namespace
    tape: Tape

    @property
    def size(self) -> dict[str, int]:
        return {
            "operations": len(self.tape.clients),
            "faults": sum(1 for _ in groups(self.tape.faults)),
            "nodes": self.arguments.nodes,
            "threads": len({event.thread for event in self.tape.clients}),
            "ms": self.tape.end // MS,
        }

    def told(self, **changes: Any) -> Candidate:
        """The same tape, with some of the arguments changed."""
        return replace(self, arguments=argparse.Namespace(**{**vars(self.arguments), **changes}))

    def playing(self, events: Sequence[Event]) -> Candidate:
        """The same arguments and end, with these events."""
        return replace(self, tape=replace(self.tape, events=tuple(events)))


# -- events --------------------------------------------------------------------------------------


def groups(faults: Sequence[Event]) -> Iterator[tuple[Event, ...]]:
    """Faults with what ends them: to take one without the other would leave half a fault.

    An event that ends nothing, or nothing that is still on, is a group of its own.
    """
    enders = {"start": ("kill", "power-off"), "resume": ("pause",)}
    on: dict[str, list[list[Event]]] = {}
    found: list[list[Event]] = []
    for event in faults:
        kinds: Sequence[str]
        if event.f.startswith("stop-"):
            kinds = (event.f.removeprefix("stop-"),)
        elif event.f.startswith("reset-"):
            kinds = (event.f.removeprefix("reset-"),)
        else:
            kinds = enders.get(event.f, ())
        ended = [group for kind in kinds for group in on.get(kind, ())]
        if ended:
            ended[-1].append(event)
            if not event.f.startswith("reset-"):
                for kind in kinds:
                    on.pop(kind, None)
            continue
        group = [event]
        found.append(group)
        on.setdefault(event.f.removeprefix("start-"), []).append(group)
    yield from map(tuple, found)


def families(clients: Sequence[Event]) -> Iterator[list[list[Event]]]:
    """Operations that may be needless together: of one kind, or on one key. Those of one thread are
    no family: to take them out together seldom worked, and there are many threads."""
    ways: Sequence[Callable[[Event], object]] = (
        lambda event: event.f,
        lambda event: _keys(event)[:1],
    )
    for way in ways:
        found: dict[str, list[Event]] = {}
        for event in clients:
            found.setdefault(repr(way(event)), []).append(event)
        if len(found) > 1:
            yield list(found.values())


def spoken_of(
    tape: Tape, history: History, concurrency: int, witness: Sequence[int]
) -> Iterator[list[Event]]:
    """The operations that a finding names in the history that was played from the tape: they alone;
    each thread's first, too, which may tell what the thread reads; all of these threads."""
    processes = history.process.tolist()
    asked: dict[int, list[int]] = {}
    for position in history.select(type=Kind.INVOKE).tolist():
        if processes[position] >= 0:
            asked.setdefault(processes[position] % concurrency, []).append(position)
    own: dict[int, list[Event]] = {}
    for event in tape.clients:
        own.setdefault(event.thread, []).append(event)
    named: dict[int, Event] = {}  # by their ids: both ends of an operation are named
    for position in witness:
        thread = processes[position] % concurrency
        ordinal = bisect_right(asked.get(thread, []), position) - 1
        if processes[position] >= 0 and 0 <= ordinal < len(own.get(thread, ())):
            event = own[thread][ordinal]  # others are of the final reads
            named[id(event)] = event
    threads = sorted({event.thread for event in named.values()})
    first = {id(own[thread][0]): own[thread][0] for thread in threads}
    yield list(named.values())
    yield list({**named, **first}.values())
    yield [event for thread in threads for event in own[thread]]


def until(tape: Tape, end: int) -> Tape:
    """Nothing after `end`; what came before is the same to the letter."""
    return Tape(tuple(event for event in tape.events if event.time < end), end)


def gaps(tape: Tape) -> list[int]:
    """The places in the tape before which there is time to spare, longest first; the end's, too."""
    times = [0, *(event.time for event in tape.events), tape.end]
    found = {place: after - before for place, (before, after) in enumerate(pairwise(times))}
    return sorted((p for p in found if found[p] > GAP_MIN), key=lambda p: -found[p])


def closer(tape: Tape, place: int, gap: int) -> Tape:
    """What is at `place`, and all that follows it, comes so much time after what is before it."""
    times = [0, *(event.time for event in tape.events), tape.end]
    earlier = times[place + 1] - times[place] - gap
    events = [
        _with(event, time=event.time - earlier) if number >= place else event
        for number, event in enumerate(tape.events)
    ]
    return Tape(tuple(events), tape.end - earlier)


def faster(tape: Tape, factor: float) -> Tape:
    events = tuple(_with(event, time=int(event.time * factor)) for event in tape.events)
    return Tape(events, int(tape.end * factor))


# -- everything else -----------------------------------------------------------------------------


def fewer_threads(best: Candidate) -> Iterator[Candidate]:
    tape, arguments = best.tape, best.arguments
    used = sorted({event.thread for event in tape.clients})
    most = parse_concurrency(arguments.concurrency, arguments.nodes)
    if len(used) > 1:
        yield _threads(best, dict.fromkeys(used, 0))
    if used and len(used) < most:
        yield _threads(best, {thread: number for number, thread in enumerate(used)})
    if used and used[-1] + 1 < most:
        yield best.told(concurrency=str(used[-1] + 1))
    if not used and most > 1:
        yield best.told(concurrency="1")


def _threads(best: Candidate, place: Mapping[int, int]) -> Candidate:
    place = {**place, FAULTS: FAULTS}
    events = [_with(event, thread=place[event.thread]) for event in best.tape.events]
    return best.playing(events).told(concurrency=str(max(place.values()) + 1))


def fewer_nodes(best: Candidate) -> Iterator[Candidate]:
    """Without the last ones, which faults no longer name."""
    most = best.arguments.nodes
    # `1n` of fewer nodes would be fewer threads than the tape has.
    concurrency = str(parse_concurrency(best.arguments.concurrency, most))
    for nodes in range(1, most):
        gone = {f"n{number}" for number in range(nodes + 1, most + 1)}
        events = [_without(event, gone) for event in best.tape.events]
        left = [event for event in events if event is not None]
        yield best.playing(left).told(nodes=nodes, concurrency=concurrency)


def smaller_faults(best: Candidate) -> Iterator[Candidate]:
    """Fewer resets, nodes and links of one fault."""
    for group in groups(best.tape.faults):
        inner = [event for event in group[1:] if event.f.startswith("reset-")]
        if inner:
            yield best.playing([event for event in best.tape.events if event not in inner])
        first, *_ = group
        for value in _smaller(first.value):
            changed = {id(first): _with(first, value=value)}
            if isinstance(value, list):
                changed |= {id(event): _with(event, value=value) for event in group[1:]}
            yield best.playing([changed.get(id(event), event) for event in best.tape.events])


def _smaller(value: Any) -> Iterator[Any]:
    """Less of what a fault names: nodes, links, or who cannot hear whom."""
    if isinstance(value, list):
        yield from _fewer(value)
    elif isinstance(value, dict) and "links" in value:
        yield from ({**value, "links": links} for links in _fewer(value["links"]))
    elif isinstance(value, dict):
        for keys in _fewer(list(value)):
            yield {key: value[key] for key in keys}
        for key, whom in value.items():
            if isinstance(whom, list):
                yield from ({**value, key: fewer} for fewer in _fewer(whom))


def _fewer(items: Sequence[Any]) -> Iterator[list[Any]]:
    """Halves of it, then all but one; never nothing."""
    half = len(items) // 2
    if half > 1:
        yield from (list(items[:half]), list(items[half:]))
    if len(items) > 1:
        yield from ([*items[:at], *items[at + 1 :]] for at in range(len(items)))


def smaller_operations(best: Candidate) -> Iterator[Candidate]:
    """Fewer micro-operations and keys of one operation."""
    for place, event in enumerate(best.tape.events):
        if event.thread != FAULTS and isinstance(event.value, list):
            for value in _fewer(event.value):
                changed = _with(event, value=value)
                yield best.playing(
                    [*best.tape.events[:place], changed, *best.tape.events[place + 1 :]]
                )


def smaller_values(best: Candidate) -> Iterator[Candidate]:
    """Keys from 0 on, and what is written to each of them, too."""
    keys = sorted({key for event in best.tape.clients for key in _keys(event)})
    renamed = {key: number for number, key in enumerate(keys)}
    for names in (renamed, {}):
        next_of: dict[int, int] = {}
        events = [_renumbered(event, names, next_of) for event in best.tape.events]
        if tuple(events) != best.tape.events:
            yield best.playing(events)


def rounder_times(best: Candidate) -> Iterator[Candidate]:
    """Numbers that are easier to read."""
    for unit in (100 * MS, 10 * MS, MS):
        events = [_with(event, time=event.time // unit * unit) for event in best.tape.events]
        tape = Tape(tuple(events), -(-best.tape.end // unit) * unit)
        if tape != best.tape:
            yield replace(best, tape=tape)


def fewer_options(best: Candidate) -> Iterator[Candidate]:
    """Without liveness, faults that are not played, and options, so that defaults hold."""
    arguments = best.arguments
    if arguments.liveness is not None:
        yield best.told(liveness=None)
    played = [part for part in arguments.nemesis.split(",") if _plays(best.tape, part)]
    nemesis = ",".join(played) or "none"
    if nemesis != arguments.nemesis:
        yield best.told(nemesis=nemesis)
    options = list(arguments.options)
    for option in options:
        yield best.told(options=[each for each in options if each != option])


WAYS: Sequence[Callable[[Candidate], Iterator[Candidate]]] = (
    smaller_faults,
    fewer_nodes,
    smaller_operations,
    fewer_threads,
    fewer_options,
    smaller_values,
    rounder_times,
)


def _plays(tape: Tape, part: str) -> bool:
    """Whether a fault of the tape is done by this part of `--nemesis`. One that we do not know, of
    somebody else's module, may do any."""
    name = part.strip().partition(":")[0]
    begins = {"kill": "kill", "power": "power-off", "pause": "pause"}.get(name, f"start-{name}")
    return "." in name or any(event.f == begins for event in tape.faults)


def _keys(event: Event) -> list[int]:
    """The keys that an operation names, as far as its shape tells: micro-operations are lists of
    kind, key and value; an assignment is a list of keys."""
    if not isinstance(event.value, list):
        return []
    found = [each[1] if isinstance(each, list) and len(each) > 1 else each for each in event.value]
    return [key for key in found if isinstance(key, int)]


def _renumbered(event: Event, names: Mapping[int, int], next_of: dict[int, int]) -> Event:
    if event.thread == FAULTS or not isinstance(event.value, list):
        return event
    value: list[Any] = []
    for each in event.value:
        if isinstance(each, list) and len(each) == 3:
            kind, key, written = each
            key = names.get(key, key)
            if isinstance(written, int):
                written = next_of.get(key, 0)
                next_of[key] = written + 1
            value.append([kind, key, written])
        else:
            value.append(names.get(each, each) if isinstance(each, int) else each)
    return _with(event, value=value)


def _without(event: Event, gone: set[str]) -> Event | None:
    """The event if it names none of these nodes, else what is left of it; None for nothing."""
    if event.thread != FAULTS or not any(f'"{node}"' in json.dumps(event.value) for node in gone):
        return event
    value = _strip(event.value, gone)
    return _with(event, value=value) if value else None


def _strip(value: Any, gone: set[str]) -> Any:
    if isinstance(value, dict):
        if "links" in value:
            links = [link for link in value["links"] if not gone & set(link)]
            return {**value, "links": links} if links else None
        left = {key: _strip(each, gone) for key, each in value.items() if key not in gone}
        return {key: each for key, each in left.items() if each not in ([], None)}
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return [each for each in value if not gone & set(each)]
        return [each for each in value if each not in gone]
    return value


def _with(event: Event, **changes: Any) -> Event:
    shape = {"time": event.time, "thread": event.thread, "f": event.f, "value": event.value}
    return Event(**{**shape, "extra": event.extra, **changes})
