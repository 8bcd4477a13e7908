"""`assay shrink RUN`: the smallest simulated run that still shows what the run found.

    tape of the run ──▶ fewer faults ──▶ fewer operations ──▶ earlier end ──▶ fewer nodes, threads,
                    ▲                        (delta debugging)                keys; small values │
                    └────────────────────── again, while anything shrinks ◀──────────────────────┘

A candidate counts if its run, judged by the same contract, has a finding of the same name. Draws
are keyed by what they are for, so that an event that is taken out leaves most of the rest as it
was; what it does not leave is found out by running it.
Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (ddmin).
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from harness.arguments import parse_concurrency
from harness.errors import AssayError, UsageError
from harness.explore.once import fast, play
from harness.explore.replay import arguments_of
from harness.history import History
from harness.launch import store_verdict
from harness.report import text
from harness.store import RunFolder
from harness.tape import FAULTS, Event, Tape
from harness.verdict import Verdict

T = TypeVar("T")

NS = 1_000_000_000
CUTS = (0.5, 0.7, 0.9)
"""How much of the time between events is tried to be left out."""


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
            "ms": self.tape.end // 1_000_000,
        }


class Shrinker:
    """Tries candidates until the time is up.

    Attributes:
        best: the smallest one that failed so far. runs: how many were tried.
    """

    def __init__(self, first: Candidate, anomaly: str, budget_s: float) -> None:
        self.best, self.anomaly = first, anomaly
        self.runs = 0
        self._deadline = time.monotonic() + budget_s
        self._tried: set[bytes] = set()

    @property
    def over(self) -> bool:
        return time.monotonic() > self._deadline

    def fails(self, candidate: Candidate) -> bool:
        """Whether it still shows the anomaly; if so it is the best from now on."""
        key = repr(sorted(vars(candidate.arguments).items())).encode() + candidate.tape.dump()
        if self.over or key in self._tried:
            return False
        self._tried.add(key)
        self.runs += 1
        with tempfile.TemporaryDirectory(prefix="assay-shrink-", dir=fast()) as scratch:
            verdict = _verdict(candidate, RunFolder(Path(scratch)), keep=False)
        found = verdict is not None and self.anomaly in {f.anomaly for f in verdict.findings}
        if found:
            self.best = candidate
        return found

    def shrink(self) -> None:
        """Pass after pass, until none makes it smaller."""
        while not self.over:
            before = self.best
            for step in (self._faults, self._operations, self._time, self._rest):
                step()
            if self.best == before:
                return

    # -- passes ------------------------------------------------------------------------------

    def _faults(self) -> None:
        tape = self.best.tape
        others = tape.clients
        self._ddmin(
            list(groups(tape.faults)), lambda kept: [*others, *(e for g in kept for e in g)]
        )

    def _operations(self) -> None:
        tape = self.best.tape
        faults = tape.faults
        self._ddmin(list(tape.clients), lambda kept: [*faults, *kept])

    def _ddmin(self, items: list[T], events: Callable[[Sequence[T]], list[Event]]) -> None:
        """Fewer items: whole chunks first, then smaller ones."""
        if items and self._try_events(events([])):
            return
        chunk = max(len(items) // 2, 1)
        while items and not self.over:
            start, smaller = 0, False
            while start < len(items) and not self.over:
                kept = items[:start] + items[start + chunk :]
                if self._try_events(events(kept)):
                    items, smaller = kept, True
                else:
                    start += chunk
            if chunk == 1 and not smaller:
                return
            chunk = max(chunk // 2, 1)

    def _try_events(self, events: list[Event]) -> bool:
        return self.fails(replace(self.best, tape=self.best.tape.only(events)))

    def _time(self) -> None:
        """Earlier: the end first, then the gaps between events."""
        tape = self.best.tape
        last = tape.events[-1].time if tape.events else 0
        for end in (last, last + NS, last + 3 * NS):
            if end < tape.end and self.fails(replace(self.best, tape=replace(tape, end=end))):
                break
        for cut in reversed(CUTS):
            tape = self.best.tape
            events = tuple(
                Event(int(e.time * (1 - cut)), e.thread, e.f, e.value, e.extra) for e in tape.events
            )
            shorter = Tape(events, int(tape.end * (1 - cut)))
            if self.fails(replace(self.best, tape=shorter)):
                break

    def _rest(self) -> None:
        for candidate in _simpler(self.best):
            self.fails(candidate)


def _simpler(best: Candidate) -> Iterator[Candidate]:
    """The same with fewer threads, nodes and keys, and with small values."""
    arguments, tape = best.arguments, best.tape
    used = sorted({event.thread for event in tape.clients})
    concurrency = parse_concurrency(arguments.concurrency, arguments.nodes)
    if used and len(used) < concurrency:
        place = {thread: number for number, thread in enumerate(used)} | {FAULTS: FAULTS}
        events = tuple(_at(event, place[event.thread]) for event in tape.events)
        fewer = _with(arguments, concurrency=str(len(used)))
        yield Candidate(fewer, replace(tape, events=events))
    renumbered = _renumbered(tape)
    if renumbered != tape:
        yield Candidate(arguments, renumbered)
    for nodes in (1, 2, 3):
        if nodes < arguments.nodes and not _names(tape, nodes):
            # `1n` of fewer nodes would be fewer threads than the tape has.
            fewer = _with(arguments, nodes=nodes, concurrency=str(concurrency))
            yield Candidate(fewer, tape)


def _names(tape: Tape, nodes: int) -> bool:
    """Whether a fault names a node beyond the first `nodes`."""
    words = json.dumps([event.value for event in tape.faults])
    return any(f'"n{number}"' in words for number in range(nodes + 1, 100))


def _renumbered(tape: Tape) -> Tape:
    """Values that are sent, per key, from 0 on."""
    next_of: dict[Any, int] = {}
    events = []
    for event in tape.events:
        if event.f != "send" or not isinstance(event.value, list):
            events.append(event)
            continue
        mops = []
        for mop in event.value:
            kind, key, _ = mop
            mops.append([kind, key, next_of.get(key, 0)])
            next_of[key] = next_of.get(key, 0) + 1
        events.append(Event(event.time, event.thread, event.f, mops, event.extra))
    return replace(tape, events=tuple(events))


def _at(event: Event, thread: int) -> Event:
    return Event(event.time, thread, event.f, event.value, event.extra)


def _with(arguments: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), **changes})


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


def _verdict(candidate: Candidate, folder: RunFolder, *, keep: bool) -> Verdict | None:
    """Of the candidate's run; None if it cannot be run."""
    path = folder.path / "tape.json"
    path.write_bytes(candidate.tape.dump())
    arguments = _with(candidate.arguments, tape=path)
    try:
        _, verdict, _ = play(arguments, arguments.seed, folder, keep=keep)
    except AssayError:
        return None
    return verdict


