"""The page of all runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.index import RUNS_MAX, write_index
from harness.store import RunFolder


def run(results: Path, test: str, verdict: dict[str, Any] | None, **record: Any) -> RunFolder:
    """A folder as `RunFolder.create` makes it, a second after the one before it."""
    second = len(list(results.glob("*/2*")))
    folder = RunFolder(results / test / f"20260101T0000{second:02}.000")
    folder.path.mkdir(parents=True)
    folder.save("test.json", {"name": test, **record})
    if verdict is not None:
        folder.save("verdict.json", verdict)
    return folder


def rows(results: Path) -> list[str]:
    write_index(results)
    return re.findall(r"<tr><td>.*?</tr>", (results / "index.html").read_text())


def test_runs_are_listed_newest_first_with_their_verdicts(tmp_path: Path) -> None:
    lost = {"lost-write": {"count": 12, "examples": []}}
    run(tmp_path, "log", {"valid": True, "anomalies": {}, "allowed": lost}, seed=7)
    bad = run(tmp_path, "set", {"valid": False, "anomalies": lost, "allowed": {}}, seed=8)
    bad.save_text("report.html", "<p>")
    run(tmp_path, "log", {"valid": "unknown"}, seed=9, options={"nemesis": "kill"})
    killed = run(tmp_path, "log", None)
    first, second, third, fourth = rows(tmp_path)
    assert "unjudged" in first and killed.path.name in first
    assert "unknown" in second and "<td>kill</td>" in second and "<td>9</td>" in second
    assert "invalid" in third and "lost-write × 12</td>" in third
    assert f'href="set/{bad.path.name}/report.html"' in third
    assert "lost-write × 12 (allowed)" in fourth


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    run(tmp_path, "log", {"valid": True})
    RunFolder.create(tmp_path, "up-broker")
    (tmp_path / "README.md").write_text("")
    (tmp_path / "log" / "notes.txt").write_text("")
    assert len(rows(tmp_path)) == 1, "and latest is the same run again"


def test_names_and_values_are_text_and_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    anomalies = {evil: {"count": evil, "examples": []}}
    verdict = {"valid": False, "anomalies": anomalies, "allowed": {}}
    run(tmp_path, 'a"b', verdict, seed=evil, options={"system": evil, "nemesis": evil})
    (row,) = rows(tmp_path)
    assert "<script" not in row and "&lt;script&gt;" in row
    assert 'href="a%22b/' in row


def test_a_damaged_folder_hides_no_other(tmp_path: Path) -> None:
    run(tmp_path, "log", {"valid": True})
    damaged = run(tmp_path, "log", None)
    (damaged.path / "test.json").write_text("{")
    run(tmp_path, "log", {"valid": ["?"], "anomalies": [], "allowed": {"x": 1}})
    assert len(rows(tmp_path)) == 3


def test_only_the_newest_runs_are_listed(tmp_path: Path) -> None:
    for number in range(RUNS_MAX + 5):
        folder = tmp_path / "log" / f"20260101T{number:06}"
        folder.mkdir(parents=True)
        (folder / "test.json").write_text("{}")
    found = rows(tmp_path)
    assert len(found) == RUNS_MAX and f"20260101T{RUNS_MAX + 4:06}" in found[0]
