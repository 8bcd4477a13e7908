"""The log checker gives each golden history the verdict that stands beside it."""

from __future__ import annotations

from functools import partial

import pytest

from checkers import log
from harness.history import History
from tests.checkers.witnesses import all_stand
from tests.golden import Golden, golden

ALL = golden("log")


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.file.name)
def test_a_golden_log_has_the_verdict_that_is_written_beside_it(one: Golden) -> None:
    history = History.load(one.file)
    verdict = all_stand(history, partial(log.check, examples=100)).doubted(*history.notes)
    assert sorted(verdict.counts) == sorted(one.anomalies)
    assert verdict.outcome.name.lower() == one.verdict


def test_every_anomaly_has_a_golden_history_in_each_shape() -> None:
    """Ours, and as Jepsen spells it; what final reads find only ours can tell."""
    found = {
        suffix: {name for one in ALL if one.file.suffix == suffix for name in one.anomalies}
        for suffix in (".jsonl", ".edn")
    }
    assert found[".jsonl"] == set(log.ANOMALIES)
    assert found[".edn"] == set(log.ANOMALIES) - {"unseen", "read-then-lost", "deleted-reappears"}
