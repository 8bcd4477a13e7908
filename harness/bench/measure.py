"""What reading and judging a history costs, each time in a new process with limits.

`decoded` is of JSONL to columns, `checked` of the columns' file and the check. Times are of the
processor, of all processes together; imports are not in them. Memory is what the check takes over
the columns at its peak, and the peak of the whole process.

Needs Linux, where a process can forget its peak.
Blind to: memory of a process that helps to decode; decoding is timed only.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import catalog, column_file
from harness.errors import EnvironmentFailure
from harness.guarantees import derive
from harness.history import History

CPU_S, MEMORY_BYTES = 60, 4 << 30
"""What a process may take, ours and the peer's."""

PATIENCE_S = 600
"""By the clock, on a busy machine."""

_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Checked:
    """The costs of one process.

    Attributes:
        load_s, check_s, longest_s: all histories together, and the longest check of one.
        over_bytes: at the peak of a check, beyond what stood in memory before.
        peak_mb: the whole process at its peak.
        counts: anomalies found in all histories.
        outcome: the worst of them.
    """

    load_s: float
    check_s: float
    longest_s: float
    over_bytes: int
    peak_mb: float
    counts: dict[str, int]
    outcome: str


def decoded(paths: Sequence[Path]) -> float:
    """Seconds to make columns of JSONL; the columns' files are there afterwards."""
    for path in paths:
        column_file.path_of(path).unlink(missing_ok=True)
    seconds: float = _told("decode", *map(str, paths))["decode_s"]
    return seconds


def checked(checker: str, options: Sequence[str], paths: Sequence[Path]) -> Checked:
    """One process that loads and judges the histories."""
    return Checked(**_told("check", checker, ",".join(options), *map(str, paths)))


def _told(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "harness.bench.measure", *words]
    done = limited(command)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        what = f"measuring {words[1]} within {CPU_S} s and {MEMORY_BYTES >> 30} GB"
        raise EnvironmentFailure(f"{what} ended with {done.returncode}: {said}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def limited(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command within the limits."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=_limit,
    )


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# -- in the process that is measured ---------------------------------------------------------------


def _cpu_s() -> float:
    second = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + second.ru_utime + second.ru_stime


def _decode(paths: Sequence[str]) -> dict[str, Any]:
    spent_s = 0.0
    for path in map(Path, paths):
        begun = _cpu_s()
        history = History.load(path)
        spent_s += _cpu_s() - begun
        history.save_columns(path)
    return {"decode_s": spent_s}


def _check(checker: str, options: str, paths: Sequence[str]) -> dict[str, Any]:
    check = catalog.find("checkers", checker)
    contract = derive(checker, dict(o.split("=", 1) for o in options.split(",") if o), "strict")
    loads, checks, overs = [], [], [0]
    counts: dict[str, int] = {}
    worst = None
    for path in map(Path, paths):
        begun = _cpu_s()
        history = History.load(path)
        loads.append(_cpu_s() - begun)
        before = _forget_peak()
        begun = _cpu_s()
        verdict = check(history, contract)
        checks.append(_cpu_s() - begun)
        overs.append(_status("VmHWM") - before)
        for name, count in verdict.counts.items():
            counts[name] = counts.get(name, 0) + count
        worst = verdict.outcome if worst is None else max(worst, verdict.outcome)
    return {
        "load_s": sum(loads),
        "check_s": sum(checks),
        "longest_s": max(checks),
        "over_bytes": max(overs),
        "peak_mb": _status("VmHWM") / 2**20,
        "counts": counts,
        "outcome": "" if worst is None else worst.name,
    }


def _forget_peak() -> int:
    """Makes what is resident now the peak; how many bytes that is."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) * 1024


def main() -> None:
    kind, *words = sys.argv[1:]
    print(json.dumps(_decode(words) if kind == "decode" else _check(words[0], words[1], words[2:])))


if __name__ == "__main__":
    main()
