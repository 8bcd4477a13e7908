"""Columns lose nothing, and each code has one meaning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import columns as c
from harness.batches import Batch
from harness.columnize import Columnizer
from harness.history import History
from harness.op import Kind, Op
from tests.values import histories, same, usual_values, values


def history_of(*found: Any) -> History:
    """An operation a value: invoked with null, completed with the value."""
    return History.of(
        op
        for number, value in enumerate(found)
        for op in (
            Op(0, number, Kind.INVOKE, number, "f"),
            Op(0, number, Kind.OK, number, "f", value),
        )
    )


def results(history: History) -> list[Any]:
    return [history.values.get(position) for position in range(1, len(history), 2)]


def shapes(*found: Any) -> list[int]:
    return list(map(int, history_of(*found).values.shape[1::2]))


@given(histories())
def test_a_history_of_any_values_reads_back_as_it_was(ops: list[Op]) -> None:
    history = History.of(ops)
    history._check()
    assert list(history) == ops
    assert all(same(op.value, history.values.get(op.index)) for op in ops)
    assert all(same(op.extra, history[op.index].extra) for op in ops)


@given(histories(usual_values))
def test_a_history_of_usual_values_reads_back_as_it_was(ops: list[Op]) -> None:
    history = History.of(ops)
    history._check()
    assert all(same(op.value, history.values.get(op.index)) for op in ops)


@given(st.lists(usual_values, max_size=20), st.lists(values, max_size=3))
def test_typed_and_plain_decoding_give_the_same_columns(usual: list[Any], odd: list[Any]) -> None:
    """A chunk with one odd value is decoded line by line; the others must not change by it."""
    alone, among = history_of(*usual), history_of(*usual, *odd)
    count = len(alone)
    assert np.array_equal(alone.values.shape, among.values.shape[:count])
    assert same(results(alone), results(among)[: len(usual)])
    mops = len(alone.values.micro.mop_key)
    for column in ("mop_form", "mop_key"):
        left, right = getattr(alone.values.micro, column), getattr(among.values.micro, column)
        assert np.array_equal(left, right[:mops])
    entries = len(alone.values.micro.entry_key)
    for column in ("entry_key", "entry_offset", "entry_value"):
        left, right = getattr(alone.values.micro, column), getattr(among.values.micro, column)
        assert np.array_equal(c.is_integer(left), c.is_integer(right[:entries]))
        integers = c.is_integer(left)
        assert np.array_equal(left[integers], right[:entries][integers])


def test_what_workloads_write_is_decoded_without_looking_at_each_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plain(self: Columnizer, values: Iterable[Any]) -> Batch:
        raise AssertionError("decoded line by line")

    monkeypatch.setattr(Columnizer, "plain", plain)
    history = history_of(
        [["send", 0, 17], ["send", 0, [42, 17]], ["send", 1, [None, 18]]],
        [["poll"], ["poll", {"0": [[42, 17], [43, 18]], "1": []}]],
        [["append", 1, 2], ["r", 1, [2]], ["r", 1, None], ["w", 2, 3], ["r", 2, 3]],
        5,
        None,
        "text",
        [3, 4],
        [3, None],
        {"n1": ["n2"]},
        [0, 1, 2],
    )
    assert len(history) == 20


def test_each_value_takes_the_shape_that_the_module_names() -> None:
    assert shapes(None) == [c.NONE]
    assert shapes(5, "x", 1.5, True, 2**64 - 1) == [c.SCALAR] * 5
    assert shapes([1, 5], [1, None], [1, "x"], [1, [2, 3]]) == [c.PAIR] * 4
    assert shapes([["poll"]], [["r", 1, None]], [["x", "k", {}]]) == [c.MICRO] * 3
    assert shapes([], {}, [1], [1, 2, 3], ["a", 1], [["r", 1]], [["r", 1, 2], 3]) == [c.RAW] * 7


def test_entries_of_micro_operations_stand_in_the_order_of_the_file() -> None:
    micro = history_of(
        [["send", 7, [42, 17]], ["poll", {"0": [[1, 10], [2, 20]], "5": [[9, 90]]}]],
        [["send", 8, 18]],
    ).values.micro
    assert [micro.fs[f] for f in micro.mop_f] == ["send", "poll", "send"]
    assert micro.mop_start.tolist() == [0, 2, 3]
    assert micro.entry_start.tolist() == [0, 1, 4, 5]
    assert micro.mop_key.tolist() == [7, c.MISSING, 8]
    assert micro.entry_key.tolist() == [7, 0, 0, 5, 8]
    assert micro.entry_offset.tolist() == [42, 1, 2, 9, c.MISSING]
    assert micro.entry_value.tolist() == [17, 10, 20, 90, 18]
    assert micro.row_of_mop().tolist() == [0, 0, 1]
    assert micro.mop_of_entry().tolist() == [0, 1, 1, 1, 2]
    assert (micro.code("send"), micro.code("nothing")) == (micro.mop_f[0], -2)


def test_an_offset_that_nobody_knows_is_neither_missing_nor_a_number() -> None:
    micro = history_of([["send", 0, 1], ["send", 0, [None, 1]], ["send", 0, [3, 1]]]).values.micro
    assert micro.mop_form.tolist() == [c.VALUE, c.OFFSET, c.OFFSET]
    assert micro.entry_offset.tolist() == [c.MISSING, c.NULL, 3]
    assert c.is_integer(micro.entry_offset).tolist() == [False, False, True]


def test_a_read_of_nothing_is_told_from_a_read_of_an_empty_list() -> None:
    micro = history_of([["r", 1, None], ["r", 1, []], ["r", 1, [4]], ["r", 1, 4]]).values.micro
    assert micro.mop_form.tolist() == [c.VALUE, c.LIST, c.LIST, c.VALUE]
    assert np.diff(micro.entry_start).tolist() == [1, 0, 1, 1]
    assert micro.entry_value.tolist() == [c.NULL, 4, 4]


def test_a_poll_that_returned_nothing_is_told_from_one_that_only_asks() -> None:
    history = history_of([["poll"]], [["poll", {}]], [["poll", {"3": []}]])
    assert history.values.micro.mop_form.tolist() == [c.BARE, c.MAP, c.MAP]
    assert len(history.values.micro.entry_key) == 0
    assert results(history) == [[["poll"]], [["poll", {}]], [["poll", {"3": []}]]]


def test_keys_of_a_poll_are_integers_however_a_client_spells_them() -> None:
    history = history_of([["poll", {4: [[0, 1]]}]], [["poll", {"4": [[0, 1]]}]])
    assert history.values.micro.entry_key.tolist() == [4, 4]
    assert results(history) == [[["poll", {"4": [[0, 1]]}]]] * 2


def test_a_name_that_no_integer_spells_is_no_integer_key() -> None:
    names = ["00", "+1", "1.0", "", "٣", "-0"]
    history = history_of([["poll", {name: [[0, 1]] for name in names}]])
    keys = history.values.micro.entry_key
    assert c.is_object(keys).all()
    assert [history.values.decode(key) for key in keys.tolist()] == names


@pytest.mark.parametrize(
    "number", [c.MISSING, c.NULL, c.OBJECT_MIN, c.INTEGER_MIN - 1, 2**63, 2**64 - 1]
)
def test_an_integer_in_the_range_of_other_codes_is_an_object(number: int) -> None:
    history = history_of(number, [["send", number, [number, number]]], [1, number])
    micro, scalar = history.values.micro, history.values.scalar
    assert c.is_object(scalar).all()
    assert c.is_object(micro.entry_key).all() and c.is_object(micro.entry_value).all()
    assert history.values.decode(int(scalar[0])) == number
    assert results(history) == [number, [["send", number, [number, number]]], [1, number]]


def test_integers_from_the_documented_bound_on_are_their_own_codes() -> None:
    history = history_of(c.INTEGER_MIN, -1, 0, 2**63 - 1)
    assert history.values.scalar.tolist() == [c.INTEGER_MIN, -1, 0, 2**63 - 1]


def test_equal_objects_have_equal_codes_and_1_is_neither_true_nor_a_float() -> None:
    scalar = history_of("x", "y", "x", True, 1.0, 1).values.scalar.tolist()
    assert scalar[0] == scalar[2] != scalar[1]
    assert len(set(scalar[3:])) == 3


def test_an_operation_with_a_scalar_value_takes_at_most_120_bytes() -> None:
    count = 20_000
    history = History.of(
        op
        for i in range(count)
        for op in (
            Op(0, 2 * i, Kind.INVOKE, i % 20, "write", i, node="n1"),
            Op(0, 2 * i + 1, Kind.OK, i % 20, "write", i, node="n1"),
        )
    )
    assert history.nbytes <= 120 * count


def test_rows_of_a_table_lead_back_to_their_events() -> None:
    history = history_of(5, [1, 2], [["poll"]], 6, None, {})
    for shape in (c.SCALAR, c.PAIR, c.MICRO, c.RAW):
        positions = history.values.positions(shape)
        assert history.values.row[positions].tolist() == list(range(len(positions)))
