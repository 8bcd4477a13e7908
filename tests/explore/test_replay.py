"""A replay says whether it is the same run, or how like it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.explore.likeness import compare
from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.tape import Tape

MS = 1_000_000


def history(
    *sends: tuple[int, int, Kind], killed_at: int | None = None, outcome: str = "observed"
) -> History:
    """`sends` are (ms, process, how it ended)."""
    ops: list[tuple[int, Op]] = []
    for at, process, kind in sends:
        for moment, type_ in ((at, Kind.INVOKE), (at + 1, kind)):
            op = Op(0, moment * MS, type_, process, "send", [["send", 0, at]])
            ops.append((moment, op))
    if killed_at is not None:
        extra = {"effect": {"outcome": outcome}}
        for more in (None, extra):
            op = Op(0, killed_at * MS, Kind.INFO, NEMESIS, "kill", ["n1"], extra=more)
            ops.append((killed_at, op))
    return History.of([op for _, op in sorted(ops, key=lambda each: each[0])])


def test_a_replay_tells_how_late_everything_was_and_what_ended_otherwise() -> None:
    then = history((10, 0, Kind.OK), (20, 1, Kind.OK), (30, 0, Kind.OK), killed_at=15)
    now = history((10, 0, Kind.OK), (24, 1, Kind.INFO), (37, 0, Kind.OK), killed_at=16)
    like = compare(Tape.of(then, 2), then, now, 2, ({"lost-write": 2}, {}))
    assert (like.events, like.asked) == (4, 4)
    assert list(like.late_ms) == [0.0, 4.0, 7.0] and list(like.faults_late_ms) == [1.0]
    assert like.outcomes == {"send ok": (3, 2), "send info": (0, 1)}
    assert like.faults == {"kill observed": (1, 1)}
    assert like.lines() == [
        "asked:   all 4 operations and faults",
        "late:    operations 4.0 ms in the median and 7.0 ms at most, faults 1.0 and 1.0 ms",
        "ended:   send info 0 → 1, send ok 3 → 2",
        "faults:  as then",
        "found:   lost-write 2 → 0",
    ]


def test_what_never_came_and_what_no_longer_applied_is_told() -> None:
    then = history((10, 0, Kind.OK), (20, 1, Kind.OK), killed_at=15)
    now = history((10, 0, Kind.OK), killed_at=15, outcome="skipped")
    like = compare(Tape.of(then, 2), then, now, 2, ({}, {}))
    lines = like.lines()
    assert lines[0] == "asked:   2 of 3 operations and faults"
    assert lines[3] == "faults:  kill observed 1 → 0, kill skipped 0 → 1"
    assert lines[4] == "found:   nothing, as then"


def test_a_simulated_run_comes_again_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cluster", "sim", "--time-limit", "1", "--rate", "20", "--seed", "3"]
    assert main(["run", "log", *words, "--results", str(tmp_path), "--json"]) == 0
    capsys.readouterr()
    status = main(["replay", str(tmp_path / "log" / "latest"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["identical"], told["difference"]) == (0, True, None)
    for until in ("-1", "99999999"):
        assert main(["replay", str(tmp_path / "log" / "latest"), "--until", until]) == 2
        assert "this run has operations 0 to" in capsys.readouterr().err


def played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cluster: str, nemesis: str
) -> None:
    words = ["--cluster", cluster, "--nemesis", nemesis, "--nemesis-interval", "1"]
    words += ["--time-limit", "6", "--rate", "50", "--seed", "11", "--results", str(tmp_path)]
    assert main(["run", "log", *words, "--json"]) == 0
    capsys.readouterr()
    status = main(["replay", str(tmp_path / "log" / "latest"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == 0 and told["same verdict"] and told["best effort"], told
    assert told["identical"] is None
    assert told["asked"] == told["events"] > 20
    assert set(told["faults"]) >= {"kill observed", "start observed", "start-partition observed"}
    tape = Tape.load(Path(told["run"]) / "tape.json")
    one, other = (
        Tape.of(History.load(Path(told[run]) / "history.jsonl"), 6) for run in ("of", "run")
    )
    assert one == tape
    for thread in range(-1, 6):
        asked = [
            [(e.f, e.value) for e in each.events if e.thread == thread] for each in (one, other)
        ]
        assert asked[0] == asked[1]


@pytest.mark.local
def test_processes_are_asked_the_same_again_and_broken_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played_again(tmp_path, capsys, "local", "kill,partition")


@pytest.mark.local
def test_only_messages_of_a_simulated_run_can_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--time-limit", "1", "--rate", "10", "--results", str(tmp_path), "--json"]
    assert main(["run", "log", *words]) == 0
    assert main(["replay", str(tmp_path / "log" / "latest"), "--diagram"]) == 2
    assert "only the messages of a simulated run" in capsys.readouterr().err


@pytest.mark.docker
@pytest.mark.usefixtures("docker_engine")
def test_containers_are_asked_the_same_again_and_broken_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played_again(tmp_path, capsys, "docker", "kill,partition")
