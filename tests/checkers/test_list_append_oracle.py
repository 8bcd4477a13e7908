"""The checker of lists says what all orders of the transactions say."""

from __future__ import annotations

import random

import pytest

from checkers.list_append import detected
from checkers.list_append_versions import Versions
from harness.history import History
from harness.timeline import render
from tests.checkers.txns import ISOLATIONS, events, serial, spoiled

COUNT = 500
"""Histories of each isolation, as they are and with a lie: 5,000 together."""


def found(history: History) -> set[str]:
    return set(detected(Versions(history)))


@pytest.mark.parametrize("lies", [False, True], ids=["as-it-was", "with-a-lie"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_it_finds_something_just_where_no_order_explains_the_history(
    isolation: str, lies: bool
) -> None:
    bad = 0
    for seed in range(COUNT):
        rng = random.Random(f"{isolation}/{lies}/{seed}")
        ops = events(rng, isolation, rng.randint(2, 6), keys=rng.randint(1, 3), info=0.15)
        if lies:
            ops = spoiled(rng, ops)
        history = History.of(ops)
        names = found(history)
        shown = f"{names}\n{render(history)}"
        plain = {name for name in names if not name.endswith(("-process", "-realtime"))}
        session = {name for name in names if not name.endswith("-realtime")}
        assert serial(ops) == (not names), shown
        assert serial(ops, "process") == (not session), shown
        assert serial(ops, "") == (not plain), shown
        bad += bool(names)
    if lies or isolation not in ("strict-serializable", "serializable"):
        assert bad > COUNT / 50, "else the test shows little"
