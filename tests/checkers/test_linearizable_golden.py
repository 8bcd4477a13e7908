"""Golden histories of registers, queues, sets, … have the verdicts that stand beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.linearizable import counter, priority_queue, queue, register, sets, stack
from harness import catalog, cli
from harness.guarantees import derive
from harness.history import History
from tests.golden import Golden, golden

NAMES = (
    *("register", "multi-register", "queue", "set", "stack", "counter", "lock"),
    "priority-queue",
)
ALL = [one for name in NAMES for one in golden(name)]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.file.stem)
def test_a_golden_history_has_the_verdict_that_is_written_beside_it(one: Golden) -> None:
    contract = derive(one.workload, one.options, "strict")
    verdict = catalog.find("checkers", one.workload)(History.load(one.file), contract)
    assert verdict.outcome.name.lower() == one.verdict
    assert sorted(verdict.anomalies()) == sorted(one.anomalies)


@pytest.mark.parametrize(
    ("name", "anomalies"),
    [
        ("register", register.ANOMALIES),
        ("queue", queue.ANOMALIES),
        ("priority-queue", priority_queue.ANOMALIES),
        ("stack", stack.ANOMALIES),
        ("set", sets.ANOMALIES),
        ("counter", counter.ANOMALIES),
    ],
)
def test_every_anomaly_has_a_golden_history(name: str, anomalies: tuple[str, ...]) -> None:
    assert {found for one in golden(name) for found in one.anomalies} == set(anomalies)


def test_a_witness_of_a_valid_history_is_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parent.parent / "golden" / "register-valid-in-doubt.jsonl"
    assert cli.main(["check", str(path), "--workload", "register", "--witness"]) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shown.startswith("an order: c1's read -> null, ")
    assert shown.endswith("c0's write 1 (in doubt), c1's read -> 1")
