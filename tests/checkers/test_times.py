"""Answers to what was looked up by time: those that are wrong, and their legal neighbours."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.log import times
from harness.checker import judge
from harness.guarantees import derive
from harness.op import Kind
from harness.verdict import Verdict
from tests.checkers.witnesses import all_stand
from tests.stories import Events, fault, history, operation, poll, send

SENT = [send(1 + n, 1.5 + n, 0, key=0, value=10 * n, offset=n) for n in range(4)]
"""Messages 0, 10, 20 and 30 at offsets 0 to 3."""

ALL = poll(20, 21, 9, {0: [(n, 10 * n) for n in range(4)]})


def asked(begin_s: float, value: int, found: Any, process: int = 5) -> Events:
    return operation(begin_s, begin_s + 1, process, times.F, {"0": value}, {"0": found})


def judged(*told: Events, **promises: Any) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in promises.items()}
    return judge(history(*told), {"times": times.check}, derive("log", named, "derived"))


def found(*told: Events) -> dict[str, int]:
    return dict(all_stand(history(*told), times.check).counts)


@pytest.mark.parametrize(
    ("value", "answer"), [(0, [0, 0]), (1, [1, 10]), (10, [1, 10]), (30, [3, 30]), (31, None)]
)
def test_the_first_message_that_is_not_older_is_right(value: int, answer: Any) -> None:
    assert found(*SENT, asked(10, value, answer), ALL) == {}


@pytest.mark.parametrize(("value", "answer"), [(10, [2, 20]), (0, [3, None]), (30, None)])
def test_a_later_one_or_none_is_too_late(value: int, answer: Any) -> None:
    assert found(*SENT, asked(10, value, answer), ALL) == {times.LATE: 1}


def test_the_finding_says_what_was_passed_over() -> None:
    (finding,) = judged(*SENT, asked(10, 10, [2, 20]), ALL).findings
    assert finding.claim == (
        "asked for the time of message 10 of key 0, the answer was offset 2, "
        "passing over message 10 at offset 1"
    )
    assert finding.because == (
        "op 9: process 5 asked where key 0 holds the first message that is not older than "
        "message 10, and was told offset 2, of 20",
        "op 3: process 0 found message 10 at offset 1 of key 0 before that",
        "op 11: however, process 9 polled it there after that, so that it lay there all the time: "
        "a contradiction",
    )


def test_messages_need_not_lie_in_the_order_of_their_times() -> None:
    values = enumerate([5, 30, 20])
    sent = [send(1 + n, 1.5 + n, 0, key=0, value=value, offset=n) for n, value in values]
    read = poll(20, 21, 9, {0: [(0, 5), (1, 30), (2, 20)]})
    assert found(*sent, asked(10, 20, [1, 30]), read) == {}
    assert found(*sent, asked(10, 20, [2, 20]), read) == {times.LATE: 1}


def test_an_older_message_is_too_early_by_its_own_word() -> None:
    assert found(asked(10, 20, [1, 10])) == {times.EARLY: 1}


def test_an_older_message_is_too_early_whatever_is_said_of_it() -> None:
    assert found(*SENT, asked(10, 20, [1, None]), ALL) == {times.EARLY: 1}
    assert found(*SENT, asked(10, 20, [1, 25]), ALL) == {times.EARLY: 1}


def test_what_was_not_known_before_the_question_may_be_passed_over() -> None:
    meanwhile = send(9.5, 10.5, 0, key=0, value=10, offset=1)
    assert found(SENT[0], meanwhile, asked(10, 10, None), ALL) == {}


def test_what_nobody_polled_after_the_answer_may_be_gone() -> None:
    early = poll(5, 6, 9, {0: [(n, 10 * n) for n in range(4)]})
    assert found(*SENT, early, asked(10, 10, [2, 20])) == {}


def test_a_send_of_unknown_outcome_proves_nothing_until_it_is_polled() -> None:
    unknown = operation(1, 1.5, 0, "send", [["send", 0, 10]])
    after = poll(20, 21, 9, {0: [(0, 10)]})
    assert found(unknown, asked(10, 10, None), after) == {}
    before = poll(5, 6, 9, {0: [(0, 10)]})
    assert found(unknown, before, asked(10, 10, None), after) == {times.LATE: 1}


def test_a_leaders_word_alone_does_not_prove_that_a_message_is_committed() -> None:
    assert judged(*SENT, asked(10, 10, None), ALL, acks="1").anomalies() == {}
    seen = poll(8, 9, 9, {0: [(1, 10)]})
    assert judged(*SENT, seen, asked(10, 10, None), ALL, acks="1").anomalies() == {times.LATE: 1}


def test_other_keys_and_what_is_no_number_say_nothing() -> None:
    damaged: Any = "damaged"
    other = poll(20, 21, 9, {0: [(0, damaged)], 1: [(0, 10)]})
    assert found(asked(10, 10, None), other) == {}


def test_a_deposed_leader_may_find_nothing_but_never_passes_over_anything() -> None:
    cut = [fault(5, "start-partition", {"n1": ["n2"]}), fault(12, "stop-partition", None)]
    nothing = judged(*SENT, *cut, asked(10, 10, None), ALL)
    assert nothing.anomalies() == {} and nothing.legal() == {times.LATE: 1}
    assert judged(*SENT, *cut, asked(10, 10, [2, 20]), ALL).anomalies() == {times.LATE: 1}
    assert judged(*SENT, asked(10, 10, None), ALL).anomalies() == {times.LATE: 1}


def test_more_wrong_answers_are_counted_than_shown() -> None:
    many = [asked(10, 10, [2, 20], process=10 + n) for n in range(30)]
    verdict = judged(*SENT, *many, ALL)
    assert verdict.anomalies() == {times.LATE: 30} and 0 < len(verdict.findings) < 30


@pytest.mark.parametrize(("kind", "count"), [(Kind.OK, 0), (Kind.INFO, 0), (Kind.FAIL, 1)])
def test_what_may_have_been_deleted_need_not_be_found(kind: Kind, count: int) -> None:
    """Whoever polls it afterwards may have fetched it before."""
    deleted = operation(8, 8.5, 7, "delete-records", {"0": 2}, kind=kind)
    expected = {times.LATE: 1} if count else {}
    assert found(*SENT, deleted, asked(10, 10, [2, 20]), ALL) == expected
    assert found(*SENT, deleted, asked(10, 10, [3, 30]), ALL) == {times.LATE: 1}


def test_what_an_unclean_leader_lacks_is_not_found_and_others_lie_there() -> None:
    """The last poll may be of what was fetched before."""
    killed = [fault(5, "kill", ["n1"]), fault(6, "start", ["n1"])]
    told = [*SENT, *killed, asked(10, 10, [2, 20]), asked(12, 15, [1, 40], process=6), ALL]
    assert judged(*told, unclean=True).legal() == {times.LATE: 1, times.EARLY: 1}
    assert judged(*told).anomalies() == {times.LATE: 1, times.EARLY: 1}
