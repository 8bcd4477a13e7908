"""How fast transactions over lists are judged.

Run: pytest -m bench -s tests/bench/bench_list_append.py

The history is one of a strictly serializable database: 20 clients, transactions of one to four
micro-operations, half of them reads, over ten keys at a time, the last of which is ten times as
busy as the first; a key that was appended to 32 times makes room for a new one. One transaction in
a hundred has an unknown outcome. In the broken one, a transaction in the middle has read one key as
it was before the last append, and another as it was after it.

Timer: `check` alone, the columns loaded; the best of three, each in a process of its own. Memory is
the peak of that process, which loads the columns from their file.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.history import Recorder
from harness.op import Kind

pytestmark = pytest.mark.bench

CLIENTS = 20
KEYS = 10
APPENDS_MAX = 32

Event = tuple[Kind, int, list[list[Any]]]

CHECK = """
import json, resource, sys, time
from importlib import import_module
from pathlib import Path
from harness.guarantees import derive
from harness.history import History
history = History.load(Path(sys.argv[2]), cache=True)
checker = import_module("checkers." + sys.argv[1])
name = {"list_append": "append", "rw_register": "wr"}[sys.argv[1]]
options = dict(option.split("=") for option in sys.argv[3:])
contract = derive(name, options, "strict")
loaded_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
verdict = checker.check(history, contract)
spent_s = time.perf_counter() - started
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"check_s": spent_s, "peak_mb": peak_kb / 1024, "loaded_mb": loaded_kb / 1024,
                  "columns_mb": history.nbytes / 2**20, "outcome": verdict.outcome.name,
                  "counts": verdict.counts, "doubts": verdict.doubts}))
"""


def events(txns: int, flaw: bool = False, registers: bool = False) -> Iterator[Event]:
    """A transaction takes effect when it is asked for."""
    rng = random.Random(1729)
    keys = list(range(KEYS))
    weights = [10 ** (at / (KEYS - 1)) for at in range(KEYS)]
    state: dict[int, Any] = {key: None if registers else [] for key in keys}
    count = dict.fromkeys(keys, 0)
    fresh = KEYS
    names = list(range(CLIENTS))
    free = list(range(CLIENTS))
    flying: list[tuple[int, Event]] = []
    write = "w" if registers else "append"
    last: tuple[int, int] | None = None
    for number in range(txns):
        lane = free.pop(rng.randrange(len(free)))
        if flaw and number > txns // 2 and last is not None:
            one, other = last
            now, before = state[one], state[other]
            before = (before - 1 or None) if registers else before[:-1]
            asked = [["r", one, None], ["r", other, None]]
            yield Kind.INVOKE, names[lane], asked
            flying.append((lane, (Kind.OK, names[lane], [["r", one, now], ["r", other, before]])))
            flaw, last = False, None
        else:
            asked, told = [], []
            wrote: list[int] = []
            updated: list[int] = []
            for at in rng.choices(range(KEYS), weights, k=rng.randint(1, 4)):
                key = keys[at]
                if rng.random() < 0.5:
                    asked.append(["r", key, None])
                    told.append(["r", key, state[key] if registers else list(state[key])])
                    continue
                count[key] += 1
                asked.append([write, key, count[key]])
                told.append([write, key, count[key]])
                state[key] = count[key] if registers else [*state[key], count[key]]
                wrote.append(key)
                if ["r", key, None] in asked:
                    updated.append(key)
                if count[key] == APPENDS_MAX:
                    keys[at] = fresh
                    state[fresh], count[fresh] = None if registers else [], 0
                    fresh += 1
            yield Kind.INVOKE, names[lane], asked
            if rng.random() < 0.01:
                flying.append((lane, (Kind.INFO, names[lane], asked)))
                names[lane] += CLIENTS
            else:
                flying.append((lane, (Kind.OK, names[lane], told)))
            took = flying[-1][1][0] is Kind.OK
            last = _both(wrote, updated if registers else wrote) if took else None
        if len(flying) > CLIENTS // 2:
            lane, done = flying.pop(rng.randrange(CLIENTS // 2))
            yield done
            free.append(lane)
    for _, done in flying:
        yield done


def _both(wrote: list[int], updated: list[int]) -> tuple[int, int] | None:
    """Two keys that a transaction wrote once each, the second of which it also read before."""
    once = [key for key in wrote if wrote.count(key) == 1]
    found = [(one, other) for other in once if other in updated for one in once if one != other]
    return found[0] if found else None


def recorded(path: Path, txns: int, *, flaw: bool = False, registers: bool = False) -> Path:
    recorder = Recorder(path)
    for number, (kind, process, value) in enumerate(events(txns, flaw, registers)):
        recorder.record(number * 10_000, kind, process, "txn", value)
        if number % 1000 == 0:
            recorder.flush()
    recorder.close()
    return path


def checked(path: Path, checker: str = "list_append", *options: str) -> dict[str, Any]:
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", CHECK, checker, str(path), *options],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        found.append(json.loads(done.stdout))
    best: dict[str, Any] = min(found[1:], key=lambda one: float(one["check_s"]))
    print(
        f"\n{path.stem}: check {best['check_s']:.2f} s, peak {best['peak_mb']:.0f} MiB "
        f"(columns {best['columns_mb']:.0f} MiB); {best['outcome']} {best['counts']}"
    )
    return best


@pytest.mark.parametrize(("txns", "most_s"), [(100_000, 0.6), (1_000_000, 6.0)])
def test_transactions_are_judged_in_time(tmp_path: Path, txns: int, most_s: float) -> None:
    found = checked(recorded(tmp_path / f"valid-{txns}.jsonl", txns))
    assert found["outcome"] == "VALID"
    assert found["check_s"] <= most_s and found["peak_mb"] <= 2048


@pytest.mark.parametrize(("txns", "most_s"), [(100_000, 1.6), (1_000_000, 7.0)])
def test_one_planted_stale_read_is_found_and_nothing_else(
    tmp_path: Path, txns: int, most_s: float
) -> None:
    found = checked(recorded(tmp_path / f"stale-{txns}.jsonl", txns, flaw=True))
    assert found["counts"] == {"G-single": 1}
    assert found["check_s"] <= most_s and found["peak_mb"] <= 2048
