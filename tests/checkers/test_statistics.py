"""What was asked and how it ended is counted, and mistakes of clients are told by name."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from checkers import clients, statistics
from harness.cli import main
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Outcome
from tests.checkers.witnesses import STRICT

MARK = {"unhandled": "TypeError", "traceback": "in send\nTypeError: no"}


def op(kind: Kind, process: int, f: str, time_ms: int, **more: object) -> Op:
    return Op(0, time_ms * 1_000_000, kind, process, f, **more)  # type: ignore[arg-type]


HISTORY = History.of(
    [
        op(Kind.INVOKE, 0, "read", 0),
        op(Kind.OK, 0, "read", 4),
        op(Kind.INVOKE, 1, "add", 5),
        op(Kind.INFO, 1, "add", 9, error=("TypeError", "no"), extra=MARK),
        op(Kind.INVOKE, 2, "add", 9),
        op(Kind.FAIL, 2, "add", 9, error=("ConnectionResetError", "gone")),
        op(Kind.INVOKE, 3, "add", 10),
        op(Kind.INFO, 3, "add", 11, error=("KeyError", "'x'")),
        op(Kind.INVOKE, 4, "crash", 12),
        op(Kind.INVOKE, 5, "read", 13),
    ]
)


def test_operations_are_counted_by_how_they_ended_and_what_never_succeeds_is_noted() -> None:
    verdict = statistics.check(HISTORY, STRICT)
    by_f = verdict.stats["by f"]
    assert verdict.outcome is Outcome.VALID
    assert [by_f["read"][name] for name in ("count", "ok", "fail", "info")] == [2, 1, 0, 1]
    assert by_f["read"]["ok ms"] == {"p50": 4.0, "p90": 4.0, "p99": 4.0, "max": 4.0}
    assert by_f["add"]["info share"] == round(2 / 3, 4) and "ok ms" not in by_f["add"]
    assert verdict.stats["all"]["count"] == 6
    assert verdict.stats["note"] == "no add was acknowledged: 1 of 3 failed, 2 are in doubt"


def test_mistakes_of_clients_are_told_by_name_and_those_of_the_network_are_not() -> None:
    stats = clients.check(HISTORY, STRICT).stats
    assert stats["operations"] == 2 and set(stats["errors"]) == {"TypeError", "KeyError"}
    assert stats["errors"]["TypeError"]["traceback"] == MARK["traceback"]
    assert "TypeError × 1" in stats["note"] and "op 3, add: TypeError: no" in stats["note"]


def test_both_are_asked_for_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(f"{msgspec.json.encode(each).decode()}\n" for each in HISTORY))
    words = ["check", str(path), "--checker", "statistics", "--checker", "clients", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)["checkers"]
    assert told["statistics"]["stats"]["by f"]["add"]["count"] == 3
    assert set(told["clients"]["stats"]["errors"]) == {"TypeError", "KeyError"}


def test_nothing_is_said_of_nothing() -> None:
    empty = History.of([])
    assert statistics.check(empty, STRICT).stats["all"]["count"] == 0
    assert not clients.check(empty, STRICT).stats
