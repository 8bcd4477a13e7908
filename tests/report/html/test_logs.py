"""The nodes' logs around moments of a history."""

from __future__ import annotations

import json
from pathlib import Path

from harness.report.html.logs import AROUND_NS, LINES_MAX, Logs

STARTED_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def write(folder: Path, node: str, lines: list[tuple[float, str] | str | bytes]) -> None:
    path = folder / "nodes" / node / "node.log"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for line in lines:
            if isinstance(line, tuple):
                time = STARTED_NS + int(line[0] * SECOND)
                line = json.dumps({"time": time, "node": node, "event": line[1], "term": 3})
            file.write(line if isinstance(line, bytes) else line.encode())
            file.write(b"\n")


def test_lines_of_all_nodes_are_merged_by_time_around_the_moments(tmp_path: Path) -> None:
    write(tmp_path, "n1", [(1.0, "early"), (10.0, "elected"), (20.0, "late")])
    write(tmp_path, "n2", [(9.9, "fenced"), (10.1, "joined")])
    assert Logs(tmp_path, STARTED_NS).around([10 * SECOND]) == [
        "    9.9000 s  n2   fenced  term=3",
        "   10.0000 s  n1   elected  term=3",
        "   10.1000 s  n2   joined  term=3",
    ]


def test_what_lies_between_two_moments_is_counted(tmp_path: Path) -> None:
    write(tmp_path, "n1", [(1.0, "a"), (5.0, "b"), (6.0, "c"), (30.0, "d")])
    lines = Logs(tmp_path, STARTED_NS).around([30 * SECOND, 1 * SECOND])
    assert [line.split()[-2] for line in lines if "…" not in line] == ["a", "d"]
    assert lines[1] == "… 29.00 s, 2 lines …"


def test_a_traceback_belongs_to_the_line_before_it(tmp_path: Path) -> None:
    write(tmp_path, "n1", ["no time yet", (3.0, "crash"), "Traceback (most recent call last):"])
    lines = Logs(tmp_path, STARTED_NS).around([3 * SECOND])
    assert [line.split("n1")[1].strip() for line in lines] == [
        "crash  term=3",
        "Traceback (most recent call last):",
    ]


def test_bytes_of_a_broken_node_are_shown_and_not_believed(tmp_path: Path) -> None:
    broken = [b"\xff\xfe{", b'{"time":"soon"}', b"[1]", b'{"time":null}', b""]
    write(tmp_path, "n1", [(1.0, "up"), *broken])
    lines = Logs(tmp_path, STARTED_NS).around([SECOND])
    assert len(lines) == 5
    assert "\ufffd" in lines[1]


def test_of_too_many_lines_the_nearest_are_shown(tmp_path: Path) -> None:
    step = AROUND_NS / SECOND / LINES_MAX / 2
    write(tmp_path, "n1", [(10 + n * step, f"e{n}") for n in range(2 * LINES_MAX)])
    lines = Logs(tmp_path, STARTED_NS).around([10 * SECOND])
    assert len(lines) == LINES_MAX
    assert "e0 " in lines[0] and f"e{LINES_MAX - 1} " in lines[-1]


def test_without_logs_or_without_a_beginning_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert Logs(tmp_path, STARTED_NS).around([1]) == []
    write(tmp_path, "n1", [(0.0, "a")])
    assert Logs(tmp_path, None).around([1]) == []
    assert Logs(tmp_path, STARTED_NS).around([]) == []
