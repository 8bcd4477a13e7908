"""Locks with tokens: by timelines, by trying all orders, and by planted flaws."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from checkers import mutex
from harness.checker import Check
from harness.guarantees import Contract, derive
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers import oracle_mutex
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import Events, history, operation


def drawn(text: str) -> History:
    return History.of(parse(text))


OVERLAP = """
c0: |- acquire -> 1 --|                      |- release 1 --|
c1:                     |- acquire -> 2 --|
"""
RELEASED = """
c0: |- acquire -> 1 --| |- release 1 ---------|
c1:                        |- acquire -> 2 --|
"""
RELEASE_IN_DOUBT = RELEASED.replace("release 1 ---------|", "release 1 ---------?")
RELEASE_FAILED = RELEASED.replace("release 1 ---------|", "release 1 ---------x")
HOLDER_IN_DOUBT = OVERLAP.replace("-> 1 --|", "-> 1 --?")
REGRESSION = """
c0: |- acquire -> 2 --| |- release 2 --|
c1:                                       |- acquire -> 1 --|
"""
FENCING = """
c0: |- write 2 --|
c1:                |- write 1 --|
"""
FENCED = FENCING.replace("write 1 --|", "write 1 --x")
FENCING_TOGETHER = """
c0: |- write 2 --|
c1:      |- write 1 --|
"""
OTHER_KEY = """
c0: |- acquire [1,null] -> [1,1] --|
c1:                                  |- acquire [2,null] -> [2,1] --|
"""
RENEWED = """
c0: |- acquire -> 1 --| |- acquire -> 1 --|
"""
RENEWED_IN_VAIN = """
c0: |- acquire -> 1 --| |- release --?                       |- acquire -> 1 --|
c1:                     |- acquire -> 2 --| |- release --|
"""
GIVEN_UP_AND_TOLD_AGAIN = """
c0: |- acquire -> 1 --| |- release --| |- acquire -> 1 --|
"""
RELEASED_SOME_TIME = """
c0: |- acquire -> 1 --| |- release --? |- acquire -> 2 --|
c1:                                                        |- acquire -> 3 --|
"""
UNTOLD_WRITE = """
c0: |- write 2 -> null --|
c1:                        |- write 1 -> null --|
"""


@pytest.mark.parametrize(
    ("text", "anomaly"),
    [
        (OVERLAP, "mutex-overlap"),
        (RELEASED, None),
        (RELEASE_IN_DOUBT, None),
        (RELEASE_FAILED, "mutex-overlap"),
        (HOLDER_IN_DOUBT, None),
        (REGRESSION, "token-regression"),
        (FENCING, "fencing-violation"),
        (FENCED, None),
        (FENCING_TOGETHER, None),
        (OTHER_KEY, None),
        (RENEWED, None),
        (RENEWED_IN_VAIN, "token-regression"),
        (GIVEN_UP_AND_TOLD_AGAIN, "token-regression"),
        (RELEASED_SOME_TIME, None),
        (UNTOLD_WRITE, "fencing-violation"),
    ],
)
def test_timelines(text: str, anomaly: str | None) -> None:
    verdict = all_stand(drawn(text), mutex.check)
    assert verdict.counts == ({anomaly: 1} if anomaly else {})


def test_a_lease_ends_by_itself_and_fencing_allows_an_overlap() -> None:
    short = derive("mutex", {"lease-ms": "10"}, "strict")
    assert not mutex.check(drawn(OVERLAP), short).counts
    long = derive("mutex", {"lease-ms": "10000"}, "strict")
    assert mutex.check(drawn(OVERLAP), long).counts == {"mutex-overlap": 1}
    fenced = derive("mutex", {"fenced": "true"}, "strict")
    verdict = fenced.sort(mutex.check(drawn(OVERLAP), fenced), drawn(OVERLAP))
    assert verdict.legal() == {"mutex-overlap": 1} and not verdict.anomalies()


def leased(contract: Contract) -> Check:
    """The checker under this contract, whatever it is told."""
    return lambda history, _: mutex.check(history, contract)


LATE = """
c0: |- acquire -> 1 --|
c1:        |- acquire -> 2 ------------------------|
"""
LATE_AND_RENEWED = """
c0:      |- acquire -> 1 --|         |- acquire -> 1 --|
c1: |- acquire -> 2 -------------------------------------------|
"""


@pytest.mark.parametrize(
    ("text", "lease_ms", "overlaps"), [(LATE, 1000, 1), (LATE, 5, 0), (LATE_AND_RENEWED, 50, 1)]
)
def test_a_lease_that_was_over_when_it_was_told_of_was_held_all_the_same(
    text: str, lease_ms: int, overlaps: int
) -> None:
    contract = derive("mutex", {"lease-ms": str(lease_ms)}, "strict")
    verdict = all_stand(drawn(text), leased(contract))
    assert verdict.counts == ({"mutex-overlap": overlaps} if overlaps else {})
    assert all(len(one.witness) == 2 * text.count("acquire") for one in verdict.findings)


HISTORIES = 5_000


def test_what_is_found_is_what_no_order_does_without() -> None:
    rng = random.Random(11)
    seen: Counter[tuple[str, bool]] = Counter()
    for ops in oracle_mutex.histories(HISTORIES, 6, seed=12):
        lease_ms = rng.choice((None, None, 1, 2, 3, 5, 8))
        promises = {} if lease_ms is None else {"lease-ms": str(lease_ms)}
        found = mutex.check(history(ops), derive("mutex", promises, "strict"))
        for anomaly, none_needed in oracle_mutex.orders(ops, lease_ms).items():
            assert (anomaly not in found.counts) is none_needed, (anomaly, lease_ms, ops)
            seen[anomaly, none_needed] += 1
    assert min(seen[anomaly, False] for anomaly in mutex.ANOMALIES) > 50


def test_a_witness_shows_its_finding_and_needs_all_of_it() -> None:
    found = 0
    for ops in oracle_mutex.histories(300, 8, seed=13):
        for lease_ms in ("2", "6"):
            contract = derive("mutex", {"lease-ms": lease_ms}, "strict")
            verdict = all_stand(history(ops), leased(contract))
            found += len(verdict.findings)
    assert found > 50


def test_each_planted_flaw_is_found_and_nothing_else() -> None:
    rng = random.Random(3)
    for _ in range(200):
        for flaw in (None, *mutex.ANOMALIES):
            at = rng.randrange(1, 20)
            told: list[Events] = []
            for token in range(20):
                shown, begin = token, 10.0 * token
                if flaw == "token-regression" and token == at:
                    shown = rng.randrange(at)
                late = 12 if flaw == "mutex-overlap" and token == at - 1 else 6
                told.append(operation(begin, begin + 1, token, "acquire", None, shown))
                told.append(operation(begin + 2, begin + 3, token, "write", token))
                told.append(operation(begin + late, begin + late + 1, token, "release", None))
            if flaw == "fencing-violation":
                told.append(operation(10 * at + 4, 10 * at + 5, 99, "write", at - 1))
            counts = mutex.check(history(*told), STRICT).counts
            assert counts == ({flaw: 1} if flaw else {})


def test_odd_values_and_empty_histories_are_no_alarm() -> None:
    assert mutex.check(drawn(""), STRICT).outcome is Outcome.UNKNOWN
    odd = drawn('c0: |- acquire "a" --| |- write {"a":1} --| |- release [1,2,3] --|')
    assert not mutex.check(odd, STRICT).counts
