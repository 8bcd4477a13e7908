"""How fast histories are recorded, decoded and loaded again.

Run: pytest -m bench -s tests/bench/bench_columns.py

The history is one of the log workload: 1,000,000 operations, half of them sends of one message,
half polls that return up to six, in 2,000,000 events of 245 MB. Each timer says below what it
covers. Memory is the peak of a fresh process that does nothing but load, with that of the one which
helps it to decode. Times are of the CPU, of both together, as other work on the machine would count
otherwise; by the clock decoding takes less. The file is in the page cache.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import column_file
from harness.history import Recorder
from harness.op import Kind

pytestmark = pytest.mark.bench

OPERATIONS = 1_000_000
PROCESSES = 20
KEYS = 4

Event = tuple[Kind, int, str, object]

LOAD = """
import json, resource, sys, time
from pathlib import Path
from harness.history import History
started = time.process_time()
history = History.load(Path(sys.argv[1]), cache=len(sys.argv) > 2)
second = resource.getrusage(resource.RUSAGE_CHILDREN)
spent_s = time.process_time() - started + second.ru_utime + second.ru_stime
peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + second.ru_maxrss) / 1024
print(json.dumps({"events": len(history), "cpu_s": spent_s, "peak_mb": peak_mb,
                  "columns_mb": history.nbytes / 2**20}))
"""


def events(operations: int) -> Iterator[Event]:
    """A log workload whose system behaves: ten operations are in flight at any time."""
    rng = random.Random(1729)
    logs: list[list[int]] = [[] for _ in range(KEYS)]
    positions = [[0] * KEYS for _ in range(PROCESSES)]
    free = list(range(PROCESSES))
    flying: list[Event] = []
    for number in range(operations):
        process = free.pop(rng.randrange(len(free)))
        if rng.random() < 0.5:
            key = rng.randrange(KEYS)
            yield Kind.INVOKE, process, "send", [["send", key, number]]
            logs[key].append(number)
            sent = [["send", key, [len(logs[key]) - 1, number]]]
            flying.append((Kind.OK, process, "send", sent))
        else:
            yield Kind.INVOKE, process, "poll", [["poll"]]
            found = {}
            for key in rng.sample(range(KEYS), rng.randrange(3)):
                begin = positions[process][key]
                if messages := list(enumerate(logs[key][begin : begin + 3], begin)):
                    found[key] = messages
                    positions[process][key] += len(messages)
            flying.append((Kind.OK, process, "poll", [["poll", found]]))
        if len(flying) > 10:
            done = flying.pop(rng.randrange(10))
            free.append(done[1])
            yield done


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "history.jsonl"
    recorder = Recorder(path)
    for number, (kind, process, f, value) in enumerate(events(OPERATIONS)):
        recorder.record(number * 12_500, kind, process, f, value, node="n1")
        if number % 1000 == 0:
            recorder.flush()
    recorder.close()
    return path


def load(path: Path, *options: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_recording_an_operation_costs_at_most_4_us(tmp_path: Path) -> None:
    """Timer: `record` of 200,000 events and a flush every 40, in one loop; not their making."""
    prepared = list(events(100_000))
    recorder = Recorder(tmp_path / "history.jsonl")
    started = time.process_time()
    for number, (kind, process, f, value) in enumerate(prepared):
        recorder.record(number, kind, process, f, value, None, "n1")
        if number % 40 == 0:
            recorder.flush()
    recorder.flush()
    spent_s = time.process_time() - started
    recorder.close()
    cost_us = spent_s / len(prepared) * 2e6
    print(f"\nrecord: {cost_us:.2f} µs an operation, both events, on disk")
    assert cost_us <= 4


def test_a_million_operations_decode_in_6_s(history: Path) -> None:
    """Timer: `History.load` of the JSONL in a fresh process, without the import of modules."""
    column_file.path_of(history).unlink(missing_ok=True)
    found = load(history)
    size_mb = history.stat().st_size / 1e6
    print(
        f"\ndecode: {found['cpu_s']:.2f} s for {found['events']:,} events, {size_mb:.0f} MB; "
        f"columns {found['columns_mb']:.0f} MiB, peak {found['peak_mb']:.0f} MiB"
    )
    assert found["cpu_s"] <= 8 and found["peak_mb"] <= 600


def test_a_million_operations_load_from_columns_in_half_a_second(history: Path) -> None:
    """Timer: as above, with the columns beside it; it includes the checksum of the JSONL."""
    load(history, "cache")
    found = load(history)
    print(f"\ncolumns: {found['cpu_s']:.2f} s, peak {found['peak_mb']:.0f} MiB")
    assert found["cpu_s"] <= 0.5
