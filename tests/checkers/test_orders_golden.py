"""Golden histories of what is neither a log nor an object, and what is said of them."""

from __future__ import annotations

import pytest

from checkers import (
    adya,
    bank,
    causal,
    causal_reverse,
    long_fork,
    mutex,
    sessions,
    set_full,
    total_queue,
    unique_ids,
)
from harness import catalog
from harness.guarantees import derive, forbidden_in
from harness.history import History
from tests.checkers.witnesses import stands
from tests.golden import Golden, golden

ANOMALIES = {
    "adya": adya.ANOMALIES,
    "bank": bank.ANOMALIES,
    "causal": causal.ANOMALIES,
    "causal-reverse": causal_reverse.ANOMALIES,
    "long-fork": long_fork.ANOMALIES,
    "mutex": mutex.ANOMALIES,
    "sessions": sessions.ANOMALIES,
    "set-full": set_full.ANOMALIES,
    "total-queue": total_queue.ANOMALIES,
    "unique-ids": unique_ids.ANOMALIES,
}
ALL = [one for name in ANOMALIES for one in golden(name)]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.file.stem)
def test_a_golden_history_has_the_verdict_that_is_written_beside_it(one: Golden) -> None:
    contract = derive(one.workload, one.options, "strict")
    check = catalog.find("checkers", one.workload)
    history = History.load(one.file)
    verdict = check(history, contract)
    assert sorted(contract.sort(verdict, history).anomalies()) == sorted(one.anomalies)
    for finding in verdict.findings:
        stands(history, finding, lambda part, _: check(part, contract))


@pytest.mark.parametrize("name", ANOMALIES)
def test_every_anomaly_has_a_golden_history_and_a_reason_why_it_is_forbidden(name: str) -> None:
    assert {found for one in golden(name) for found in one.anomalies} == set(ANOMALIES[name])
    assert any(not one.anomalies for one in golden(name)), "and there is one that is valid"
    assert set(forbidden_in(name)) >= set(ANOMALIES[name])
