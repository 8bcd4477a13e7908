"""Locks with tokens: by timelines, and by planted flaws."""

from __future__ import annotations

import random

import pytest

from checkers import mutex
from harness.guarantees import derive
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome
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