def shrink_command(arguments: argparse.Namespace) -> int:
    """Exit status: 1, since what is left still fails; 2 if there was nothing to shrink."""
    folder = RunFolder.find(arguments.run)
    told = arguments_of(folder)
    if told.cluster != "sim":
        raise UsageError("only simulated runs shrink: elsewhere a run that passes proves nothing")
    anomalies = list(folder.load("verdict.json").get("anomalies", {}))
    anomaly = arguments.anomaly or (anomalies[0] if anomalies else None)
    if anomaly is None or anomaly not in anomalies:
        raise UsageError(f"{folder.path} found {', '.join(anomalies) or 'nothing'}; give --anomaly")
    tape = (
        Tape.load(told.tape)
        if told.tape is not None
        else Tape.of(History.load(folder.history), parse_concurrency(told.concurrency, told.nodes))
    )
    first = Candidate(told, tape)
    shrinker = Shrinker(first, anomaly, arguments.budget)
    if not shrinker.fails(first):
        raise UsageError(
            f"played from its tape, the run shows no {anomaly}: it hangs on a chance that the tape "
            "does not hold; explore with other seeds"
        )
    shrinker.shrink()
    into = RunFolder.create(arguments.results or folder.path.parent.parent, "shrunk")
    verdict = _verdict(shrinker.best, into, keep=True)
    assert verdict is not None
    store_verdict(into, verdict, f"shrunk from {folder.path.name}, seed {told.seed}", 0.0)
    shape = {
        "run": str(into.path),
        "of": str(folder.path),
        "anomaly": anomaly,
        "before": first.size,
        "after": shrinker.best.size,
        "runs": shrinker.runs,
        "out of time": shrinker.over,
    }
    into.save("shrunk.json", shape)
    if arguments.json:
        print(json.dumps(shape))
    else:
        print(_said(shape, verdict, shrinker.best.tape))
    return 1


def _said(shape: dict[str, Any], verdict: Verdict, tape: Tape) -> str:
    sizes = ", ".join(f"{shape['before'][k]} → {shape['after'][k]} {k}" for k in shape["after"])
    lines = [f"SHRUNK  {shape['anomaly']}: {sizes}; {shape['runs']} runs"]
    if shape["out of time"]:
        lines.append("  the time was up: a larger --budget may find less")
    for event in tape.events:
        who = "nemesis" if event.thread == FAULTS else f"thread {event.thread}"
        lines.append(f"  {event.time / NS:9.3f} s  {who}  {event.f} {json.dumps(event.value)}")
    lines.append(text.render(verdict, "the run that is left"))
    lines.append(f"  replay:  assay replay {shlex.quote(shape['run'])}")
    lines.append(f"  look:    {shape['run']}/report.html")
    return "\n".join(lines)
