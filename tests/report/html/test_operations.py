"""What the page's script reads is what the history says."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.report.html import faults, markup, operations
from harness.timeline import parse

TYPES = ["pending", "ok", "fail", "info", "other"]


def data(history: History, findings: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return operations.data(history, faults.read(history, ()), findings or [])


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations as a reader of the arrays sees them."""
    columns = ("index", "end_index", "start", "end", "process", "value", "result", "error")
    return [
        {
            **{name: found[name][row] for name in columns},
            "f": found["fs"][found["f"][row]],
            "type": TYPES[found["type"][row]],
            "node": found["nodes"][found["node"][row]] if found["node"][row] >= 0 else None,
            "lane": found["lanes"][found["lane"][row]],
            "keys": {
                found["keys"][code]
                for code in found["key"][found["key_start"][row] : found["key_start"][row + 1]]
            },
        }
        for row in range(len(found["index"]))
    ]


VALUES = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.text(max_size=5),
    st.tuples(st.integers(0, 3), st.text(max_size=3)).map(list),
    st.lists(
        st.tuples(st.just("send"), st.integers(0, 3), st.integers(0, 9)).map(list), max_size=2
    ),
    st.dictionaries(st.text(max_size=2), st.integers()),
)
KINDS = st.sampled_from([Kind.OK, Kind.FAIL, Kind.INFO])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Operations of three threads one after the other; the last of each may stay open."""
    ops, process, time = [], [0, 1, 2], 0
    for thread in draw(st.lists(st.sampled_from([0, 1, 2]), max_size=12)):
        if process[thread] < 0:
            continue
        time += draw(st.integers(0, 5000))
        f = draw(st.sampled_from(["send", "<b>", "poll"]))
        ops.append(Op(0, time, Kind.INVOKE, process[thread], f, draw(VALUES)))
        if draw(st.integers(0, 9)) == 0:
            process[thread] = -1
            continue
        time += draw(st.integers(0, 5_000_000))
        kind = draw(KINDS)
        error = None if kind is Kind.OK else ("Timed", draw(st.text(max_size=5)))
        node = draw(st.sampled_from([None, "n1", "n2"]))
        ops.append(Op(0, time, kind, process[thread], f, draw(VALUES), error, node))
        if kind is Kind.INFO:
            process[thread] += 3
    return History.of(ops)


def said(value: Any) -> str:
    return "" if value is None else markup.visible(markup.json(value))


@given(histories())
def test_every_operation_is_there_with_all_that_the_history_says(history: History) -> None:
    expected = []
    for op in history:
        if op.type is not Kind.INVOKE:
            continue
        end = history.completion(op.index)
        expected.append(
            {
                "index": op.index,
                "end_index": end.index if end else -1,
                "start": op.time // 1000,
                "end": end.time // 1000 if end else -1,
                "process": op.process,
                "value": said(op.value),
                "result": said(end.value) if end and end.type is Kind.OK else "",
                "error": markup.visible(": ".join(end.error)) if end and end.error else "",
                "f": op.f,
                "type": end.type.value if end else "pending",
                "node": end.node if end else None,
            }
        )
    found = rows(data(history))
    assert [
        {name: row[name] for name in each} for each, row in zip(expected, found, strict=True)
    ] == (expected)


@settings(max_examples=30)
@given(histories())
def test_the_page_gets_what_was_packed(history: History) -> None:
    found = data(history)
    assert json.loads(gzip.decompress(base64.b64decode(markup.packed(found)))) == found


def test_keys_are_those_of_the_value_and_of_the_result() -> None:
    history = History.of(
        parse(
            """
            c0: |-- send [["send",3,7],["send",4,8]] -> [["send",3,[0,7]],["send",4,[0,8]]] --|
            c1: |-- poll [["poll"]] -> [["poll",{"5":[[0,1]],"3":[[1,7]]}]] --|
            c2: |-- write [9,1] --|
            c3: |-- read --|
            """
        )
    )
    keys = {row["process"]: row["keys"] for row in rows(data(history))}
    assert keys == {0: {"3", "4"}, 1: {"3", "5"}, 2: {"9"}, 3: set()}


def test_an_operation_of_the_nemesis_is_one_row_with_its_effect() -> None:
    effect = {"effect": {"outcome": "observed"}}
    history = History.of(
        [
            Op(0, 0, Kind.INFO, NEMESIS, "kill", ["n1"]),
            Op(0, 2000, Kind.INFO, NEMESIS, "kill", ["n1"], extra=effect),
        ]
    )
    (row,) = rows(data(history))
    assert (row["type"], row["lane"], row["value"]) == ("other", "nemesis", '["n1"]')
    assert row["result"] == '{"effect":{"outcome":"observed"}}'


def test_of_too_many_operations_those_that_somebody_names_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "OPERATIONS_MAX", 10)
    ops = [Op(0, 0, Kind.INFO, NEMESIS, "kill", ["n1"])] * 2
    for number in range(100):
        ops.append(Op(0, number + 1, Kind.INVOKE, 0, "r"))
        ops.append(Op(0, number + 1, Kind.OK, 0, "r", number))
    found = data(History.of(ops), [{"events": [101, 178], "id": "finding-1"}])
    assert found["total"] == 101
    assert {0, 100, 178} <= set(found["index"])
    assert len(found["index"]) <= 10 + 3
    assert found["index"] == sorted(found["index"])


def test_values_are_cut_so_that_all_of_them_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "TEXT_CHARS_MAX", 2000)
    ops = []
    for number in range(10):
        ops.append(Op(0, number, Kind.INVOKE, 0, "w", "x" * 1000))
        ops.append(Op(0, number, Kind.OK, 0, "w", "y"))
    found = data(History.of(ops))
    assert found["cut"] == 120
    assert {len(value) for value in found["value"]} == {121}
    assert all(value.endswith("…") for value in found["value"])
    assert set(found["result"]) == {'"y"'}


def test_an_empty_history_is_no_operation() -> None:
    found = data(History.of([]))
    assert found["total"] == 0 and found["index"] == [] and found["until"] == 0
