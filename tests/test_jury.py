"""Each checker judges in a process of its own: what befalls one leaves the others whole."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import limits
from harness.checker import Check, judge
from harness.cluster.machines import has_ended
from harness.guarantees import Contract
from harness.history import History
from harness.jury import Jury
from harness.op import Kind, Op
from harness.verdict import Finding, Outcome, Verdict
from tests import golden

STRICT = Contract("strict")
MEMORY_BYTES = 200 << 20
SMALL = Jury(memory_bytes=MEMORY_BYTES, seats=2)
TOLD = History.of([Op(0, 0, Kind.INVOKE, 0, "read"), Op(1, 5, Kind.OK, 0, "read", 7)])


def fine(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"seen": len(history)})


def finds(history: History, contract: Contract) -> Verdict:
    return Verdict.of([Finding("odd", "7 is odd", witness=(0, 1), key=(1, "a"))])


def arrays(history: History, contract: Contract) -> Verdict:
    kept = []
    while True:
        kept.append(np.ones(1 << 20))


def objects(history: History, contract: Contract) -> Verdict:
    kept: list[Any] = []
    while True:
        kept.append({"a": kept[-1:]})


def reserves(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"size": np.empty(1 << 40, np.uint8).size})


def loops(history: History, contract: Contract) -> Verdict:
    while True:
        pass


def loops_in_c(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"sum": sum(range(10**15))})


def will_not_end(history: History, contract: Contract) -> Verdict:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return loops(history, contract)


def crashes(history: History, contract: Contract) -> Verdict:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def crashes_in_c(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"read": ctypes.string_at(0)})


def is_killed(history: History, contract: Contract) -> Verdict:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def raises(history: History, contract: Contract) -> Verdict:
    raise ZeroDivisionError("oh")


def recurs(history: History, contract: Contract) -> Verdict:
    return recurs(history, contract)


def exits(history: History, contract: Contract) -> Verdict:
    sys.exit(0)


def leaves(history: History, contract: Contract) -> Verdict:
    os._exit(0)


def says_nothing(history: History, contract: Contract) -> Verdict:
    return None  # type: ignore[return-value]


class Unreadable:
    """Can be sent, and not be received."""

    def __reduce__(self) -> Any:
        return (raises, (None, None))


def unreadable(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"it": Unreadable()})


def unsendable(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"it": lambda: 0})


BAD: dict[str, tuple[Check, str, str]] = {
    "arrays": (arrays, "--checker-memory 8G", "in arrays"),
    "objects": (objects, "needed more than 200 MiB of memory", "MemoryError"),
    "reserves": (reserves, "needed more than 200 MiB of memory", "in reserves"),
    "loops": (loops, "--checker-time 0.6", "in loops"),
    "loops in C": (loops_in_c, "was not done after 0.3 s", "in loops_in_c"),
    "crashes": (crashes, "ended by SIGSEGV", "in crashes"),
    "crashes in C": (crashes_in_c, "ended by SIGSEGV", "in crashes_in_c"),
    "is killed": (is_killed, "ended by SIGKILL", "no memory left"),
    "raises": (raises, "this is a bug of ours", "ZeroDivisionError: oh"),
    "recurs": (recurs, "this is a bug of ours", "RecursionError"),
    "exits": (exits, "this is a bug of ours", "SystemExit: 0"),
    "leaves": (leaves, "ended without a verdict", "status 0"),
    "says nothing": (says_nothing, "this is a bug of ours", "AttributeError"),
    "unreadable": (unreadable, "ended without a verdict", "ZeroDivisionError: oh"),
    "unsendable": (unsendable, "this is a bug of ours", "pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_that_fails_is_unknown_and_the_others_are_whole(name: str) -> None:
    bad, why, where = BAD[name]
    time_s = 0.3 if name.startswith("loops") else 60.0
    jury = Jury(memory_bytes=MEMORY_BYTES, time_s=time_s, seats=2)
    before = open_files(), children()
    verdict = jury.judge(TOLD, {"before": fine, "bad": bad, "after": finds}, STRICT)
    (doubt,) = verdict.checkers["bad"].doubts
    assert verdict.checkers["bad"].outcome is Outcome.UNKNOWN
    assert why in doubt.partition("\n")[0] and where in doubt
    assert verdict.checkers["before"] == fine(TOLD, STRICT)
    assert verdict.checkers["after"] == finds(TOLD, STRICT)
    assert list(verdict.checkers) == ["before", "bad", "after"]
    assert verdict.outcome is Outcome.INVALID and verdict.doubts == (f"bad: {doubt}",)
    assert (open_files(), children()) == before


def test_one_that_will_not_end_is_ended() -> None:
    jury = Jury(memory_bytes=MEMORY_BYTES, time_s=0.1, seats=2)
    before = children()
    verdict = jury.judge(TOLD, {"bad": will_not_end, "fine": fine}, STRICT)
    assert "was not done after 0.1 s" in verdict.checkers["bad"].doubts[0]
    assert verdict.checkers["fine"].outcome is Outcome.VALID and children() == before


@pytest.mark.parametrize("path", sorted(golden.FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_jury_says_what_one_process_says(path: Path) -> None:
    from harness import catalog

    history = History.load(path)
    checks = {name: catalog.find("checkers", name) for name in ("log", "crash", "append", "wr")}
    checks |= {"bad": unsendable}
    here, there = judge(history, checks, STRICT), SMALL.judge(history, checks, STRICT)
    for name in ("log", "crash", "append", "wr"):
        assert there.checkers[name].to_json() == here.checkers[name].to_json()
        assert there.checkers[name] == here.checkers[name]


def test_a_verdict_may_be_larger_than_a_pipe() -> None:
    claim = "x" * (8 << 20)

    def large(history: History, contract: Contract) -> Verdict:
        return Verdict.of([Finding("large", claim)])

    verdict = SMALL.judge(TOLD, {"a": large, "b": large, "c": large}, STRICT)
    assert [finding.claim for finding in verdict.findings] == [claim] * 3


def test_a_child_of_a_checker_that_holds_the_pipe_holds_up_nobody() -> None:
    reading, writing = os.pipe()

    def forks(history: History, contract: Contract) -> Verdict:
        if not os.fork():
            os.read(reading, 1)  # until the test lets it go
            os._exit(0)
        return Verdict.of(stats={"forked": True})

    try:
        verdict = SMALL.judge(TOLD, {"forks": forks, "fine": fine}, STRICT)
        assert verdict.stats["forks"] == {"forked": True}
    finally:
        os.write(writing, b"x")
        os.close(reading)
        os.close(writing)


def test_who_ran_out_of_memory_beside_others_is_heard_again_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "available", lambda: (800 << 20) / limits.SHARE)

    def needs(history: History, contract: Contract) -> Verdict:
        return Verdict.of(stats={"sum": int(np.ones(500 << 20, np.uint8)[::4096].sum())})

    checks = {"fine": fine, "needs": needs, "arrays": arrays}
    verdict = Jury(seats=2).judge(TOLD, checks, STRICT)
    assert verdict.stats["needs"] == {"sum": (500 << 20) >> 12}
    assert "needed more than 800 MiB" in verdict.checkers["arrays"].doubts[0]
    alone = Jury(memory_bytes=400 << 20, seats=2).judge(TOLD, checks, STRICT)
    assert "needed more than 400 MiB" in alone.checkers["needs"].doubts[0], "as it was told"


def test_what_the_parent_has_is_not_counted() -> None:
    held = np.ones(MEMORY_BYTES, np.uint8)

    def reads(history: History, contract: Contract) -> Verdict:
        return Verdict.of(stats={"last": int(held[-1]), "half": len(bytes(MEMORY_BYTES // 2))})

    assert SMALL.judge(TOLD, {"reads": reads}, STRICT).outcome is Outcome.VALID


def test_without_processes_checkers_judge_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    before = open_files()
    verdict = SMALL.judge(TOLD, {"fine": fine, "raises": raises, "finds": finds}, STRICT)
    assert "ZeroDivisionError: oh" in verdict.checkers["raises"].doubts[0]
    assert verdict.checkers["fine"] == fine(TOLD, STRICT) and open_files() == before


def test_nobody_to_judge_finds_nothing() -> None:
    assert Jury().judge(TOLD, {}, STRICT) == judge(TOLD, {}, STRICT)


def test_what_waits_to_be_printed_is_printed_once() -> None:
    child = subprocess.run(
        [sys.executable, "-c", PRINTING], capture_output=True, text=True, check=True
    )
    assert child.stdout == "before\n" and child.stderr == "by a checker"


PRINTING = """
from harness.jury import Jury
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

