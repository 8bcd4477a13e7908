"""A timeline is read back as it was drawn, and a drawing that is none is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse, render
from tests.values import histories


def facts(ops: list[Op]) -> list[tuple[Any, ...]]:
    return [(op.type, op.process, op.f, repr(op.value), op.error) for op in ops]


def test_bars_open_with_an_invocation_and_close_with_a_completion() -> None:
    ops = parse(
        """
        c0: |-- add 1 --|
        c1:        |-- add 2 --?
        c2:                         |-- read -> [1] --|
        c3:     |-- cas [1,2] ! ["Refused","it was 3"] --x
        """
    )
    assert facts(ops) == [
        (Kind.INVOKE, 0, "add", "1", None),
        (Kind.INVOKE, 3, "cas", "[1, 2]", None),
        (Kind.INVOKE, 1, "add", "2", None),
        (Kind.OK, 0, "add", "1", None),
        (Kind.INFO, 1, "add", "2", None),
        (Kind.INVOKE, 2, "read", "None", None),
        (Kind.OK, 2, "read", "[1]", None),
        (Kind.FAIL, 3, "cas", "[1, 2]", ("Refused", "it was 3")),
    ]
    assert [op.index for op in ops] == list(range(8))
    assert all(a.time <= b.time for a, b in pairwise(ops))


def test_on_a_tie_invocations_come_before_completions() -> None:
    """Intervals are closed: what touches is concurrent."""
    ops = parse("c0: |-- a --|\nc1:         |-- b --|")
    assert ops[1].time == ops[2].time
    assert [(op.process, op.type) for op in ops] == [
        *((0, Kind.INVOKE), (1, Kind.INVOKE), (0, Kind.OK), (1, Kind.OK))
    ]


def test_both_events_of_a_nemesis_operation_are_info() -> None:
    first, second = parse('nemesis: |-- kill "n1" -> {"n1":"killed"} --?')
    assert (first.type, first.process, first.value) == (Kind.INFO, "nemesis", "n1")
    assert (second.type, second.value) == (Kind.INFO, {"n1": "killed"})


def test_an_operation_may_be_open_at_either_end() -> None:
    ops = parse("c0: |-- write 1 -->\nc1: <-- read -> 1 --|")
    assert facts(ops) == [
        (Kind.INVOKE, 0, "write", "1", None),
        (Kind.OK, 1, "read", "1", None),
    ]


def test_a_negative_number_a_dash_and_an_arrow_are_no_end_of_a_bar() -> None:
    ops = parse('c0: |-- write -5 -> "a --| b -> c" ! ["x --?","->"] --|')
    assert [op.value for op in ops] == [-5, "a --| b -> c"]
    assert ops[1].error == ("x --?", "->")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("c0 |-- a --|", "line 1: expected 'process:"),
        ("c0: |-- a --|\nc1: nothing", "line 2, column 5: expected a bar"),
        ("c0: |-- a 1", "line 1, column 12: expected the end of the bar"),
        ("c0: |-- a 1 2 --|", "line 1, column 12: expected the end of the bar"),
        ("c0: |-- a x --|", "line 1, column 11: expected JSON"),
        ("c0: |-- a -> --|", "expected JSON"),
        ("c0: |--  --|", "expected the name of an operation"),
        ("c0: |-- a --| c", "line 1, column 15: expected a bar"),
        ("c0: |-- a --|x", "expected"),
    ],
)
def test_what_is_no_timeline_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(ValueError, match="line") as error:
        parse(text)
    assert where in str(error.value)


@given(histories())
def test_a_drawn_history_reads_back_in_order(ops: list[Op]) -> None:
    assert facts(parse(render(ops))) == facts(ops)


@given(histories(), st.sets(st.integers(0, 11)))
def test_any_part_of_a_history_reads_back_in_order(ops: list[Op], kept: set[int]) -> None:
    part = [op for op in ops if op.index in kept]
    assert facts(parse(render(part))) == facts(part)


def test_an_end_of_a_fault_is_not_taken_for_the_beginning_of_the_next() -> None:
    ends = [
        Op(4, 0, Kind.INFO, "nemesis", "cut", error=("Gone", "")),
        Op(8, 1, Kind.INFO, "n", "f"),
    ]
    ends.append(Op(9, 2, Kind.INFO, "nemesis", "cut"))
    assert facts(parse(render(ends))) == facts(ends)


@given(histories(), st.booleans())
def test_bars_of_one_line_do_not_touch(ops: list[Op], indices: bool) -> None:
    for line in filter(None, render(ops, indices=indices).split("\n")):
        assert line == line.rstrip()
        assert parse(line)


def test_a_part_of_a_history_is_drawn_with_its_indices() -> None:
    history = History.of(parse("c0: |-- a --|   |-- b 1 --|\nc1:   |-- c --|"))
    whole, part = render(history), render([history[3], history[5]])
    assert "0" not in whole.replace("c0", "")
    assert part == "c1: <-- c -3-|\nc0: <-- b -> 1 -5-|"


def test_overlapping_operations_of_one_name_are_drawn_on_lines_of_their_own() -> None:
    ops = [
        Op(i, i, Kind.INFO, "nemesis", f)
        for i, f in enumerate(["main", "kill", "kill", "cut", "main", "cut"])
    ]
    drawn = render(ops)
    assert [line.split(":")[0] for line in drawn.splitlines()] == ["nemesis", "nemesis"]
    assert facts(parse(drawn)) == facts(ops)


def test_a_long_text_is_cut_where_asked_for() -> None:
    ops = [Op(0, 0, Kind.INVOKE, 0, "write", "x" * 500)]
    drawn = render(ops, text_max=40)
    assert len(drawn) < 60 and "…" in drawn


def test_nothing_is_drawn_as_nothing() -> None:
    assert render([]) == "" and parse("") == parse("\n  \n# a comment\n") == []


@pytest.mark.parametrize("name", ["c3", "a b", "a:b", "", "|"])
def test_a_name_that_would_read_back_as_another_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        render([Op(0, 0, Kind.INFO, name, "kill")])
