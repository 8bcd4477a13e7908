"""Each anomaly of a log in the smallest history that shows it, and its legal neighbours.

Several are those of jepsen.tests.kafka-test, drawn anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from checkers import log
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.drawn import drawn, polled, sent, took
from tests.checkers.witnesses import STRICT, all_stand

BEGIN, COMPLETE, STUCK = (
    {"at": "begin"},
    {"at": "end", "complete": True},
    {"at": "end", "complete": False, "stuck": ["key 0: read up to offset 1 of 2"]},
)
MARK = 'nemesis: |-- phase "final-reads" --?'


def found(history: History) -> dict[str, int]:
    """Count of each anomaly; every finding of them stands on its witness."""
    return dict(all_stand(history, partial(log.check, examples=100)).counts)


def verdict(history: History) -> Verdict:
    return log.check(history, STRICT)


# -- inconsistent offsets --------------------------------------------------------------------------


def test_an_offset_that_two_acknowledged_sends_were_given_is_inconsistent() -> None:
    history = drawn(f"c0: {sent(0, (3, 1))}", f"c1: {sent(0, (3, 2))}")
    assert found(history) == {"inconsistent-offsets": 1}
    (finding,) = verdict(history).findings
    assert finding.key == 0 and finding.witness == (0, 1, 2, 3)
    assert finding.claim == "offset 3 of key 0 holds both message 1 and message 2"
    assert finding.because == (
        "op 1: process 0 was told that its message 1 is at offset 3 of key 0",
        "op 3: process 1 was told that its message 2 is at offset 3 of key 0",
        "however, an offset holds one message: a contradiction",
    )
    assert finding.span == (0, 30)


def test_an_offset_that_two_readers_see_differently_is_inconsistent() -> None:
    history = drawn(
        f"c0: {sent(0, 1, end='?')}",
        f"c1: {sent(0, 2, end='?')}",
        f"c2: {polled((0, [(0, 1)]))}",
        f"c3: {polled((0, [(0, 2)]))}",
    )
    assert found(history) == {"inconsistent-offsets": 1}


def test_an_offset_of_two_keys_may_hold_two_messages() -> None:
    assert found(drawn(f"c0: {sent(0, (3, 1))}", f"c1: {sent(1, (3, 2))}")) == {}


def test_an_offset_given_to_a_send_that_nobody_saw_take_place_is_no_proof() -> None:
    doubtful = f"c0: {sent(0, (0, 1), end='?')}"
    told = f"c1: {sent(0, (0, 2))}"
    assert found(drawn(doubtful, told)) == {}
    assert found(drawn(doubtful.replace("--?", "--x"), told)) == {}


def test_a_send_with_unknown_outcome_took_place_if_somebody_read_any_of_it() -> None:
    history = drawn(
        'c0: |-- send [["send",0,1],["send",1,1]] -> [["send",0,[0,1]],["send",1,1]] --?',
        f"c1: {sent(0, (0, 2))}",
        f"c2: {polled((1, [(5, 1)]))}",
    )
    assert found(history) == {"inconsistent-offsets": 1}
    (finding,) = verdict(history).findings
    assert len(finding.witness) == 6, "the send, the other send, and the read of its other message"


# -- duplicates ------------------------------------------------------------------------------------


def test_a_message_at_two_offsets_is_a_duplicate_and_nothing_else() -> None:
    history = drawn(f"c0: {sent(0, (0, 1))}", f"c1: {polled((0, [(0, 1), (1, 1)]))}")
    assert found(history) == {"duplicate": 1}


def test_a_message_acknowledged_at_one_offset_and_read_at_another_is_a_duplicate() -> None:
    history = drawn(
        f"c0: {sent(0, (1, 1))}", f"c1: {sent(0, 2, end='?')}",
        f"c2: {polled((0, [(2, 2), (3, 1)]))}",
    )  # fmt: skip
    assert found(history) == {"duplicate": 1}
    assert "1 and 3" in verdict(history).findings[0].claim


def test_a_message_read_twice_from_one_offset_is_no_duplicate() -> None:
    read = polled((0, [(0, 1)]))
    assert found(drawn(f"c0: {sent(0, (0, 1))}", f"c1: {read}", f"c2: {read}")) == {}


def test_a_duplicate_that_only_a_failed_poll_saw_is_one() -> None:
    history = drawn(
        f"c0: {sent(0, (1, 0))}",
        f"c0: {sent(0, (2, 1), end='x')}",
        f"c1: {polled((0, [(11, 0), (12, 1)]), end='x')}",
    )
    assert found(history) == {"duplicate": 1}


def test_a_value_that_the_workload_sent_twice_is_a_doubt_and_no_duplicate() -> None:
    history = drawn(f"c0: {sent(0, (0, 1))}", f"c1: {sent(0, (1, 1))}")
    assert verdict(history).outcome is Outcome.UNKNOWN
    (doubt,) = verdict(history).doubts
    assert "message 1 of key 0 (op 1, op 3)" in doubt


def test_a_value_may_be_sent_to_two_keys() -> None:
    assert verdict(drawn(f"c0: {sent(0, (0, 1))}", f"c1: {sent(1, (0, 1))}")).outcome == 0


# -- aborted, early and invented reads -------------------------------------------------------------


def test_a_read_of_a_failed_send_is_g1a() -> None:
    history = drawn(f"c0: {sent(0, 1, end='x')}", f"c1: {polled((0, [(0, 1)]))}")
    assert found(history) == {"G1a": 1}


@pytest.mark.parametrize(
    "lines",
    [
        [f"c0: {sent(0, 1, end='x')}", f"c1: {polled()}"],
        [f"c0: {sent(0, 1, end='x')}", f"c1: {polled((0, [(0, 1)]), end='x')}"],
        [f"c0: {sent(0, 1, end='?')}", f"c1: {polled((0, [(0, 1)]))}"],
        [f"c0: {sent(0, 1, end='x')}", f"c0: {sent(1, (0, 1))}", f"c1: {polled((1, [(0, 1)]))}"],
    ],
    ids=["unread", "read by a failed poll", "outcome unknown", "another key"],
)
def test_what_is_not_g1a(lines: list[str]) -> None:
    assert found(drawn(*lines)) == {}


def test_a_transaction_that_polls_what_it_sends_reads_uncommitted_data() -> None:
    history = drawn(
        'c0: |-- txn [["send",0,1],["poll"]] -> [["send",0,[0,1]],["poll",{"0":[[0,1]]}]] --|'
    )
    assert found(history) == {"precommitted-read": 1}


def test_a_process_may_poll_in_its_next_operation_what_it_sent() -> None:
    assert found(drawn(f"c0: {sent(0, (0, 1))}", f"c0: {polled((0, [(0, 1)]))}")) == {}


@pytest.mark.parametrize(
    "lines",
    [
        [f"c1: {polled((0, [(0, 7)]))}"],
        [f"c0: {sent(1, (0, 7))}", f"c1: {polled((0, [(0, 7)]))}"],
        [f"c1: {polled((0, [(0, 7)]))}", f"c0: {sent(0, (0, 7))}"],
        [f"c0: {sent(0, (0, 7))}", f"c1: {polled((0, [(0, 7), (1, 'x7')]))}"],
    ],
    ids=["never sent", "sent to another key", "sent later", "changed on the way"],
)
def test_a_message_that_nobody_had_sent_is_a_phantom(lines: list[str]) -> None:
    assert found(drawn(*lines)) == {"phantom": 1}


def test_a_message_may_be_read_while_its_send_is_open() -> None:
    history = History.of(
        parse(
            'c0: |-- send [["send",0,7]] -->\n'
            'c1:      |-- poll [["poll"]] -> [["poll",{"0":[[0,7]]}]] --|'
        )
    )
    assert found(history) == {}


# -- losses ----------------------------------------------------------------------------------------


def test_an_acknowledged_message_before_one_that_was_read_is_lost_if_nobody_read_it() -> None:
    history = drawn(
        f"c0: {sent(0, (0, 1))}",
        'c0: |-- send [["send",0,2],["send",0,4]] -> [["send",0,[1,2]],["send",0,[3,4]]] --|',
        f"c1: {sent(0, 3, end='?')}",
        f"c2: {polled((0, [(2, 3)]))}",
    )
    assert found(history) == {"lost-write": 2}, "the message behind the read one may yet be read"
    first = verdict(history).findings[0]
    assert first.claim == "message 1 of key 0 took place and then disappeared"
    assert first.span == (0, 70), "from the invocation of the send to the completion of the read"


def test_who_sought_a_position_passed_nothing_that_lies_before_it() -> None:
    """Control C06: messages that nobody has read yet are not lost because somebody jumped."""
    sends = f"c0: {sent(0, (0, 1), (1, 2), (2, 3))}"
    read = polled((0, [(2, 3)]))
    assert found(drawn(sends, f"c1: {took(f='seek')}", f"c1: {read}")) == {}
    assert found(drawn(sends, f"c2: {took(f='seek')}", f"c1: {read}")) == {"lost-write": 2}
    assert found(drawn(sends, f"c1: {read}", f"c1: {took(f='seek')}")) == {"lost-write": 2}


def test_who_subscribed_need_not_have_passed_what_was_sent_before() -> None:
    """A subscription begins where its group had committed or, by default, at the end."""
    sends = f"c0: {sent(0, (0, 1), (1, 2), (2, 3))}"
    read, subscribed = polled((0, [(2, 3)])), f"c1: {took(0, f='subscribe')}"
    assert found(drawn(sends, subscribed, f"c1: {read}")) == {}
    assert found(drawn(subscribed, sends, f"c1: {read}")) == {}, "nobody says when it took hold"
    assert found(drawn(sends, subscribed, f"c2: {read}")) == {"lost-write": 2}
    assert found(drawn(sends, f"c1: {read}", subscribed)) == {"lost-write": 2}
    assert found(drawn(sends, f"c1: {took(0)}", f"c1: {read}")) == {"lost-write": 2}


def test_a_message_whose_offset_another_took_is_lost() -> None:
    history = drawn(
        f"c0: {sent(0, (0, 1))}",
        'c0: |-- send [["send",0,2],["send",0,3]] -> [["send",0,[0,2]],["send",0,[2,3]]] --|',
        f"c1: {polled((0, [(0, 2), (2, 3)]))}",
    )
    assert found(history) == {
        "lost-write": 1,
        "inconsistent-offsets": 1,
        "nonmonotonic-send": 1,
    }


@pytest.mark.parametrize(
    "lines",
    [
        [f"c0: {sent(0, (0, 1))}", f"c0: {sent(0, (1, 2))}", f"c1: {polled((0, [(0, 1)]))}"],
        [
            f"c0: {sent(0, (0, 1), end='?')}",
            f"c1: {sent(0, (1, 2))}",
            f"c2: {polled((0, [(1, 2)]))}",
        ],
        [
            f"c0: {sent(0, (0, 1), end='x')}",
            f"c1: {sent(0, (1, 2))}",
            f"c2: {polled((0, [(1, 2)]))}",
        ],
        [f"c0: {sent(0, (None, 1))}", f"c1: {sent(0, (1, 2))}", f"c2: {polled((0, [(1, 2)]))}"],
        [f"c0: {sent(0, (0, 1))}", f"c1: {sent(1, (1, 2))}", f"c2: {polled((1, [(1, 2)]))}"],
    ],
    ids=["behind all reads", "outcome unknown", "failed", "offset unknown", "another key"],
)
def test_what_is_not_lost(lines: list[str]) -> None:
    assert found(drawn(*lines)) == {}


def test_all_of_an_unknown_send_can_be_lost_once_a_part_of_it_was_read() -> None:
    lines = [
        'c0: |-- send [["send",0,1],["send",1,2]] -> [["send",0,1],["send",1,[0,2]]] --?',
        f"c1: {sent(1, 3, end='?')}",
        f"c2: {polled((1, [(1, 3)]))}",
    ]
    assert found(drawn(*lines)) == {}
    assert found(drawn(*lines, f"c3: {polled((0, [(0, 1)]))}")) == {"lost-write": 1}


UNSEEN = [f"c0: {sent(0, (0, 1))}", f"c0: {sent(0, (1, 2))}", MARK, f"c1: {polled((0, [(0, 1)]))}"]


def test_a_message_at_the_tail_is_unseen_if_complete_final_reads_did_not_find_it() -> None:
    history = drawn(*UNSEEN, MARK, extra={2: BEGIN, 4: COMPLETE})
    assert found(history) == {"unseen": 1}
    assert verdict(history).doubts == ()


def test_nothing_is_unseen_if_final_reads_got_stuck_and_that_is_a_doubt() -> None:
    stuck = verdict(drawn(*UNSEEN, MARK, extra={2: BEGIN, 4: STUCK}))
    assert stuck.outcome is Outcome.UNKNOWN
    assert stuck.doubts == (
        "the final reads did not read everything: key 0: read up to offset 1 of 2",
    )
    assert verdict(drawn(*UNSEEN, extra={2: BEGIN})).outcome is Outcome.UNKNOWN
    main = 'nemesis: |-- phase "main" --?'
    assert verdict(drawn(main, *UNSEEN[:2], extra={0: BEGIN})).outcome is Outcome.UNKNOWN


def test_nothing_is_unseen_in_a_history_that_tells_no_phases() -> None:
    assert verdict(drawn(*UNSEEN[:2], UNSEEN[3])).outcome is Outcome.VALID


def test_a_message_acknowledged_after_final_reads_began_may_be_missing_in_them() -> None:
    history = drawn(MARK, f"c0: {sent(0, (0, 1))}", MARK, extra={0: BEGIN, 2: COMPLETE})
    assert found(history) == {}


def test_a_message_with_unknown_outcome_may_never_be_seen() -> None:
    history = drawn(f"c0: {sent(0, 1, end='?')}", MARK, MARK, extra={1: BEGIN, 2: COMPLETE})
    assert found(history) == {}


GONE = [f"c0: {sent(0, (0, 1))}", f"c1: {polled((0, [(0, 1)]))}", MARK, f"c2: {polled()}", MARK]
FINAL: dict[int, dict[str, Any]] = {2: BEGIN, 4: COMPLETE}


def test_a_message_that_was_read_and_that_complete_final_reads_do_not_find_is_lost() -> None:
    history = drawn(*GONE, extra=FINAL)
    assert found(history) == {"read-then-lost": 1}
    (finding,) = verdict(history).findings
    assert finding.claim == "message 1 of key 0 was polled, and the final reads did not find it"
    assert finding.because == (
        "op 1: process 0 sent message 1 of key 0, acknowledged",
        "op 3: process 1 polled it",
        "op 4 to op 9: the final reads read every key from its beginning to its end",
        "however, none of them polled it: a contradiction",
    )


def test_what_was_read_is_lost_wherever_in_the_log_it_was() -> None:
    sends = f"c0: {sent(0, (0, 0), (1, 1), (2, 2))}"
    read = f"c1: {polled((0, [(0, 0), (1, 1), (2, 2)]))}"
    for left, count in (([(1, 1), (2, 2)], 1), ([(0, 0), (1, 1)], 1), ([], 3)):
        history = drawn(sends, read, MARK, f"c2: {polled((0, left))}", MARK, extra=FINAL)
        assert found(history) == {"read-then-lost": count}, left


def test_a_send_with_unknown_outcome_that_was_read_must_stay() -> None:
    unknown = f"c0: {sent(0, 1, end='?')}"
    assert found(drawn(unknown, *GONE[1:], extra=FINAL)) == {"read-then-lost": 1}


@pytest.mark.parametrize(
    ("read", "final"),
    [
        (GONE[1], f"c2: {polled((0, [(0, 1)]))}"),
        (GONE[1].replace("--|", "--x"), f"c2: {polled((0, [(0, 1)]))}"),
    ],
    ids=["the final reads found it", "a failed poll is no read"],
)
def test_what_was_read_and_is_there_is_not_lost(read: str, final: str) -> None:
    assert found(drawn(GONE[0], read, MARK, final, MARK, extra=FINAL)) == {}


def test_nothing_that_was_read_is_lost_if_final_reads_got_stuck() -> None:
    assert found(drawn(*GONE, extra={2: BEGIN, 4: STUCK})) == {}


def test_a_poll_across_the_beginning_of_final_reads_shows_neither_that_it_was_there_before() -> (
    None
):
    ops = [
        Op(0, 0, Kind.INVOKE, 0, "send", [["send", 0, 1]]),
        Op(1, 1, Kind.OK, 0, "send", [["send", 0, [0, 1]]]),
        Op(2, 2, Kind.INVOKE, 1, "poll", [["poll"]]),
        *[Op(3 + n, 3, Kind.INFO, "nemesis", "phase", "final-reads", extra=BEGIN) for n in (0, 1)],
        Op(5, 5, Kind.OK, 1, "poll", [["poll", {"0": [[0, 1]]}]]),
        *[
            Op(6 + n, 6, Kind.INFO, "nemesis", "phase", "final-reads", extra=COMPLETE)
            for n in (0, 1)
        ],
    ]
    assert found(History.of(ops)) == {}


# -- within one operation --------------------------------------------------------------------------

ABC = f"c9: {sent(0, 1, 2, 3, end='?')}"


def test_a_poll_past_a_message_that_somebody_knows_of_skips_it() -> None:
    skipping = f"c0: {polled((0, [(1, 1), (4, 3)]))}"
    assert found(drawn(ABC, skipping)) == {}, "a gap of the offsets is none of the log (C04)"
    history = drawn(ABC, skipping, f"c1: {polled((0, [(2, 2)]))}")
    assert found(history) == {"int-poll-skip": 1}


def test_two_polls_of_one_operation_are_one_sequence() -> None:
    txn = 'c0: |-- txn [["poll"],["poll"]] -> [["poll",{"0":[[1,1]]}],["poll",{"0":[[4,3]]}]] --|'
    assert found(drawn(ABC, txn, f"c1: {polled((0, [(2, 2)]))}")) == {"int-poll-skip": 1}


def test_a_poll_that_returns_an_earlier_message_or_the_same_one_is_nonmonotonic() -> None:
    history = drawn(ABC, f"c0: {polled((0, [(3, 3), (1, 1)]))}")
    assert found(history) == {"int-nonmonotonic-poll": 1}
    history = drawn(ABC, f"c0: {polled((0, [(2, 2), (3, 3), (3, 3)]))}")
    assert found(history) == {"int-nonmonotonic-poll": 1}


@pytest.mark.parametrize(("keys", "count"), [([0], 0), ([1], 1)])
def test_a_key_that_was_rebalanced_during_the_operation_is_excused(
    keys: list[int], count: int
) -> None:
    lines = [ABC, f"c0: {polled((0, [(3, 3), (1, 1)]))}"]
    history = drawn(*lines, extra={1: {"rebalance-log": [{"keys": keys}]}})
    assert len(verdict(history).findings) == count


def test_sends_of_one_operation_must_lie_in_its_order() -> None:
    assert found(drawn(f"c0: {sent(0, (3, 1), (1, 2))}")) == {"int-nonmonotonic-send": 1}
    inferred = drawn(
        f"c0: {sent(0, 4, 2, end='?')}", f"c1: {sent(0, 3, end='?')}",
        f"c2: {polled((0, [(2, 2), (3, 3), (4, 4)]))}",
    )  # fmt: skip
    assert found(inferred) == {"int-nonmonotonic-send": 1}


def test_sends_of_one_operation_may_have_others_between_them() -> None:
    history = drawn(f"c0: {sent(0, (1, 1), (3, 3))}", f"c1: {sent(0, (2, 2))}")
    assert found(history) == {}


def test_sends_of_one_operation_to_several_keys_are_several_sequences() -> None:
    mops: list[Any] = [
        ["send", 0, [5, 1]],
        ["send", 1, [2, 1]],
        ["send", 0, [6, 2]],
        ["send", 1, [3, 2]],
    ]
    history = History.of(
        [
            Op(0, 0, Kind.INVOKE, 0, "send", [[f, key, told[1]] for f, key, told in mops]),
            Op(1, 1, Kind.OK, 0, "send", mops),
        ]
    )
    assert found(history) == {}


# -- from one operation to the next ----------------------------------------------------------------

ALL = f"c9: {sent(0, (0, 1), (1, 2), (2, 3), (3, 4))}"
FIRST = f"c0: {polled((0, [(0, 1)]))}"
THIRD = f"c0: {polled((0, [(2, 3)]))}"
OTHER = f"c1: {polled((0, [(0, 1), (1, 2)]))}"


def test_a_process_that_goes_on_past_a_message_skips_it() -> None:
    history = drawn(ALL, OTHER, FIRST, THIRD)
    assert found(history) == {"poll-skip": 1}
    (finding,) = verdict(history).findings
    assert finding.because[:2] == (
        "op 5: process 0 polled message 1, offset 0 of key 0",
        "op 7: process 0 polled message 3, offset 2 of key 0",
    )


def test_a_process_that_goes_back_or_repeats_is_nonmonotonic() -> None:
    assert found(drawn(ALL, OTHER, THIRD, FIRST)) == {"nonmonotonic-poll": 1}
    assert found(drawn(ALL, FIRST, FIRST)) == {"nonmonotonic-poll": 1}


def jumped(*between: str, extra: dict[int, dict[str, Any]] | None = None) -> list[dict[str, int]]:
    """What is found when a process skips and when it goes back, with something in between."""
    numbered = {2 + number: more for number, more in (extra or {}).items()}
    return [
        found(drawn(ALL, one, *between, other, OTHER, extra=numbered))
        for one, other in ((FIRST, THIRD), (THIRD, FIRST))
    ]


ANY = [{"poll-skip": 1}, {"nonmonotonic-poll": 1}]
NONE: list[dict[str, int]] = [{}, {}]


def test_a_key_that_a_process_let_go_of_may_be_read_from_anywhere() -> None:
    assert jumped(f"c0: {took(1)}") == NONE
    assert jumped(f"c0: {took(1)}", f"c0: {took(0)}") == NONE
    assert jumped(f"c0: {took(0, 1)}") == ANY
    assert jumped(f"c1: {took(1)}") == ANY, "another process' assignment"


def test_an_assignment_that_failed_may_have_taken_effect() -> None:
    assert jumped(f"c0: {took(1, end='x')}") == NONE


def test_a_seek_excuses_any_place() -> None:
    """Control C06."""
    assert jumped(f"c0: {took(f='seek')}") == NONE
    assert jumped(f"c0: {took(0)}", extra={0: {"seek-to-beginning": True}}) == NONE


def test_a_process_that_is_subscribed_may_be_anywhere() -> None:
    """Control C05: somebody else may have read what lies between, or reads it again."""
    assert jumped(f"c0: {took(0, f='subscribe')}") == NONE
    for one, other in ((FIRST, THIRD), (THIRD, FIRST)):
        subscribed = drawn(f"c0: {took(0, f='subscribe')}", ALL, one, other, OTHER)
        assert found(subscribed) == {}
        assert verdict(subscribed).stats["steps while subscribed"] == 1


def test_a_poll_that_failed_moves_nobody() -> None:
    failed = f"c0: {polled((0, [(1, 2), (2, 3)]), end='x')}"
    second = f"c0: {polled((0, [(1, 2), (2, 3)]))}"
    assert found(drawn(ALL, FIRST, failed, second)) == {}
    assert found(drawn(ALL, OTHER, FIRST, failed, THIRD)) == {"poll-skip": 1}


def test_a_poll_that_failed_must_not_skip_itself() -> None:
    assert found(drawn(ALL, OTHER, FIRST, THIRD.replace("--|", "--x"))) == {"poll-skip": 1}


def test_a_poll_that_found_nothing_moves_nobody() -> None:
    assert found(drawn(ALL, OTHER, FIRST, f"c0: {polled((0, []))}", THIRD)) == {"poll-skip": 1}


def test_a_process_must_not_send_before_what_it_sent() -> None:
    history = drawn(f"c0: {sent(0, (3, 1), (4, 2))}", f"c0: {sent(0, (1, 3), (2, 4))}")
    assert found(history) == {"nonmonotonic-send": 1}


@pytest.mark.parametrize(
    ("between", "count"),
    [
        ([], 1),
        ([f"c0: {took(0, 1)}"], 1),
        ([f"c0: {took(1)}"], 0),
        ([f"c0: {took(1, f='subscribe')}"], 0),
        ([f"c0: {sent(0, 9, end='x')}"], 1),
    ],
)
def test_a_producer_is_forgotten_with_its_keys_as_jepsen_has_it(
    between: list[str], count: int
) -> None:
    history = drawn(f"c0: {sent(0, (4, 1))}", *between, f"c0: {sent(0, (1, 2))}")
    assert len(verdict(history).findings) == count


@pytest.mark.parametrize(
    "second",
    [
        f"c1: {sent(0, (1, 2))}",
        f"c0: {sent(1, (1, 2))}",
        f"c0: {sent(0, (None, 2))}",
        f"c0: {sent(0, (1, 2), end='x')}",
        f"c0: {sent(0, (1, 2), end='?')}",
    ],
    ids=["another process", "another key", "offset unknown", "failed", "not known to exist"],
)
def test_what_is_no_nonmonotonic_send(second: str) -> None:
    assert found(drawn(f"c0: {sent(0, (4, 1))}", second)) == {}


# -- the whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ops", ["", "c0: |-- write 1 --|", 'c0: |-- append [["append",1,2]] --|', MARK]
)
def test_a_history_without_a_log_is_in_doubt(ops: str) -> None:
    result = verdict(drawn(ops) if ops else History.of([]))
    assert result.outcome is Outcome.UNKNOWN
    assert result.doubts[0].startswith("nobody sent or polled anything")


@pytest.mark.parametrize(
    "line",
    [
        'c0: |-- send ["send",0,1] -> ["send",0,[0,1]] --|',
        'c1: |-- poll ["poll"] -> ["poll",{"0":[[0,1],[0,2]]}] --|',
        'c1: |-- poll [["poll"]] -> [["poll",{"0":[["0",1],["1",99]]}]] --|',
        'c1: |-- poll [["poll"]] -> [["poll",{"0":[[0,1,"ts"],[1,99,"ts"]]}]] --|',
        'c1: |-- poll [["poll"]] -> [["poll",[[0,[[0,1],[1,99]]]]]] --|',
        'c1: |-- poll [["poll"]] -> [["poll"]] --|',
        'c1: |-- poll [["poll"]] -> null --|',
        'c1: |-- txn [["r",1,null]] -> [["r",1,[9]]] --|',
        'c1: |-- txn [["send",0,9],["r",1,null]] -> [["send",0,9],["r",1,null]] --?',
        'c0: |-- send [["send",0,1]] -> [["send",0]] --x',
    ],
)
def test_what_is_spelled_in_another_way_is_a_doubt_and_named(line: str) -> None:
    result = verdict(drawn(f"c0: {sent(0, (0, 1))}", line))
    assert result.outcome is Outcome.UNKNOWN
    assert "not understood" in result.doubts[0] and 'expected ["send", key' in result.doubts[0]
    assert "the first is op 2, " in result.doubts[0] or "the first is op 3, " in result.doubts[0]


@pytest.mark.parametrize("end", ["x", "?"])
def test_what_did_not_take_place_for_sure_need_say_nothing(end: str) -> None:
    lines = [f"c0: {sent(0, (0, 1))}", f'c1: |-- poll [["poll"]] -> null --{end}']
    lines += [f'c2: |-- poll null -> [["poll"]] --{end}', f'c3: |-- send [["send",0,2]] --{end}']
    assert verdict(drawn(*lines)).outcome is Outcome.VALID


def test_the_worst_cases_come_first_and_all_are_counted() -> None:
    sends = f"c0: {sent(0, *[(offset, offset) for offset in range(60)])}"
    lines = [sends, f"c1: {polled((0, [(o, o) for o in range(60)]))}"]
    lines += [f"c{2 + n}: {polled((0, [(0, 0), (2 + n, 2 + n)]))}" for n in range(20)]
    result = verdict(drawn(*lines))
    assert result.counts == {"int-poll-skip": 20}
    assert len(result.findings) == 8
    assert result.findings[0].claim.startswith("process 21 polled message 0 of key 0 and next")


def test_keys_and_values_may_be_any_json() -> None:
    history = drawn(
        f"c0: {sent('orders', (0, 'a'))}",
        f"c0: {sent('orders', (1, 'b'))}",
        f"c0: {sent('orders', (2, 1.5))}",
        f"c1: {polled(('orders', [(0, 'a'), (2, 1.5)]))}",
    )
    assert found(history) == {"int-poll-skip": 1, "lost-write": 1}
    assert {finding.key for finding in verdict(history).findings} == {"orders"}


def test_offsets_may_be_far_apart() -> None:
    far = 2**62
    history = drawn(
        f"c0: {sent(0, (5, 1), (far, 2), (far + 7, 3))}",
        f"c1: {polled((0, [(5, 1), (far, 2), (far + 7, 3)]))}",
        f"c2: {polled((0, [(5, 1), (far + 7, 3)]))}",
    )
    assert found(history) == {"int-poll-skip": 1}


def test_a_send_whose_completion_says_nothing_speaks_by_its_invocation() -> None:
    history = drawn('c0: |-- send [["send",0,1]] -> null --?', f"c1: {polled((0, [(0, 1)]))}")
    assert found(history) == {}


def test_statistics_say_what_became_of_messages() -> None:
    stats = verdict(
        drawn(ALL, f"c0: {sent(1, 1, end='x')}", f"c1: {sent(1, 2, end='?')}", FIRST, OTHER)
    ).stats
    assert stats["sends"] == {"ok": 4, "fail": 1, "info": 1}
    assert stats["polled"] == 3 and stats["read"] == 2
    assert stats["never read though acknowledged"] == 2


def test_a_tail_that_nobody_looked_at_is_noted_and_is_no_doubt() -> None:
    """Such histories, of other tools, say nothing of what their runs meant to read in the end."""
    sends = f"c0: {sent(0, (0, 1), (1, 2), (2, 3))}"
    read = f"c1: {polled((0, [(0, 1)]))}"
    bare = verdict(drawn(sends, read))
    assert bare.outcome is Outcome.VALID and not bare.doubts
    assert bare.stats["not judged though acknowledged"] == 2
    assert bare.stats["note"].startswith("2 acknowledged messages were not judged: ")


def test_a_message_that_is_lost_or_that_was_looked_for_is_not_unjudged() -> None:
    sends = f"c0: {sent(0, (0, 1), (1, 2), (2, 3))}"
    lost = verdict(drawn(sends, f"c1: {polled((0, [(1, 2)]))}"))
    assert lost.counts == {"lost-write": 1}
    assert lost.stats["not judged though acknowledged"] == 1, "the last one"
    looked = drawn(sends, MARK, f"c1: {polled((0, [(0, 1)]))}", MARK, extra={1: BEGIN, 3: COMPLETE})
    assert verdict(looked).counts == {"unseen": 2}
    assert verdict(looked).stats["not judged though acknowledged"] == 0
    assert "note" not in verdict(looked).stats
