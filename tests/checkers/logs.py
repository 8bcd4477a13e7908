"""Histories of a log: true ones, made by a little simulation, and broken or wild ones.

A *true* history is what clients of a log that keeps all promises may see: operations overlap,
outcomes are unknown or failures, offsets have gaps, consumers take up, let go of and seek in keys.
`Faults` says how often the log, or what is told of it, is not true.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st

from harness.history import History
from harness.op import Kind, Op

KEYS = 2
PROCESSES = 3


@dataclass
class Faults:
    """The probability of each lie."""

    lose: float = 0.0
    duplicate: float = 0.0
    overwrite: float = 0.0
    swap: float = 0.0
    skip: float = 0.0
    repeat: float = 0.0
    invent: float = 0.0
    keep_failed: float = 0.0

    @staticmethod
    def all(p: float) -> Faults:
        return Faults(*[p] * 8)


@dataclass
class Client:
    process: int
    assigned: list[int] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    busy: bool = False


@dataclass
class Simulation:
    """A log of `KEYS` keys and the clients that use it."""

    rng: Random
    faults: Faults
    txn: bool = False
    logs: dict[int, dict[int, int]] = field(default_factory=lambda: {k: {} for k in range(KEYS)})
    ends: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(KEYS), 0))
    sent: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(KEYS), 0))
    ops: list[Op] = field(default_factory=list)
    flying: list[tuple[Client, Op]] = field(default_factory=list)
    clients: list[Client] = field(
        default_factory=lambda: [Client(process) for process in range(PROCESSES)]
    )

    def run(self, steps: int, *, final: bool) -> list[Op]:
        for _ in range(steps):
            idle = [client for client in self.clients if not client.busy]
            if self.flying and (not idle or self.rng.random() < 0.5):
                self.complete(*self.flying.pop(self.rng.randrange(len(self.flying))))
            else:
                self.invoke(self.rng.choice(idle))
        while self.flying and self.rng.random() < 0.9:
            self.complete(*self.flying.pop(self.rng.randrange(len(self.flying))))
        if final:
            self.final_reads()
        return self.ops

    def record(self, kind: Kind, process: int | str, f: str, value: Any, **rest: Any) -> Op:
        op = Op(len(self.ops), 10 * len(self.ops), kind, process, f, value, **rest)
        self.ops.append(op)
        return op

    def happens(self, p: float) -> bool:
        return p > 0 and self.rng.random() < p

    # -- operations ------------------------------------------------------------------------------

    def invoke(self, client: Client) -> None:
        f = self.rng.choice(["send", "send", "poll", "poll", "assign", "txn", "crash"])
        value: Any = None
        if f == "txn" and not self.txn:
            f = "poll"
        if f in ("send", "txn"):
            value = [self.new_send() for _ in range(self.rng.randint(1, 2))]
            value += [["poll"]] if f == "txn" else []
        elif f == "poll":
            value = [["poll"]]
        elif f == "assign":
            value = sorted(self.rng.sample(range(KEYS), self.rng.randint(0, KEYS)))
        client.busy = True
        from_start = f == "assign" and self.rng.random() < 0.2
        extra = {"seek-to-beginning": True} if from_start else None
        self.flying.append(
            (client, self.record(Kind.INVOKE, client.process, f, value, extra=extra))
        )

    def new_send(self) -> list[Any]:
        key = self.rng.randrange(KEYS)
        self.sent[key] += 1
        return ["send", key, self.sent[key]]

    def complete(self, client: Client, op: Op) -> None:
        client.busy = False
        kind = self.rng.choice([Kind.OK] * 6 + [Kind.FAIL, Kind.INFO])
        kind = Kind.INFO if op.f == "crash" else kind
        value = op.value
        if op.f == "assign":
            if kind is Kind.OK:
                keep = {} if op.extra else client.positions
                client.assigned = op.value
                client.positions = {key: keep.get(key, 0) for key in op.value}
            kind = Kind.OK if kind is Kind.OK else Kind.FAIL
        elif op.f != "crash":
            value = self.perform(client, op, kind)
        self.record(kind, client.process, op.f, value)
        if kind is Kind.INFO:
            client.process += PROCESSES
            client.assigned, client.positions = [], {}

    def perform(self, client: Client, op: Op, kind: Kind) -> Any:
        """Apply the operation's micro-operations; its value."""
        took_place = kind is Kind.OK or (kind is Kind.INFO and self.rng.random() < 0.5)
        took_place |= kind is Kind.FAIL and self.happens(self.faults.keep_failed)
        before = dict(client.positions)
        # What a transaction sends is not there for its own poll.
        polled = [["poll", self.poll(client)] for mop in op.value if mop[0] == "poll"]
        sent = [
            ["send", key, self.told(kind, self.append(key, value), value) if took_place else value]
            for _, key, value in (mop for mop in op.value if mop[0] == "send")
        ]
        if kind is not Kind.OK:
            client.positions = before
            polled = polled if op.f == "txn" and self.rng.random() < 0.5 else [["poll"]]
        return sent + (polled if op.f != "send" else [])

    def told(self, kind: Kind, offset: int, value: int) -> Any:
        if kind is Kind.OK or self.rng.random() < 0.5:
            return [offset if self.rng.random() < 0.9 else None, value]
        return value

    def append(self, key: int, value: int) -> int:
        log = self.logs[key]
        if self.rng.random() < 0.2:
            self.ends[key] += self.rng.randint(1, 3)  # markers, or what compaction took
        offset = self.ends[key]
        if self.happens(self.faults.overwrite) and log:
            offset = self.rng.choice(list(log))
        if self.happens(self.faults.swap) and log:
            other = self.rng.choice(list(log))
            log[offset], offset = log[other], other
        if not self.happens(self.faults.lose):
            log[offset] = value
        self.ends[key] = max(self.ends[key], offset + 1)
        if self.happens(self.faults.duplicate):
            log[self.ends[key]] = value
            self.ends[key] += 1
        return offset

    def poll(self, client: Client) -> dict[str, list[list[Any]]]:
        polled: dict[str, list[list[Any]]] = {}
        for key in client.assigned:
            begin = client.positions[key]
            if self.happens(self.faults.repeat):
                begin = max(begin - 2, 0)
            if self.happens(self.faults.skip):
                begin += self.rng.randint(1, 2)
            found = [[o, v] for o, v in sorted(self.logs[key].items()) if o >= begin]
            found = found[: self.rng.randint(0, 3)]
            if found and self.happens(self.faults.skip):
                found.pop(self.rng.randrange(len(found)))
            if found and self.happens(self.faults.repeat):
                found.append(self.rng.choice(found))
            if self.happens(self.faults.invent):
                found.append([self.ends[key], 1000 + self.ends[key]])
            if found:
                polled[str(key)] = found
                client.positions[key] = found[-1][0] + 1
        return polled

    # -- final reads -----------------------------------------------------------------------------

    def mark(self, value: str, **extra: Any) -> None:
        for _ in range(2):
            self.record(Kind.INFO, "nemesis", "phase", value, extra=extra)

    def final_reads(self) -> None:
        """A fresh client reads everything, and says so."""
        self.mark("final-reads", at="begin")
        reader = Client(10_000, list(range(KEYS)), dict.fromkeys(range(KEYS), 0))
        for _ in range(200):
            if all(not self._beyond(reader, key) for key in range(KEYS)):
                break
            self.record(Kind.INVOKE, reader.process, "poll", [["poll"]])
            self.record(Kind.OK, reader.process, "poll", [["poll", self.poll(reader)]])
        complete = all(not self._beyond(reader, key) for key in range(KEYS))
        self.mark("final-reads", at="end", complete=complete)

    def _beyond(self, reader: Client, key: int) -> bool:
        return any(offset >= reader.positions[key] for offset in self.logs[key])


