"""Run folders as a run leaves them, of a log workload under faults: what tests of reports read.

`make` plays three nodes with real classes (`Recorder`, `RunFolder`, `Verdict`): a kill, a pause, a
partition and an unplanned crash in sixty seconds; clients whose operations fail, time out and
crash; a log that forgets two acknowledged messages in the kill and takes one twice. The verdict is
that of the real checkers. Nothing here waits or listens: it is made in a moment, from a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from checkers import crash, faults, log
from harness import checker
from harness.coverage import coverage
from harness.guarantees import derive
from harness.history import History, Recorder
from harness.op import NEMESIS, Kind
from harness.store import RunFolder
from harness.verdict import Verdict

SECOND = 1_000_000_000
UNTIL_S = 60.0
KEYS = 4
STARTED_WALL_NS = 1_764_000_000 * SECOND
NODES = ("n1", "n2", "n3")

COMMAND = (
    "assay run log --system broker --cluster local --nodes 3 --nemesis kill,pause,partition "
    "--time-limit 56 --rate 200 --concurrency 10 --seed 1729 -o idempotence=false"
)

CONTRACT = derive("log", {"acks": "all", "idempotence": False, "retries": 5}, "derived")

TEST: dict[str, Any] = {
    "name": "log",
    "workload": "log",
    "seed": 1729,
    "options": {
        "workload": "log",
        "system": "broker",
        "cluster": "local",
        "nodes": 3,
        "nemesis": "kill,pause,partition",
        "nemesis_interval": 4.0,
        "time_limit": 56.0,
        "rate": 200.0,
        "concurrency": "10",
        "client": None,
        "options": ["idempotence=false"],
        "leave_running": False,
    },
    "workload options": {"partitions": 4, "acks": "all", "idempotence": False, "retries": 5},
    "bands": [
        {"name": "kill", "start": ["kill"], "stop": ["start"], "colour": "#c0392b"},
        {"name": "pause", "start": ["pause"], "stop": ["resume"], "colour": "#d68910"},
        {
            "name": "partition",
            "start": ["start-partition"],
            "stop": ["stop-partition"],
            "colour": "#2980b9",
        },
    ],
    "versions": {"python": "3.13.1", "assay": "0.1.0", "kafka-python": "3.0.0"},
    "command": COMMAND,
    "contract": CONTRACT.to_json(),
    "started wall ns": STARTED_WALL_NS,
}

# (seconds, f, value): what the nemesis does, one after the other.
FAULTS: tuple[tuple[float, str, Any], ...] = (
    (10.0, "kill", ["n2"]),
    (14.2, "start", ["n2"]),
    (22.0, "pause", ["n1"]),
    (25.5, "resume", ["n1"]),
    (34.0, "start-partition", {"n3": ["n1", "n2"], "n1": ["n3"], "n2": ["n3"]}),
    (41.0, "stop-partition", None),
)
CRASH_S = 49.0
PHASES = (("main", 0.0, 56.0), ("heal", 56.0, 57.0), ("final-reads", 57.0, UNTIL_S))
CRASH_LOG = "Traceback (most recent call last):\n  File …\nAssertionError: segment 3 has no index"


@dataclass
class Partition:
    """What a partition's leader holds. `forget` is what a fail-over loses."""

    messages: list[int] = field(default_factory=list)

    def append(self, value: int) -> int:
        self.messages.append(value)
        return len(self.messages) - 1

    def forget(self, count: int) -> None:
        del self.messages[-count:]


Event = tuple[float, tuple[Any, ...]]
"""Seconds, and what `Recorder.record` takes besides."""


class Asked(NamedTuple):
    """An operation of a client; `number` makes its message unique."""

    process: int
    node: str
    sends: bool
    number: int


class Outcome(NamedTuple):
    """How an operation ends."""

    kind: Kind
    error: tuple[str, str] | None = None


