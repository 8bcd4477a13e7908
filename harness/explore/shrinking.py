"""`assay shrink RUN`: the smallest simulated run that still shows what the run found.

    tape of the run ──▶ earlier end ──▶ only what findings name ──▶ fewer faults, operations
                    ▲                                                 (delta debugging) │
                    │   less idle time; fewer nodes, links, threads, keys, options; rounder numbers
                    └────────── again, while anything shrinks; then under other seeds ◀─┘

A candidate counts if its run, judged by the contract of its options, has a finding of the same
name. Draws are keyed by what they are for, so that an event that is taken out leaves most of the
rest as it was; what it does not leave is found out by running it. Some candidates lose the finding
by chance only, as a message takes a little longer: at last, each is given a few other seeds.
Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (ddmin).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from harness.arguments import parse_concurrency
from harness.errors import AssayError, UsageError
from harness.explore.interrupts import Interrupts, noted
from harness.explore.once import fast, play
from harness.explore.replay import arguments_of, tape_of
from harness.explore.simpler import (
    GAP_MIN,
    MS,
    NS,
    WAYS,
    Candidate,
    closer,
    families,
    faster,
    gaps,
    groups,
    spoken_of,
    until,
)
from harness.history import History
from harness.launch import store_verdict
from harness.report import text
from harness.store import RunFolder
from harness.tape import FAULTS, Event
from harness.verdict import Verdict

T = TypeVar("T")

OTHER_SEEDS = 3
"""How many other schedules a candidate gets that fails under its own no more."""

PER_FAULT = 4
"""Where a fault is left out, so many times as many: what it was needed for, such as who leads, is
chance's elsewhere; and there are few of them."""

FINDINGS_MAX = 2
"""Findings whose operations are tried alone."""

GAPS_MAX = 12
"""So many gaps between events, the longest, are tried one by one in a pass."""

STEP_NS = 200 * MS
"""The end of the tape is sought as closely as this."""