def simulated(rng: Random, faults: Faults, *, txn: bool = False, steps: int = 40) -> list[Op]:
    return Simulation(rng, faults, txn).run(steps, final=rng.random() < 0.7)


seeds = st.integers(0, 2**32).map(Random)

true_histories = st.builds(
    lambda rng, txn, steps: simulated(rng, Faults(), txn=txn, steps=steps),
    seeds,
    st.booleans(),
    st.integers(1, 60),
)
broken_histories = st.builds(
    lambda rng, p, txn, steps: simulated(rng, Faults.all(p), txn=txn, steps=steps),
    seeds,
    st.sampled_from([0.05, 0.2]),
    st.booleans(),
    st.integers(1, 40),
)


@st.composite
def wild_histories(draw: st.DrawFn) -> list[Op]:
    """Any events whatever in which each process has one operation at a time."""
    key, value = st.integers(0, 1), st.integers(0, 3)
    offset = st.none() | st.integers(0, 3)
    pairs = st.lists(st.tuples(offset, value).map(list), max_size=3)
    polled = st.dictionaries(key.map(str), pairs, max_size=2).map(lambda found: ["poll", found])
    ask = st.tuples(st.just("send"), key, value).map(list)
    told = st.tuples(st.just("send"), key, st.tuples(offset, value).map(list)).map(list)
    asked = {
        "send": st.lists(ask, min_size=1, max_size=2),
        "poll": st.just([["poll"]]),
        "txn": st.lists(ask | st.just(["poll"]), min_size=1, max_size=2),
        "assign": st.lists(key, max_size=2, unique=True),
        "subscribe": st.lists(key, max_size=2, unique=True),
        "seek": st.just([]),
    }
    returned = {
        "send": st.lists(ask | told, min_size=1, max_size=3),
        "poll": st.lists(polled, min_size=1, max_size=2),
        "txn": st.lists(ask | told | polled, min_size=1, max_size=3),
    }
    ops: list[Op] = []
    begun: dict[int, Op] = {}
    for _ in range(draw(st.integers(1, 16))):
        process = draw(st.integers(0, 2))
        if process in begun:
            op = begun.pop(process)
            kind = draw(st.sampled_from([Kind.OK, Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO]))
            done = draw(returned.get(op.f, st.just(op.value)) | st.just(op.value))
            extra = {"rebalance-log": [{"keys": [0]}]} if draw(st.integers(0, 9)) == 9 else None
            ops.append(Op(len(ops), len(ops), kind, process, op.f, done, extra=extra))
        else:
            f = draw(st.sampled_from([*asked, "poll"]))
            seeks = f == "assign" and draw(st.booleans())
            op = Op(
                len(ops),
                len(ops),
                Kind.INVOKE,
                process,
                f,
                draw(asked[f]),
                extra={"seek-to-beginning": True} if seeks else None,
            )
            begun[process] = op
            ops.append(op)
    return ops


def history(ops: list[Op]) -> History:
    return History.of(ops)