@dataclass
class World:
    """Clients on threads, as the interpreter drives them, and the partitions that they talk to."""

    rng: random.Random
    threads: int
    logs: list[Partition] = field(default_factory=lambda: [Partition() for _ in range(KEYS)])
    positions: dict[int, list[int]] = field(default_factory=dict)
    process: list[int] = field(default_factory=list)
    doubled: int = -1

    def events(self, operations: int) -> list[Event]:
        """Both events of so many operations, by time, and then the final reads."""
        self.process = list(range(self.threads))
        plan = sorted(self._plan(operations), key=lambda each: each[0])
        found: list[Event] = []
        forgotten = False
        for time, ended, op, kind in plan:
            if time > 10.0 and not forgotten:
                self.logs[0].forget(2)
                forgotten = True
            found.append((time, self._event(ended, op, kind)))
        return [*found, *self.final_reads(57.0)]

    def _plan(self, operations: int) -> Iterator[tuple[float, bool, Asked, Outcome]]:
        """Begins and ends: a thread that is free takes what is due, the first if none is."""
        free = [(0.0, thread) for thread in range(self.threads)]
        for number in range(operations):
            due = (number + self.rng.random()) * 56 / operations
            idle = [each for each in free if each[0] <= due]
            chosen = self.rng.choice(idle) if idle else min(free)
            free.remove(chosen)
            begin, thread = max(due, chosen[0]), chosen[1]
            node = NODES[thread % len(NODES)]
            asked = Asked(self.process[thread], node, self.rng.random() < 0.5, number)
            took, outcome = self._fate(node, begin)
            if self.doubled < 0 and begin > 36 and asked.sends and outcome.kind is Kind.OK:
                self.doubled = number
            if outcome.kind is Kind.INFO:
                self.process[thread] += self.threads
            free.append((begin + took, thread))
            yield begin, False, asked, outcome
            yield begin + took, True, asked, outcome

    def _fate(self, node: str, time: float) -> tuple[float, Outcome]:
        fault, chance = fault_of(node, time), self.rng.random()
        took = self.rng.lognormvariate(-5.8, 0.5)
        if fault == "down" and chance < 0.8:
            return took / 2, Outcome(Kind.FAIL, ("Unavailable", f"{node} refuses connections"))
        if fault == "cut" and chance < 0.04:
            return 3.0, Outcome(Kind.INFO, ("TimedOut", "no answer within 3 s"))
        return took * {"": 1, "down": 3, "slow": 60, "cut": 12}[fault], Outcome(Kind.OK)

    def _event(self, ended: bool, asked: Asked, outcome: Outcome) -> tuple[Any, ...]:
        key = asked.number % KEYS
        value: Any = [["send", key, asked.number]] if asked.sends else [["poll"]]
        f = "send" if asked.sends else "poll"
        if not ended:
            return Kind.INVOKE, asked.process, f, value
        if outcome.kind is Kind.OK:
            value = self._send(key, asked.number) if asked.sends else self._poll(asked.process)
        return outcome.kind, asked.process, f, value, outcome.error, asked.node

    def _send(self, key: int, value: int) -> list[Any]:
        offset = self.logs[key].append(value)
        if value == self.doubled:  # a retry that the broker takes for another message
            self.logs[key].append(value)
        return [["send", key, [offset, value]]]

    def _poll(self, process: int) -> list[Any]:
        positions = self.positions.setdefault(process, [0] * KEYS)
        found: dict[str, list[list[int]]] = {}
        for key in self.rng.sample(range(KEYS), 2):
            messages = self.logs[key].messages[positions[key] : positions[key] + 3]
            if messages:
                found[str(key)] = [[positions[key] + n, v] for n, v in enumerate(messages)]
                positions[key] += len(messages)
        return [["poll", found]]

    def final_reads(self, time: float) -> Iterator[Event]:
        """A client reads all that is left of each key, some hundred messages a poll."""
        process = self.process[0]
        positions = self.positions.get(process, [0] * KEYS)
        polls = sum(len(log.messages) // 250 + 1 for log in self.logs)
        for key, partition in enumerate(self.logs):
            messages = [[offset, value] for offset, value in enumerate(partition.messages)]
            for first in range(positions[key], len(messages), 250):
                found = {str(key): messages[first : first + 250]}
                yield time, (Kind.INVOKE, process, "poll", [["poll"]])
                yield time + 0.004, (Kind.OK, process, "poll", [["poll", found]], None, "n1")
                time += 2.8 / polls


def fault_of(node: str, time: float) -> str:
    if (node == "n2" and 10 <= time < 14.2) or (node == "n1" and CRASH_S <= time < 51):
        return "down"
    if 22 <= time < 25.5 and node == "n1":
        return "slow"
    return "cut" if 34 <= time < 41 and node == "n3" else ""


def make(
    results: Path, *, operations: int = 3000, threads: int = 10, seed: int = 1729
) -> RunFolder:
    """A whole run in a new folder below `results`: record, history, verdict and logs."""
    folder = RunFolder.create(results, "log")
    folder.save("test.json", TEST)
    record(folder, operations, threads, seed)
    write_logs(folder)
    save_verdict(folder, judge(History.load(folder.history)))
    return folder


def record(folder: RunFolder, operations: int, threads: int, seed: int = 1729) -> None:
    events = World(random.Random(seed), threads).events(operations)
    events += list(_nemesis())
    events.sort(key=lambda each: each[0])
    recorder = Recorder(folder.history)
    for time, event in events:
        recorder.record(int(time * SECOND), *event)
    recorder.close()


def _nemesis() -> Iterator[Event]:
    for name, begin, end in PHASES:
        yield from _mark(begin, "phase", name, {"at": "begin"})
        yield from _mark(end, "phase", name, {"at": "end", "complete": True})
    for time, f, value in FAULTS:
        seen = {node: {"outcome": "observed", "state": f} for node in value or ()}
        effect = {"effect": {"outcome": "observed", "evidence": seen}}
        yield time, (Kind.INFO, NEMESIS, f, value)
        yield time + 0.03, (Kind.INFO, NEMESIS, f, value, None, None, effect)
    died = {"node": "n1", "time_ns": int(CRASH_S * SECOND), "status": 1, "log": CRASH_LOG}
    yield from _mark(CRASH_S + 0.2, "crash", died)
    yield 51.0, (Kind.INFO, NEMESIS, "start", ["n1"])
    yield (
        51.4,
        (Kind.INFO, NEMESIS, "start", ["n1"], None, None, {"effect": {"outcome": "observed"}}),
    )


def _mark(time: float, f: str, value: Any, extra: dict[str, Any] | None = None) -> Iterator[Event]:
    for _ in range(2):
        yield time, (Kind.INFO, NEMESIS, f, value, None, None, extra)


def judge(history: History) -> Verdict:
    """What the real checkers and the contract of these options say."""
    checks = {"log": log.check, "crash": crash.check, "faults": faults.check}
    stats = {"system": {"elections": 7, "ISR shrinks": 11}, "coverage": coverage(history).to_json()}
    return checker.judge(history, checks, CONTRACT).with_stats(stats)


def save_verdict(folder: RunFolder, verdict: Verdict) -> None:
    folder.save("verdict.json", {**verdict.to_json(), "run": str(folder.path)})


def write_logs(folder: RunFolder, seed: int = 1729) -> None:
    rng = random.Random(seed)
    for node in NODES:
        path = folder.path / "nodes" / node / "node.log"
        path.parent.mkdir(parents=True)
        lines = []
        for tick in range(240):
            time = STARTED_WALL_NS + int((tick / 4 + rng.random() / 8) * SECOND)
            event = rng.choice(("isr-shrunk", "leader-elected", "fetched", "snapshot"))
            shape = {"time": time, "node": node, "event": event, "partition": f"log-0/{tick % 4}"}
            lines.append(json.dumps(shape))
        if node == "n1":
            lines += CRASH_LOG.splitlines()
        path.write_text("\n".join(lines) + "\n")