class Shrinker:
    """Tries candidates until the time is up.

    Attributes:
        best: the smallest one that failed so far. runs: how many were tried.
    """

    def __init__(
        self,
        first: Candidate,
        anomaly: str,
        budget_s: float,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.best, self.anomaly = first, anomaly
        self._interrupts = interrupts or Interrupts()
        self.runs = 0
        self._others = 0  # how many other seeds candidates get besides their own
        self._spoken_of: list[list[Event]] = []  # operations that the best one's findings name
        self._seed = first.arguments.seed
        self._deadline = time.monotonic() + budget_s
        self._tried: set[bytes] = set()

    @property
    def over(self) -> bool:
        return self._interrupts.asked or time.monotonic() > self._deadline

    def fails(self, candidate: Candidate, *, anyhow: bool = False) -> bool:
        """Whether it still shows the anomaly; if so it is the best from now on. `anyhow`: even if
        the time is up."""
        key = repr(sorted(vars(candidate.arguments).items())).encode() + candidate.tape.dump()
        if key in self._tried or (self.over and not anyhow):
            return False
        self._tried.add(key)
        self.runs += 1
        named = _played(candidate, self.anomaly)
        if named is not None:
            self.best, self._spoken_of = candidate, named
        return named is not None

    def shrink(self) -> None:
        """Pass after pass, until none makes it smaller, under no seed."""
        # Nobody asks for progress, unless that is what is missing: each run is cheaper then.
        self.fails(self.best.told(liveness=None))
        for self._others in (0, OTHER_SEEDS):
            before = None
            while self.best != before and not self.over:
                before = self.best
                self._again((self._end, self._spoken, self._faults, self._operations))
                self._time()
                self._rest()

    def _again(self, steps: Sequence[Callable[[], None]]) -> None:
        """While one of them makes it smaller."""
        before = None
        while self.best != before and not self.over:
            before = self.best
            for step in steps:
                step()

    # -- passes ------------------------------------------------------------------------------

    def _end(self) -> None:
        """As early as can be found by halving: what comes before is the same to the letter."""
        low, high = 0, self.best.tape.end
        while high - low > STEP_NS and not self.over:
            middle = (low + high) // 2
            if self.fails(replace(self.best, tape=until(self.best.tape, middle))):
                high = middle
            else:
                low = middle

    def _spoken(self) -> None:
        """Only what a finding speaks of: if it is all that is needed, the long way is spared."""
        while not self.over and any(
            self._fails_somehow([*self.best.tape.faults, *events]) for events in self._spoken_of
        ):
            pass

    def _faults(self) -> None:
        with self._trying(self._others * PER_FAULT):
            self._ddmin(list(groups(self.best.tape.faults)), self.best.tape.faults)

    def _operations(self) -> None:
        for family in families(self.best.tape.clients):
            alive = set(map(id, self.best.tape.clients))
            items = [[event for event in each if id(event) in alive] for each in family]
            self._ddmin([each for each in items if each], self.best.tape.clients)
        clients = self.best.tape.clients
        self._ddmin([[event] for event in clients], clients)

    def _ddmin(self, items: list[Sequence[Event]], these: Sequence[Event]) -> None:
        """Fewer items, which are what `these` events of the tape are made of: whole chunks first,
        then smaller ones."""
        its = set(map(id, these))
        others = [event for event in self.best.tape.events if id(event) not in its]

        def fails(kept: list[Sequence[Event]]) -> bool:
            return self._fails_somehow([*others, *(event for item in kept for event in item)])

        if not items or fails([]):
            return
        chunk = max(len(items) // 2, 1)
        while items and not self.over:
            start, smaller = 0, False
            while start < len(items) and not self.over:
                kept = items[:start] + items[start + chunk :]
                if fails(kept):
                    items, smaller = kept, True
                else:
                    start += chunk
            if chunk == 1 and not smaller:
                return
            chunk = max(chunk // 2, 1)

    def _fails_somehow(self, events: Sequence[Event]) -> bool:
        """With these events of the best tape, under its own seed or another."""
        candidate = replace(self.best, tape=self.best.tape.only(events))
        seeds = range(self._seed, self._seed + 1 + self._others) if self._others else ()
        return self.fails(candidate) or any(self.fails(candidate.told(seed=s)) for s in seeds)

    @contextlib.contextmanager
    def _trying(self, others: int) -> Iterator[None]:
        """So many other seeds for each candidate."""
        before, self._others = self._others, others
        try:
            yield
        finally:
            self._others = before

    def _time(self) -> None:
        """Earlier: all gaps between events at once, then each of the long ones."""
        for factor in (0.1, 0.3, 0.5, 0.8):
            if self.fails(replace(self.best, tape=faster(self.best.tape, factor))):
                break
        for place in gaps(self.best.tape)[:GAPS_MAX]:
            for gap in self._shorter(place):
                if self.fails(replace(self.best, tape=closer(self.best.tape, place, gap))):
                    break

    def _shorter(self, place: int) -> Sequence[int]:
        times = [0, *(event.time for event in self.best.tape.events), self.best.tape.end]
        now = times[place + 1] - times[place]
        return [gap for gap in (GAP_MIN, now // 4, now // 2) if gap < now * 0.8]

    def _rest(self) -> None:
        """What else may be simpler. Each way is gone once, on from where it last led to something:
        what is passed over is tried in the next pass."""
        for way in WAYS:
            place: int | None = 0
            while place is not None:
                place = self._first(islice(enumerate(way(self.best)), place, None))

    def _first(self, candidates: Iterator[tuple[int, Candidate]]) -> int | None:
        """The number of the first one that fails."""
        return next((number for number, each in candidates if self.fails(each)), None)


def _played(candidate: Candidate, anomaly: str) -> list[list[Event]] | None:
    """What operations the findings of that name speak of, as `spoken_of` gives them for a few of
    them; None if the candidate's run has no such finding, or cannot be run."""
    arguments = candidate.arguments
    with tempfile.TemporaryDirectory(prefix="assay-shrink-", dir=fast()) as scratch:
        folder = RunFolder(Path(scratch))
        verdict = _verdict(candidate, folder, keep=False)
        findings = [] if verdict is None else [f for f in verdict.findings if f.anomaly == anomaly]
        if not findings:
            return None
        history = History.load(folder.history)
        concurrency = parse_concurrency(arguments.concurrency, arguments.nodes)
        return [
            events
            for finding in findings[:FINDINGS_MAX]
            for events in spoken_of(candidate.tape, history, concurrency, finding.witness)
            if len(events) < len(candidate.tape.clients)
        ]


def _verdict(candidate: Candidate, folder: RunFolder, *, keep: bool) -> Verdict | None:
    """Of the candidate's run; None if it cannot be run."""
    path = folder.path / "tape.json"
    path.write_bytes(candidate.tape.dump())
    arguments = candidate.told(tape=path).arguments
    try:
        _, verdict, _ = play(arguments, arguments.seed, folder, keep=keep)
    except AssayError:
        return None
    return verdict


# -- the command -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What came of a run. `folder` is that of the smallest one."""

    of: RunFolder
    folder: RunFolder
    anomaly: str
    before: Candidate
    after: Candidate
    verdict: Verdict
    runs: int
    out_of_time: bool
    took_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.folder.path),
            "of": str(self.of.path),
            "anomaly": self.anomaly,
            "before": self.before.size,
            "after": self.after.size,
            "runs": self.runs,
            "out of time": self.out_of_time,
            "took_s": round(self.took_s, 1),
        }


def shrink(folder: RunFolder, anomaly: str | None, budget_s: float, results: Path) -> Shrunk:
    """The smallest run that shows the anomaly, stored among the results with a report.

    Raises:
        UsageError: the run is none that shrinks, or shows no such anomaly.
    """
    began = time.monotonic()
    told = arguments_of(folder)
    if told.cluster != "sim":
        raise UsageError("only simulated runs shrink: elsewhere a run that passes proves nothing")
    found = list(folder.load("verdict.json").get("anomalies", {}))
    anomaly = anomaly or (found[0] if found else None)
    if anomaly is None or anomaly not in found:
        raise UsageError(f"{folder.path} found {', '.join(found) or 'nothing'}; give --anomaly")
    first = Candidate(told, tape_of(folder, told))
    with noted() as interrupts:
        shrinker = Shrinker(first, anomaly, budget_s, interrupts)
        if not shrinker.fails(first, anyhow=True):
            interrupts.check()
            raise UsageError(
                f"played from its tape, the run shows no {anomaly}: it hangs on a chance that the "
                "tape does not hold; explore with other seeds"
            )
        shrinker.shrink()
    into = RunFolder.create(results, "shrunk")
    verdict = _verdict(shrinker.best, into, keep=True)
    assert verdict is not None, "it ran before"
    took_s = time.monotonic() - began
    store_verdict(into, verdict, f"shrunk from {folder.path.name}, seed {told.seed}", took_s)
    over = shrinker.over
    shrunk = Shrunk(
        folder, into, anomaly, first, shrinker.best, verdict, shrinker.runs, over, took_s
    )
    into.save("shrunk.json", shrunk.to_json())
    return shrunk


def shrink_command(arguments: argparse.Namespace) -> int:
    """Exit status: 1, since what is left still fails; 2 if there was nothing to shrink."""
    folder = RunFolder.find(arguments.run)
    results = arguments.results or folder.path.parent.parent
    shrunk = shrink(folder, arguments.anomaly, arguments.budget, results)
    print(json.dumps(shrunk.to_json()) if arguments.json else _said(shrunk))
    return 1


def _said(shrunk: Shrunk) -> str:
    before, after = shrunk.before.size, shrunk.after.size
    sizes = ", ".join(f"{before[name]} → {after[name]} {name}" for name in after)
    lines = [f"SHRUNK  {shrunk.anomaly}: {sizes}; {shrunk.runs} runs"]
    if shrunk.out_of_time:
        lines.append("  it was cut short: a larger --budget may find less")
    for event in shrunk.after.tape.events:
        who = "nemesis" if event.thread == FAULTS else f"thread {event.thread}"
        lines.append(f"  {event.time / NS:9.3f} s  {who}  {event.f} {json.dumps(event.value)}")
    lines.append(text.render(shrunk.verdict, "the run that is left"))
    lines.append(f"  replay:  assay replay {shlex.quote(str(shrunk.folder.path))}")
    lines.append(f"  look:    {shrunk.folder.path}/report.html")
    return "\n".join(lines)
