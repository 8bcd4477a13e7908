"""`assay bench checkers`: what it measures, what it prints, and docs/performance.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cli
from harness.bench import porcupine
from harness.bench.measure import Checked, decoded
from harness.bench.page import Line, page
from harness.bench.rows import MILLION, ROWS, Row
from harness.errors import EnvironmentFailure
from harness.history import History

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
COUNTER = next(row for row in ROWS if row.name == "counter")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_draws_the_same_legible_history_each_time(row: Row, tmp_path: Path) -> None:
    (first, *_), (second, *_) = (
        row.write(folder, 400) for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert first.read_bytes() == second.read_bytes()
    assert len(History.load(first)) >= 400


def test_the_page_has_the_rows_and_the_targets_of_the_code() -> None:
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (?!work )", line)
    ]
    named = [(row.name, "–" if row.check_s is None else f"{row.check_s:g}") for row in ROWS]
    assert [(cell[0], cell[5]) for cell in cells] == named


def test_a_row_is_measured_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "checkers", "--only", "counter", "--operations", "300", "--no-peers"]
    cli.main(words)
    (line,) = re.findall(r"\| counter \| 300 \|.*", capsys.readouterr().out)
    assert "found" not in line


def test_a_row_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "checkers", "--only", "no such"]) == 2
    assert "'counter'" in capsys.readouterr().err


WELL = Line(
    COUNTER, MILLION, 1.0, 0.1, Checked(0.1, 1.0, 1.0, 100 * MILLION, 300.0, {}, "VALID"), 2.0, None
)


@pytest.mark.parametrize(
    ("line", "missed"),
    [
        (WELL, []),
        (replace(WELL, best=replace(WELL.best, check_s=9.0)), ["time"]),
        (replace(WELL, best=replace(WELL.best, over_bytes=200 * MILLION)), ["memory"]),
        (replace(WELL, best=replace(WELL.best, counts={"phantom": 1})), ["found {'phantom': 1}"]),
        (replace(WELL, growth=2.5), ["growth"]),
        (replace(WELL, row=replace(COUNTER, peak_mb=200.0)), ["peak"]),
        (replace(WELL, row=replace(COUNTER, checker="log"), decode_s=5.0), ["decode"]),
        (replace(WELL, row=replace(COUNTER, checker="log"), load_s=0.3), ["load"]),
    ],
)
def test_what_was_missed_is_said(line: Line, missed: list[str]) -> None:
    assert list(line.missed()) == missed


def test_why_there_is_no_peer_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(porcupine.Missing) as why:
        porcupine.build(tmp_path)
    assert "Porcupine was not asked: Go is not installed." in page([WELL], str(why.value))


def test_a_measurement_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"measuring .*none.jsonl.*there is no such file"):
        decoded([tmp_path / "none.jsonl"])
