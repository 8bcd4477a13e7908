"""What is measured, and the targets.

A row is a kind of history and the checker that judges it. Targets are of seconds of one processor;
those of memory and growth hold for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import astuple

from harness.bench.logs import logs
from harness.bench.objects import (
    cas_registers,
    counters,
    drained,
    priority_queues,
    queues,
    registers,
    sets,
    stacks,
    timed,
)
from harness.bench.transactions import transactions
from harness.history import Recorder
from harness.op import Op

MILLION = 1_000_000
GROWTH_MAX = 2.3
"""How much longer a history of twice the length may take."""

BYTES_MAX = 150
"""Of memory an operation, over the columns, at the peak of a check."""

DECODE_S, LOAD_S = 4.0, 0.2
"""For 1,000,000 operations of a log: JSONL to columns, and the columns' file."""

HISTORIES = 100
"""How many there are of those as small as an etcd log."""

Events = Callable[..., Iterator[Op]]
"""A history of so many operations; where there are several, by `seed`."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: what it is.
        checker: the name of what judges it (`assay list checkers`), with options.
        events: draws the history; the same one each time.
        operations: how many it has, and each of `histories` files.
        check_s: the target; None if there is none.
        anomalies: what must be found, and how often; nothing else may be.
        peer: the object by which Porcupine knows it; None if it does not.
        peak_mb: the most that the whole process may take while it checks; None if nothing is said.
        told: what another checker took, as measured before, elsewhere.
    """

    name: str
    checker: str
    events: Events
    operations: int
    check_s: float | None
    anomalies: Mapping[str, int] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    histories: int = 1
    peer: str | None = None
    peak_mb: float | None = None
    told: str = ""

    def write(self, folder: Path, operations: int) -> list[Path]:
        """The histories as files; as many as there are of them, of so many operations each."""
        folder.mkdir(exist_ok=True)
        return [self._written(folder / f"{n}.jsonl", operations, n) for n in range(self.histories)]

    def _written(self, path: Path, operations: int, seed: int) -> Path:
        seeds = {"seed": seed} if self.histories > 1 else {}
        recorder = Recorder(path)
        for op in self.events(operations, **seeds):
            recorder.record(*astuple(op)[1:])
            if len(recorder) % 1000 == 0:
                recorder.flush()
        recorder.close()
        return path


def _registers(operations: int, *, keys: int, flaw: bool = False) -> Iterator[Op]:
    return timed(registers(keys, stale=operations // 3 if flaw else -1), operations)


def _queues(operations: int, *, flaw: bool = False) -> Iterator[Op]:
    """Without doubts: what a dequeue in doubt took is seen as lost, and the search gives up."""
    flawed = operations // 3 if flaw else -1
    return timed(queues(overtaken=flawed), operations, doubtful=0)


def _stacks(operations: int, *, flaw: bool = False) -> Iterator[Op]:
    return timed(stacks(overtaken=operations // 3 if flaw else -1), operations)


def _priorities(operations: int, *, flaw: bool = False) -> Iterator[Op]:
    return timed(priority_queues(overtaken=operations // 3 if flaw else -1), operations)


def _drained(operations: int, *, flaw: bool = False) -> Iterator[Op]:
    """Without doubts: a drain in doubt excuses whatever is missing."""
    gone = operations // 3 if flaw else -1
    return timed(drained(operations, vanishing=gone), operations, doubtful=0)


def _sets(operations: int, *, flaw: bool = False) -> Iterator[Op]:
    return timed(sets(lacking=operations // 3 if flaw else -1), operations)


def _counters(operations: int) -> Iterator[Op]:
    return timed(counters(), operations)


def _cas(operations: int, seed: int = 0) -> Iterator[Op]:
    return timed(cas_registers(), operations, seed=seed, doubtful=0.05, clients=5)


_lists = transactions
_writes = partial(transactions, registers=True)

ROWS: tuple[Row, ...] = (
    Row(
        "register, one key",
        *("register", partial(_registers, keys=1), MILLION, 1.5),
        peer="register",
    ),
    Row(
        "register, 1,000 keys",
        *("register", partial(_registers, keys=1000), MILLION, 0.7),
        peer="register",
    ),
    Row(
        "register, 1,000 keys, one stale read",
        *("register", partial(_registers, keys=1000, flaw=True), MILLION, 1.7),
        anomalies={"stale-read": 1},
        peer="register",
    ),
    Row("FIFO queue", "queue", _queues, MILLION, 5.0, peer="queue"),
    Row(
        "FIFO queue, one value overtakes",
        *("queue", partial(_queues, flaw=True), MILLION, 5.0),
        anomalies={"reordered": 1},
        peer="queue",
    ),
    Row("stack", "stack", _stacks, MILLION, 5.0),
    Row(
        "stack, one value overtakes",
        *("stack", partial(_stacks, flaw=True), MILLION, 5.0),
        anomalies={"reordered": 1},
    ),
    Row("priority queue", "priority-queue", _priorities, MILLION, 5.0),
    Row(
        "priority queue, one greater value overtakes",
        *("priority-queue", partial(_priorities, flaw=True), MILLION, 5.0),
        anomalies={"priority-inversion": 1},
    ),
    Row("sets of 16", "set", _sets, MILLION, None, peer="set"),
    Row(
        "sets of 16, one read lacks a value",
        *("set", partial(_sets, flaw=True), MILLION, None),
        anomalies={"incomparable-reads": 1},
        peer="set",
    ),
    Row("sets of 16, their latencies", "set-full", _sets, MILLION, 5.0),
    Row("queue that is drained", "total-queue", _drained, MILLION, 5.0),
    Row(
        "queue that is drained, one value is lost",
        *("total-queue", partial(_drained, flaw=True), MILLION, 5.0),
        anomalies={"lost": 1},
    ),
    Row("counter", "counter", _counters, MILLION, 1.5, peer="counter"),
    Row(
        "CAS register, by the search, 100 histories",
        *("register", _cas, 170, 5.0),
        histories=HISTORIES,
        peer="register",
    ),
    Row("list-append", "append", _lists, 100_000, 0.6, told="Elle: 4.9-8.6 s, 2.4 GB"),
    Row(
        "list-append, long",
        *("append", _lists, MILLION, 6.0),
        peak_mb=2048,
        told="Elle: 54-66 s, 11-16 GB",
    ),
    Row(
        "list-append, one G-single",
        *("append", partial(_lists, flaw=True), MILLION, 6.0),
        anomalies={"G-single": 1},
        peak_mb=2048,
        told="Elle: timed out inside, and named another anomaly",
    ),
    Row("rw-register", "wr", _writes, MILLION, 6.0, told="Elle: 41-47 s, 15 GB"),
    Row(
        "rw-register, one G-single",
        *("wr", partial(_writes, flaw=True), MILLION, 6.0),
        anomalies={"G-single": 1},
    ),
    Row(
        "rw-register, linearizable keys",
        *("wr", _writes, 100_000, 5.0),
        options=("linearizable-keys=true",),
        told="Elle: more than 300 s",
    ),
    Row("log", "log", logs, MILLION, 4.0, peak_mb=1024, told="Jepsen's Kafka tests: 48 s, 11.4 GB"),
)
