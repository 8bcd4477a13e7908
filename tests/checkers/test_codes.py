"""Codes are dense, keep the order, and cost memory by the number of values only."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.log.codes import dense, order_by, paired

small = st.integers(-50, 50)
any_int = st.integers(-(2**63), 2**63 - 1)


def array(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


@given(st.lists(small) | st.lists(any_int))
def test_codes_count_the_distinct_values_in_their_order(numbers: list[int]) -> None:
    codes, distinct = dense(array(numbers))
    assert distinct.tolist() == sorted(set(numbers))
    assert [distinct[code] for code in codes] == numbers


@given(st.lists(st.tuples(st.integers(0, 5), small | st.integers(0, 2**62))))
def test_codes_of_pairs_are_in_the_order_of_pairs(pairs: list[tuple[int, int]]) -> None:
    first, second = array([a for a, _ in pairs]), array([b for _, b in pairs])
    codes, left, right = paired(first, 6, second)
    distinct = list(zip(left.tolist(), right.tolist(), strict=True))
    assert distinct == sorted(set(pairs))
    assert [distinct[code] for code in codes.tolist()] == pairs


@given(st.lists(st.integers(0, 3)), st.sampled_from([0, 2**15]))
def test_the_order_by_codes_is_stable(codes: list[int], base: int) -> None:
    numbers = array([base + code for code in codes])
    assert order_by(numbers).tolist() == sorted(range(len(codes)), key=codes.__getitem__)


@pytest.mark.parametrize("largest", [2**20, 2**40, 2**62])
def test_memory_does_not_depend_on_how_large_a_value_is(largest: int) -> None:
    numbers = np.linspace(0, largest, 1000, dtype=np.int64)
    tracemalloc.start()
    try:
        dense(numbers)
        paired(np.zeros(1000, np.int64), 1, numbers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
