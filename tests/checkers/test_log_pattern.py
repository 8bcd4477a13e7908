"""Lines of the nodes' logs that must not be there are found, wherever they are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkers import log_pattern
from harness import node_logs
from harness.cli import main
from harness.guarantees import derive
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Outcome, Verdict

NOTHING = History.of([])


def judged(pattern: str | None, **logs: list[str]) -> Verdict:
    promises = {} if pattern is None else {"log-pattern": pattern}
    return log_pattern.check(NOTHING, derive("log", promises, "strict"), logs)


def test_each_line_that_matches_is_counted_and_told_with_its_place() -> None:
    verdict = judged("pan.c", n1=["started", "panic: no"], n2=["PANIC"], n3=["panic", "a panic"])
    assert verdict.outcome is Outcome.INVALID and verdict.counts == {"log-pattern": 3}
    assert verdict.stats == {"lines": 5, "matches": {"n1": 1, "n3": 2}}
    assert [finding.claim.partition(" matches")[0] for finding in verdict.findings] == [
        "line 2 of n1",
        "line 1 of n3",
        "line 2 of n3",
    ]
    assert verdict.findings[0].because[0] == "line 2 of n1: panic: no"


def test_no_log_hides_the_lines_of_another() -> None:
    verdict = judged("x", a=["x"] * (2 * EXAMPLES_MAX), b=["x"])
    assert verdict.counts == {"log-pattern": 2 * EXAMPLES_MAX + 1}
    assert len(verdict.findings) == EXAMPLES_MAX
    assert {finding.key for finding in verdict.findings} == {"a", "b"}


def test_logs_without_such_a_line_are_valid_and_no_logs_say_nothing() -> None:
    assert judged("x", a=["y"], b=[]).outcome is Outcome.VALID
    assert judged("x").outcome is Outcome.UNKNOWN
    assert judged(None, a=["x"]).outcome is Outcome.UNKNOWN


def test_a_log_may_be_anything(tmp_path: Path) -> None:
    folder = tmp_path / "nodes" / "n1"
    folder.mkdir(parents=True)
    (folder / "node.log").write_bytes(b"\xff\x00 x\r\n" + b"y" * 200_000)
    (log,) = node_logs.read(tmp_path).values()
    first, *rest = log
    assert first == "\ufffd\x00 x" and "".join(rest) == "y" * 200_000 and len(rest) > 1


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that promised that no log speaks of a panic; one does."""
    log = tmp_path / "nodes" / "n1" / "node.log"
    log.parent.mkdir(parents=True)
    log.write_text("started\npanic: no memory\n")
    contract = derive("log", {"log-pattern": "panic"}, "derived").to_json()
    (tmp_path / "test.json").write_text(json.dumps({"workload": "log", "contract": contract}))
    (tmp_path / "history.jsonl").write_text("")
    return tmp_path


@pytest.mark.parametrize("file", [".", "history.jsonl"])
def test_a_run_is_judged_again_by_what_it_promised(
    run: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(run / file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["anomalies"]["log-pattern"]["count"] == 1
    assert main(["check", str(run / file), "-o", "log-pattern=oom"]) in (0, 3)
    assert "log-pattern: 1" not in capsys.readouterr().out


def test_a_pattern_that_is_none_is_wrong_usage(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(run), "-o", "log-pattern=("]) == 2
    assert "no regular expression" in capsys.readouterr().err
