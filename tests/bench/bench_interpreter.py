"""How fast the interpreter drives clients, and how small an operation is in columns.

Run: pytest -m bench -s tests/bench/bench_interpreter.py

A client in memory, concurrency 100, and the tree of generators that a register test has:
`time_limit(clients(stagger(mix(r, w, cas)), nemesis))`. Every event is encoded, numbered and
written to the history's file before the next turn. The timer covers `Interpreter.run`, nothing of
set-up or closing; it is CPU time of this process, of which there is one thread, so that other work
on the machine does not count. Jepsen's own comment on the like of it says about 18,000 a second.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest

from harness import generator as gen
from harness.client import Endpoint
from harness.cluster.contract import Address
from harness.generator import Call, Context
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.op import Op

pytestmark = pytest.mark.bench

CONCURRENCY = 100
SECONDS = 4.0
ATTEMPTS = 3
FLOOR_PER_S = 40_000
BYTES_MAX = 120


class Register:
    """A register in memory, shared by all clients; answers at once."""

    def __init__(self, cell: list[int]) -> None:
        self.cell = cell

    async def open(self, endpoint: Endpoint) -> Self:
        return type(self)(self.cell)

    async def setup(self) -> None:
        pass

    async def invoke(self, op: Op) -> Any:
        if op.f == "r":
            return self.cell[0]
        if op.f == "w":
            self.cell[0] = op.value
        elif self.cell[0] == op.value[0]:
            self.cell[0] = op.value[1]
        return op.value

    async def teardown(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Nothing:
    """A nemesis that only says what it would do."""

    def resolve(self, f: str, value: Any) -> Any:
        return value

    async def invoke(self, f: str, value: Any) -> tuple[Any, dict[str, Any]]:
        return value, {"effect": {"outcome": "observed", "evidence": {}}}


def tree(scalars_only: bool = False) -> gen.Generator:
    def write(context: Context) -> Call:
        return Call("w", int(context.rng.random() * 5))

    def cas(context: Context) -> Call:
        return Call("cas", [int(context.rng.random() * 5), int(context.rng.random() * 5)])

    reads = gen.repeat(Call("r"))
    faults = gen.stagger(1, gen.flip_flop(gen.repeat(Call("start")), gen.repeat(Call("stop"))))
    mixed = gen.mix([reads, write] if scalars_only else [reads, write, cas])
    # As fast as it goes: staggered at more than anybody can do.
    return gen.time_limit(SECONDS, gen.clients(gen.stagger(1e-6, mixed), faults))


async def drive(path: Path, generator: gen.Generator) -> tuple[int, float]:
    """Operations, and CPU seconds."""
    recorder = Recorder(path)
    started = time.monotonic_ns()
    interpreter = Interpreter(
        recorder=recorder,
        now=lambda: time.monotonic_ns() - started,
        client=Register([0]),
        endpoints=[
            Endpoint(f"n{i % 5}", "c1", Address("127.0.0.1", 1), ()) for i in range(CONCURRENCY)
        ],
        faults=Nothing(),
        rng=Random(1729),
    )
    begun = time.process_time()
    await interpreter.run(generator)
    spent_s = time.process_time() - begun
    await interpreter.close()
    recorder.close()
    return sum(interpreter.stats.values()), spent_s


def test_40_000_operations_a_second_on_one_core(tmp_path: Path) -> None:
    rates = []
    for attempt in range(ATTEMPTS):
        path = tmp_path / f"{attempt}.jsonl"
        count, spent_s = asyncio.run(drive(path, tree()))
        rates.append(count / spent_s)
        print(f"\n{count:,} operations, {path.stat().st_size / 1e6:.0f} MB, {rates[-1]:,.0f}/s")
    assert max(rates) >= FLOOR_PER_S


def test_an_operation_with_a_scalar_value_takes_at_most_120_bytes_in_columns(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    count, _ = asyncio.run(drive(path, tree(scalars_only=True)))
    history = History.load(path)
    size = history.nbytes / count
    print(
        f"\n{size:.0f} bytes an operation, both events; {path.stat().st_size / count:.0f} on disk"
    )
    assert len(history) >= 2 * count and size <= BYTES_MAX
