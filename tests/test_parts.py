"""A part of a history is a history."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import parts
from harness.history import History
from harness.op import Kind, Op
from harness.parts import part
from tests.values import histories, same


def is_part(history: History, positions: list[int]) -> None:
    """Assert that the part has these events, paired as they were."""
    found = part(history, np.array(positions, np.int64))
    found._check()
    for at, position in enumerate(positions):
        one, other = found[at], history[position]
        assert (one.time, one.type, one.process, one.f, one.node, one.error, one.extra) == (
            (other.time, other.type, other.process, other.f, other.node, other.error, other.extra)
        )
        assert same(one.value, other.value)
        pair = int(history.pair[position])
        assert int(found.pair[at]) == (positions.index(pair) if pair in positions else -1)


@given(histories(), st.integers(0, 2**12 - 1))
def test_a_part_has_the_events_of_the_whole_one(ops: list[Op], chosen: int) -> None:
    is_part(History.of(ops), [at for at in range(len(ops)) if chosen >> at & 1])


def test_long_values_are_parted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BYTES_GATHERED_MAX", 10)
    told = [{"some": "text"}, ["a", "b", "c"], "x" * 20, {}]
    ops = [Op(0, at, Kind.INVOKE, at, "read", value) for at, value in enumerate(told)]
    for _ in range(20):
        is_part(History.of(ops), sorted(random.Random(1).sample(range(4), 3)))


def test_no_events_are_a_history_too() -> None:
    history = History.of([Op(0, 0, Kind.INVOKE, 0, "read", [["r", 1, None]])])
    is_part(history, [])
    is_part(History.of([]), [])
