"""What the log checker tells the contract of each case, and what is excused for it."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.log import check, contents, replay
from checkers.log.cases import Case, Cases
from checkers.log.order import Order
from checkers.log.tables import Tables
from harness.checker import judge
from harness.guarantees import derive
from harness.op import Kind
from harness.verdict import EXAMPLES_MAX, Verdict
from tests.stories import Events, fault, history, operation, phase, poll, send

KILL = [fault(1, "kill", ["n1"]), fault(2, "start", ["n1"])]


def final(at_s: float, *found: tuple[int, int]) -> list[Events]:
    """Complete final reads of key 0."""
    read = poll(at_s + 1, at_s + 2, 99, {0: list(found)} if found else {})
    return [
        phase("final-reads", at_s, at_s + 3)[:2],
        read,
        phase("final-reads", at_s, at_s + 3)[2:],
    ]


def judged(*told: Events, **promises: Any) -> Verdict:
    named = {name.replace("_", "-"): value for name, value in promises.items()}
    return judge(history(*told), {"log": check}, derive("log", named, "derived"))


@pytest.mark.parametrize("excused", [7, 8, 40])
def test_a_forbidden_case_is_counted_and_shown_however_many_are_excused(excused: int) -> None:
    early = [send(1.1, 1.2, n, key=0, value=n, offset=n) for n in range(excused)]
    late = send(100, 100.1, 0, key=1, value=1000, offset=0)
    verdict = judged(*KILL, *early, late, *final(110), acks="1")
    assert verdict.anomalies() == {"unseen": 1} and verdict.legal() == {"unseen": excused}
    assert verdict.findings[0].claim.startswith("message 1000 of key 1 ")
    assert len(verdict.allowed) == min(excused, EXAMPLES_MAX)


def test_a_duplicate_without_a_cause_is_found_among_excused_ones() -> None:
    told = [send(1.1, 1.2, n, key=0, value=n, offset=n) for n in range(8)]
    alone = send(100, 100.1, 0, key=0, value=8, offset=16)
    read = [(n, n) for n in range(8)] + [(8 + n, n) for n in range(8)] + [(16, 8), (17, 8)]
    verdict = judged(*KILL, *told, alone, *final(110, *read), idempotence=False, acks="all")
    assert verdict.anomalies() == {"duplicate": 1} and verdict.legal() == {"duplicate": 8}


@pytest.mark.parametrize("excused", [0, 9])
def test_readers_who_disagree_are_no_excuse_though_both_sends_were_acknowledged(
    excused: int,
) -> None:
    """acks=1 loses only what nobody can have read."""
    others = [
        event
        for n in range(excused)
        for event in (
            send(1.1, 1.2, 2 * n, key=1, value=2 * n, offset=n),
            send(1.3, 1.4, 2 * n + 1, key=1, value=2 * n + 1, offset=n),
        )
    ]
    told = [
        send(0.1, 0.2, 0, key=0, value=7, offset=0), poll(0.3, 0.4, 1, {0: [(0, 7)]}), *KILL,
        send(5, 5.1, 2, key=0, value=8, offset=0), poll(6, 6.1, 3, {0: [(0, 8)]}), *others,
    ]  # fmt: skip
    verdict = judged(*told, acks="1", flush_messages=1)
    assert verdict.anomalies() == {"inconsistent-offsets": 1}
    assert verdict.legal().get("inconsistent-offsets", 0) == excused
    assert [history(*told)[at].f for at in verdict.findings[0].witness] == ["poll"] * 4


def test_an_offset_that_was_read_before_another_message_got_it_is_no_excuse_either() -> None:
    told = [send(0.1, 0.2, 0, key=0, value=7, offset=0), poll(0.3, 0.4, 1, {0: [(0, 7)]}), *KILL]
    assert judged(*told, send(5, 5.1, 2, key=0, value=8, offset=0), acks="1").anomalies()
    unread = judged(told[0], *KILL, send(5, 5.1, 2, key=0, value=8, offset=0), acks="1")
    assert unread.legal() == {"inconsistent-offsets": 1} and not unread.findings


def out_of_order(*, polled: bool, kill: bool = True) -> list[Events]:
    """A process is told that its second message lies before its first."""
    told = [send(0.1, 0.2, 0, key=0, value=7, offset=5), *(KILL if kill else ())]
    told.append(send(5, 5.1, 0, key=0, value=8, offset=3))
    return [*told, poll(6, 6.1, 1, {0: [(3, 8), (5, 7)] if polled else [(3, 8)]})]


def test_a_send_that_lies_before_a_message_that_is_still_there_was_not_set_back_by_a_loss() -> None:
    """acks=1 sets a sender back by losing its last message: one that was polled was not lost."""
    weak = {"acks": "1", "flush_messages": 1}
    assert judged(*out_of_order(polled=True), **weak).anomalies() == {"nonmonotonic-send": 1}
    lost = judged(*out_of_order(polled=False), **weak)
    assert lost.legal() == {"nonmonotonic-send": 1} and not lost.findings
    assert judged(*out_of_order(polled=False, kill=False), **weak).findings, "nothing broke"
    unclean = judged(*out_of_order(polled=True), unclean=True, flush_messages=1)
    assert unclean.legal() == {"nonmonotonic-send": 1}, "there, what was read may go, too"


def test_sends_of_one_operation_that_were_both_polled_were_not_set_back_by_a_loss() -> None:
    asked = [["send", 0, 7], ["send", 0, 8]]
    told = operation(0.1, 3, 0, "send", asked, [["send", 0, [5, 7]], ["send", 0, [3, 8]]])
    for found, legal in ([(3, 8), (5, 7)], False), ([(3, 8)], True):
        verdict = judged(told, *KILL, poll(6, 6.1, 1, {0: found}), acks="1", flush_messages=1)
        assert bool(verdict.legal()) == legal
        assert {**verdict.legal(), **verdict.anomalies()} == {"int-nonmonotonic-send": 1}


# -- when a cause must lie ------------------------------------------------------------------------


def test_a_duplicate_has_its_cause_before_its_send_is_done() -> None:
    twice = [send(1, 1.1, 0, key=0, value=7, offset=0), poll(70, 71, 1, {0: [(0, 7), (1, 7)]})]
    for at_s, legal in ((1.05, True), (60, False)):
        broken = [fault(at_s, "kill", ["n2"]), fault(at_s + 1, "start", ["n2"])]
        assert bool(judged(*twice, *broken, idempotence=False).legal()) == legal


def test_a_send_that_lasted_a_request_time_out_may_have_been_sent_again() -> None:
    read = poll(70, 71, 1, {0: [(0, 7), (1, 7)]})
    slow = send(1, 3, 0, key=0, value=7, offset=0)
    unknown = operation(1, 1.5, 0, "send", [["send", 0, 7]], kind=Kind.INFO)
    for told in (slow, unknown):
        assert judged(told, read, idempotence=False).legal() == {"duplicate": 1}
        assert judged(told, read, idempotence=False, retries=0).anomalies() == {"duplicate": 1}
        assert judged(told, read, idempotence=True).anomalies() == {"duplicate": 1}
    quick = send(1, 2.9, 0, key=0, value=7, offset=0)
    assert judged(quick, read, idempotence=False).anomalies() == {"duplicate": 1}


def test_a_leader_that_changes_long_after_everybody_has_the_message_loses_nothing() -> None:
    told = send(1, 1.1, 0, key=0, value=7, offset=0)
    for at_s, legal in ((40, True), (160, False)):
        broken = [fault(at_s, "kill", ["n2"]), fault(at_s + 1, "start", ["n2"])]
        assert bool(judged(told, *broken, *final(170), acks="1").legal()) == legal
    off = [fault(160, "power-off", ["n1", "n2"]), fault(161, "start", ["n1", "n2"])]
    assert judged(told, *off, *final(170)).legal(), "but page caches lose what is old, too"


def test_with_acks_0_only_the_senders_own_crash_takes_its_message_and_only_if_it_is_soon() -> None:
    told = operation(1, 1.1, 0, "send", [["send", 0, 7]], [["send", 0, [None, 7]]])
    for process, at_s, legal in ((0, 1.5, True), (5, 1.5, False), (0, 30, False)):
        crash = operation(at_s, at_s + 0.1, process, "crash", kind=Kind.INFO)
        assert bool(judged(told, crash, *final(65), acks="0").legal()) == legal
    last = operation(2.5, 2.6, 0, "crash", kind=Kind.INFO)
    assert not judged(told, last, *final(2), acks="0").legal(), "each client ends with the run"


# -- an argument that fails ------------------------------------------------------------------------


def test_a_case_that_is_not_confirmed_hides_no_other_and_is_never_excused() -> None:
    told = [send(1.1, 1.2, n, key=0, value=n, offset=n) for n in range(2)]
    order = Order(Tables.of(history(*KILL, *told, *final(10))))
    cases = contents.unseen(order)

    def make(number: int) -> Case:
        case = cases.make(number)
        return Case(case.key, "nonsense", (), case.operations) if number == 0 else case

    wrong = Cases(cases.keys, make, cases.windows)
    one, other = replay.findings(order, "unseen", wrong, contents.unseen, range(2))
    assert "please report it" in one.claim and other.claim.startswith("message 1 of key 0 ")
    sorted_out = derive("log", {"acks": "1"}, "derived").sort(
        Verdict.of([one, other]), order.tables.history
    )
    assert sorted_out.findings == (one,) and len(sorted_out.allowed) == 1
