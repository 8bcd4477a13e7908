"""Histories of many objects come apart by their keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import keyed
from harness.history import History
from harness.keyed import Keyed
from harness.op import Kind, Op
from harness.timeline import parse
from tests.values import histories, json_values, same, scalars, values

keys = st.integers(0, 2) | scalars
pairs = st.tuples(keys, st.integers(0, 5) | values | json_values).map(list)


def parted(history: History) -> dict[str, list[int]]:
    """By key, the indices of its events."""
    return {json.dumps(key): index.tolist() for key, _, index in Keyed.of(history).parts()}


def key_of(op: Op) -> str | None:
    """The key in the value of an event, as JSON."""
    pair = op.value
    if not isinstance(op.process, int) or not isinstance(pair, list) or len(pair) != 2:
        return None
    return json.dumps(pair[0])


def by_hand(history: History) -> dict[str, list[int]]:
    """The same, event by event."""
    where: list[str | None] = []
    for op in history:
        asked = key_of(history.invocation(op.index))
        last = history.completion(op.index)
        told = None if last is None else key_of(last)
        mixed = None not in (asked, told) and asked != told
        nowhere = mixed and last is not None and op.index == last.index
        client = isinstance(op.process, int)
        where.append("nowhere" if nowhere else (asked or told) if client else None)
    names = [name for op in history if (name := key_of(op)) is not None]
    return {
        name: [at for at, key in enumerate(where) if key in (None, name)]
        for name in dict.fromkeys(names)
    }


@given(histories(pairs | st.none() | scalars))
def test_a_key_has_its_operations_and_all_that_have_none(ops: list[Op]) -> None:
    history = History.of(ops)
    assert parted(history) == by_hand(history)
    for key, one, index in Keyed.of(history).parts():
        one._check()
        for op, at in zip(one, index.tolist(), strict=True):
            whole = history[at]
            bare = whole.value if key_of(whole) is None else whole.value[1]
            assert same(op.value, bare), f"{whole.value} of key {key}"
            assert (op.time, op.type, op.process, op.f) == (
                (whole.time, whole.type, whole.process, whole.f)
            )


def of(text: str) -> History:
    return History.of(parse(text))


@pytest.mark.parametrize(
    "told",
    ["[1,null]", '["a",[1,2]]', '["a",["x",1]]', '[1,[["append",1,2]]]', '[1,{"0":5}]', "[1,[]]"],
)
def test_what_a_value_is_without_its_key_depends_on_nothing_else(told: str) -> None:
    (key, one, _), *rest = Keyed.of(of(f"c0: |- f {told} --|")).parts()
    alone = History.of([Op(0, 0, Kind.INVOKE, 0, "f", json.loads(told)[1])])
    assert not rest and key == json.loads(told)[0]
    assert one.values.shape[0] == alone.values.shape[0]
    assert one[0].value == alone[0].value


def test_an_operation_that_told_nothing_is_about_what_it_was_asked_for() -> None:
    history = of("c0: |- read [1,null] --?\nc1: |- read null -> [2,5] ------|")
    assert {json.dumps(k): len(i) for k, _, i in Keyed.of(history).parts()} == {"1": 2, "2": 2}


def test_an_answer_about_another_key_is_no_answer() -> None:
    found = Keyed.of(of("c0: |- read [1,null] -> [2,5] --|"))
    (one, two) = found.parts()
    assert found.mixed == 1 and not found.are_all_keyed
    assert one[0] == 1 and one[1].pending().tolist() == [0]
    assert two[0] == 2 and len(two[1]) == 0


def test_what_the_nemesis_says_is_no_key_and_is_there_for_all() -> None:
    ops = [
        Op(0, 0, Kind.INFO, "nemesis", "kill", ["n1", "n2"]),
        Op(0, 1, Kind.INVOKE, 0, "read", [1, None]),
        Op(0, 2, Kind.INVOKE, 1, "read", [2, None]),
        Op(0, 3, Kind.INFO, "nemesis", "kill", ["n1", "n2"]),
    ]
    assert parted(History.of(ops)) == {"1": [0, 1, 3], "2": [0, 2, 3]}


def test_too_many_keys_do_without_operations_that_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "c0: |- read [1,null] --| |- read [2,null] --| |- sync null --|"
    assert Keyed.of(of(text)).left_out == 0
    monkeypatch.setattr(keyed, "EVERYWHERE_MAX", 3)
    assert Keyed.of(of(text)).left_out == 1
    assert parted(of(text)) == {"1": [0, 1], "2": [2, 3]}


@pytest.mark.parametrize("value", [1, "a", {"a": 1}, [1], [1, 2, 3], [], None, [["r", 1, None]]])
def test_without_keys_there_are_no_histories(value: Any) -> None:
    history = History.of([Op(0, 0, Kind.INVOKE, 0, "f", value)])
    assert parted(history) == {}
