"""A sub-history as a table with bars."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.report.html import faults, witness
from harness.timeline import parse

TIMELINE = """
c0:      |-- send [["send",0,7]] -> [["send",0,[0,7]]] --|
c1:                        |-- poll [["poll"]] ! ["TimedOut","no answer"] --?
c2:  |-- read -->
nemesis:                  |-- kill ["n2"] --?
"""


def table(events: list[int], timeline: str = TIMELINE) -> str:
    history = History.of(parse(timeline))
    return witness.table(witness.operations(history, events), faults.read(history, ()))


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_the_scale_keeps_the_order_and_stays_within(times: list[int]) -> None:
    scale = witness.Scale(times)
    placed = [scale.percent(time) for time in sorted(set(times))]
    assert all(a < b for a, b in pairwise(placed))
    assert placed[0] >= 0 and placed[-1] <= 100


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    scale = witness.Scale([10, 20])
    assert (scale.percent(5), scale.percent(25)) == (0.0, 100.0)


def test_each_operation_of_a_witness_is_one_row_whichever_event_is_named() -> None:
    history = History.of(parse(TIMELINE))
    every = witness.operations(history, range(len(history)))
    assert len(every) == 4
    for begun, ended in every:
        last = begun.index if ended is None else ended.index
        assert witness.operations(history, [last]) == [(begun, ended)]
        assert witness.operations(history, [last, begun.index]) == [(begun, ended)]


def test_events_that_the_history_lacks_are_left_out() -> None:
    assert table([-1, 99]) == ""


def test_a_row_says_who_did_what_how_it_ended_and_how_long_it_took() -> None:
    html = table([1])
    assert "<b>send</b>" in html and "→ <code>[[&quot;send&quot;,0,[0,7]]]</code>" in html
    assert "<td class=outcome>ok" in html and re.search(r"[\d.]+ ms", html)


def test_what_never_completed_is_open_to_the_right() -> None:
    html = table([0])
    assert "pending" in html
    left, width = re.findall(r"bar style=\"left:([\d.]+)%;width:([\d.]+)%", html)[0]
    assert float(left) + float(width) >= 99.9


def test_faults_of_the_time_are_shaded_and_named() -> None:
    html = table(list(range(7)))
    assert "Meanwhile:" in html and "kill of n2" in html
    assert html.count("<i class=shade") == html.count("<div class=track>")


def test_an_error_is_shown_beside_the_operation() -> None:
    assert "<em>TimedOut: no answer</em>" in table(list(range(7)))