def prints(history, contract):
    print("by a checker", end="")
    return Verdict.of()

print("before")
Jury().judge(History.of([]), {"prints": prints}, Contract("strict"))
"""


# -- the end of the parent ------------------------------------------------------------------------

FILE = """
import os
from pathlib import Path

def loops(history, contract):
    told = Path(f"juror-{os.getpid()}.tmp")
    told.write_text(str(os.getpid()))
    told.rename(told.with_suffix(".pid"))
    while True:
        pass

other = loops
"""


@pytest.mark.parametrize(
    ("signum", "status"),
    [
        (signal.SIGINT, 3),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_no_juror_outlives_its_parent(tmp_path: Path, signum: int, status: int) -> None:
    (tmp_path / "slow.py").write_text(FILE)
    words = ["check", str(golden.FOLDER / "log-valid.jsonl")]
    words += ["--checker", "slow.py:loops", "--checker", "slow.py:other"]
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    seats = min(len(os.sched_getaffinity(0)), 2)
    deadline = time.monotonic() + 60
    while len(pids := [*tmp_path.glob("*.pid")]) < seats and time.monotonic() < deadline:
        assert child.poll() is None, child.communicate()
    jurors = [os.pidfd_open(int(path.read_text())) for path in pids]
    assert len(jurors) == seats
    if signum == signal.SIGINT:
        os.killpg(child.pid, signum)  # as a terminal does
    else:
        os.kill(child.pid, signum)
    child.communicate(timeout=30)
    assert child.returncode == status
    for juror in jurors:
        assert has_ended(juror, 30_000)
        os.close(juror)


# -- limits ---------------------------------------------------------------------------------------


def test_what_was_limited_is_not_any_more() -> None:
    with pytest.raises(MemoryError), limits.bounded(64 << 20):
        np.ones(256 << 20, np.uint8)
    assert np.ones(256 << 20, np.uint8).all()


def test_what_is_available_is_the_least_that_anybody_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "/proc/meminfo": ["MemTotal: 9000000 kB", "MemAvailable: 8000000 kB"],
        "/proc/self/cgroup": ["4:memory:/box/in", "0::/a/b"],
        "/sys/fs/cgroup/a/b/memory.max": ["max"],
        "/sys/fs/cgroup/a/b/memory.current": ["5000"],
        "/sys/fs/cgroup/a/memory.max": ["3000000000"],
        "/sys/fs/cgroup/a/memory.current": ["2000000000"],
        "/sys/fs/cgroup/a/memory.stat": ["anon 1", "inactive_file 500000000"],
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": ["9223372036854771712"],
        "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": ["7"],
    }
    monkeypatch.setattr(limits, "_lines", lambda path: files.get(str(path), []))
    assert limits.available() == 1_500_000_000
    files["/sys/fs/cgroup/memory/box/memory.limit_in_bytes"] = ["1000"]
    assert limits.available() == 993
    assert limits.share(2) == limits.LEAST_BYTES


@pytest.mark.parametrize("text", ["", "G", "0", "-1G", "4X", "1e9", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no size, as 512M or 4G"):
        limits.size(text)


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def children() -> list[str]:
    """Of this process, zombies included."""
    tasks = Path("/proc/self/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]
