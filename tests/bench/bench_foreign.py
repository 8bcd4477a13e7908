"""How fast histories of other tools are read.

Run: pytest -m bench -s tests/bench/bench_foreign.py

Timer: `History.load` in a fresh process, from the bytes of the file to columns, without the import
of modules; the processor's time of all processes, as other work on the machine would count
otherwise. Memory is that process' peak. The peer is edn_format (`pip install edn_format`), if it is
there, on the first 2,000 lines: it parses to Python values, and makes no columns.
"""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

OPERATIONS = 500_000
EVENT = "{:index %d, :time %d, :type :%s, :process %d, :f :%s, :value %s}\n"

LOAD = """
import json, resource, sys, time
from harness.history import History
started = time.process_time()
history = History.load(sys.argv[1])
print(json.dumps({"events": len(history), "cpu_s": time.process_time() - started,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def values(what: str, rng: random.Random, at: int) -> tuple[str, str, str]:
    """`f`, what is asked and what is answered."""
    key = rng.randrange(5)
    if what == "transactions":
        read = " ".join(map(str, range(rng.randrange(12))))
        asked = f"[[:r {key} %s] [:append {key} {at}]]"
        return "txn", asked % "nil", asked % f"[{read}]"
    if what == "polls":
        found = ", ".join(
            f"{key} [{' '.join(f'[{at + k} {at + k}]' for k in range(rng.randrange(1, 4)))}]"
            for key in rng.sample(range(8), 3)
        )
        return "poll", "[[:poll]]", f"[[:poll {{{found}}}]]"
    if what == "strings":
        return "write", f'"v-{at}"', f'"v-{at}"'
    if what == "accounts":
        balances = ", ".join(f"{account} {rng.randrange(100)}" for account in range(8))
        return "read", "nil", f"{{{balances}}}"
    return "write", str(at), str(at)


def lines(what: str) -> Iterator[str]:
    rng = random.Random(1729)
    for at in range(OPERATIONS):
        f, asked, answered = values(what, rng, at)
        process = at % 20
        yield EVENT % (2 * at, at * 9000, "invoke", process, f, asked)
        yield EVENT % (2 * at + 1, at * 9000 + 4000, "ok", process, f, answered)


def peer_mb_s(path: Path) -> float | None:
    if importlib.util.find_spec("edn_format") is None:
        return None
    import edn_format  # type: ignore[import-not-found]

    with path.open(encoding="utf-8") as file:
        some = [line for _, line in zip(range(2000), file, strict=False)]
    started = time.process_time()
    for line in some:
        edn_format.loads(line)
    return sum(map(len, some)) / (time.process_time() - started) / 1e6


@pytest.mark.parametrize(
    ("what", "least_mb_s"),
    [("registers", 20), ("transactions", 20), ("polls", 20), ("strings", 10), ("accounts", 5)],
)
def test_edn_is_read_at_twenty_megabytes_a_second(
    tmp_path: Path, what: str, least_mb_s: int
) -> None:
    path = tmp_path / "history.edn"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines(what))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    found = json.loads(done.stdout)
    size_mb = path.stat().st_size / 1e6
    rate, peer = size_mb / found["cpu_s"], peer_mb_s(path)
    print(
        f"\n{what}: {size_mb:.0f} MB, {found['events']:,} events, {rate:.1f} MB/s, "
        f"peak {found['peak_mb']:.0f} MiB"
        + (f"; edn_format {peer:.2f} MB/s, 1/{rate / peer:.0f}" if peer else "")
    )
    assert found["events"] == 2 * OPERATIONS
    assert rate >= least_mb_s
