"""What is told of a run: faults count if they were seen to work."""

from __future__ import annotations

from typing import Any

import pytest

from harness.explore.once import _injected
from harness.history import History
from harness.op import Kind, Op


def fault(f: str, evidence: Any = None, outcome: str = "observed") -> list[Op]:
    effect = {"effect": {"outcome": outcome, "evidence": evidence}}
    return [Op(0, 1, Kind.INFO, "nemesis", f), Op(0, 2, Kind.INFO, "nemesis", f, extra=effect)]


def told(**acted: dict[str, int]) -> dict[str, Any]:
    return {node: {"outcome": "observed", "acted": each} for node, each in acted.items()}


@pytest.mark.parametrize(
    ("evidence", "counts"),
    [
        (told(n1={}, n2={}), 0),
        (told(n1={}, n2={"eio": 3}), 1),
        ({"n1": {"outcome": "observed"}}, 1),  # of a cluster that does not tell
    ],
)
def test_a_fault_of_a_disk_counts_if_it_struck(evidence: Any, counts: int) -> None:
    history = History.of([*fault("start-disk"), *fault("kill"), *fault("stop-disk", evidence)])
    assert list(_injected(history)).count("start-disk") == counts
    assert {"kill", "stop-disk"} <= set(_injected(history))


def test_faults_that_nobody_saw_do_not_count() -> None:
    ops = [*fault("kill", outcome="unobserved"), *fault("start-disk", outcome="skipped")]
    assert list(_injected(History.of(ops))) == []


def test_a_fault_of_a_disk_that_the_end_of_the_run_overtook_counts() -> None:
    assert list(_injected(History.of(fault("start-disk")))) == ["start-disk"]
