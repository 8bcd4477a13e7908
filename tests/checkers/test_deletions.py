"""What is deleted on request need not be found any more, and must not come back."""

from __future__ import annotations

from functools import partial

import pytest

from checkers import log
from harness.op import Kind
from tests.checkers.witnesses import all_stand
from tests.stories import Events, history, operation, phase, poll, send

SENT = [send(1 + n, 1.5 + n, 0, key=0, value=n, offset=n) for n in range(5)]
TAKEN = operation(6, 6.1, 1, "assign", [0])
BEFORE = poll(7, 7.5, 1, {0: [(0, 0), (1, 1)]})


def deleted(at_s: float, upto: int, kind: Kind = Kind.OK, key: int = 0) -> Events:
    return operation(at_s, at_s + 0.5, 7, "delete-records", {str(key): upto}, kind=kind)


def final(*offsets: int) -> list[Events]:
    """Complete final reads that find the messages at these offsets."""
    marks = phase("final-reads", 20, 30)
    taken = operation(21, 21.1, 9, "assign", [0])
    return [marks[:2], taken, poll(22, 23, 9, {0: [(n, n) for n in offsets]}), marks[2:]]


def found(*told: Events) -> dict[str, int]:
    return dict(all_stand(history(*told), partial(log.check, examples=100)).counts)


@pytest.mark.parametrize("kind", [Kind.OK, Kind.INFO])
def test_what_may_have_been_deleted_need_not_be_found(kind: Kind) -> None:
    assert found(*SENT, deleted(10, 3, kind), *final(3, 4)) == {}
    assert found(*SENT, TAKEN, BEFORE, deleted(10, 3, kind), *final(3, 4)) == {}


def test_a_deletion_that_failed_takes_nothing() -> None:
    told = [*SENT, TAKEN, BEFORE, deleted(10, 3, Kind.FAIL), *final(3, 4)]
    assert found(*told) == {"lost-write": 1, "unseen": 1, "read-then-lost": 2}


def test_what_is_behind_the_deletion_must_be_found() -> None:
    assert found(*SENT, deleted(10, 3), *final(4)) == {"lost-write": 1, "unseen": 1}


def test_a_deletion_of_another_key_is_no_excuse() -> None:
    other = send(8, 8.5, 0, key=1, value=0, offset=5)
    assert "unseen" in found(*SENT, other, deleted(10, 3, key=1), *final(3, 4))


def test_who_was_at_a_deleted_place_goes_on_behind_it() -> None:
    on = poll(12, 12.5, 1, {0: [(3, 3), (4, 4)]})
    assert found(*SENT, TAKEN, BEFORE, deleted(10, 3), on, *final(3, 4)) == {}
    assert found(*SENT, TAKEN, BEFORE, on, *final(0, 1, 2, 3, 4)) == {"poll-skip": 1}


def test_who_passes_more_than_what_was_deleted_has_missed_something() -> None:
    on = poll(12, 12.5, 1, {0: [(4, 4)]})
    told = [*SENT, TAKEN, BEFORE, deleted(10, 3), on, *final(3, 4)]
    assert found(*told) == {"poll-skip": 1}


def test_one_operation_may_pass_over_what_was_deleted_and_not_over_more() -> None:
    once = poll(12, 12.5, 1, {0: [(0, 0), (3, 3), (4, 4)]})
    assert found(*SENT, TAKEN, deleted(10, 3), once, *final(3, 4)) == {}
    more = poll(12, 12.5, 1, {0: [(0, 0), (4, 4)]})
    assert found(*SENT, TAKEN, deleted(10, 3), more, *final(3, 4)) == {"int-poll-skip": 1}


@pytest.mark.parametrize(("seen", "count"), [((0, 1, 2, 3, 4), 3), ((2, 3, 4), 1), ((3, 4), 0)])
def test_what_was_deleted_must_not_come_back(seen: tuple[int, ...], count: int) -> None:
    expected = {"deleted-reappears": count} if count else {}
    assert found(*SENT, deleted(10, 3), *final(*seen)) == expected


def test_the_finding_names_the_deletion() -> None:
    verdict = log.check(history(*SENT, deleted(10, 3), *final(2, 3, 4)), log.Contract("strict", {}))
    (finding,) = verdict.findings
    assert finding.claim == (
        "message 2 of key 0 was deleted, and the final reads found it at offset 2"
    )
    assert finding.because[0] == (
        "op 11: process 7 deleted all before offset 3 of key 0, acknowledged"
    )


def test_a_deletion_of_unknown_outcome_may_not_have_happened() -> None:
    assert found(*SENT, deleted(10, 3, Kind.INFO), *final(0, 1, 2, 3, 4)) == {}


def test_before_the_final_reads_a_deposed_leader_may_still_show_what_was_deleted() -> None:
    late = poll(12, 12.5, 1, {0: [(0, 0), (1, 1)]})
    assert found(*SENT, TAKEN, deleted(10, 3), late, *final(3, 4)) == {}


def test_of_two_deletions_the_further_one_counts() -> None:
    told = [*SENT, deleted(10, 3), deleted(12, 1), *final(1, 2, 3, 4)]
    assert found(*told) == {"deleted-reappears": 2}
