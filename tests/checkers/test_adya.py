"""Adya's G2: of two guarded inserts one takes place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from checkers import adya
from harness.history import History
from harness.op import Kind
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import history, operation


def drawn(text: str) -> History:
    return History.of(parse(text))


BOTH = """
c0: |- insert [7,[1,null]] --|
c1:   |- insert [7,[null,2]] --|
"""
ONE_FAILED = BOTH.replace("[null,2]] --|", "[null,2]] --x")
IN_DOUBT = BOTH.replace("[null,2]] --|", "[null,2]] --?")
PENDING = BOTH.replace("[null,2]] --|", "[null,2]] -->")
OTHER_KEY = BOTH.replace("[7,[null", "[8,[null")
NAMED = BOTH.replace("7", '"seven"')


@pytest.mark.parametrize(
    ("text", "found"),
    [(BOTH, 1), (ONE_FAILED, 0), (IN_DOUBT, 0), (PENDING, 0), (OTHER_KEY, 0), (NAMED, 1)],
)
def test_timelines(text: str, found: int) -> None:
    verdict = all_stand(drawn(text), adya.check)
    assert verdict.counts == ({"G2": found} if found else {})


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(drawn(BOTH), adya.check).findings
    assert finding.claim == "key 7: two inserts took place, each only if nothing was there"
    assert finding.because == (
        "T1 is op 2, process 0: insert [7, [1, null]]",
        "T2 is op 3, process 1: insert [7, [null, 2]]",
        "T1 < T2, because T1 took place: it found no row of key 7, and so not the one that T2 "
        "inserted",
        "however, T2 < T1, because T2 took place: it found no row of key 7, and so not the one "
        "that T1 inserted; so T1 would come before itself: a contradiction",
    )


def test_each_planted_pair_is_found_and_nothing_else() -> None:
    rng = random.Random(5)
    for planted in [0, 1, 3, 200]:
        told = []
        for key in range(400):
            kinds = [Kind.OK, rng.choice([Kind.FAIL, Kind.INFO])]
            if key < planted:
                kinds = [Kind.OK, Kind.OK]
            rng.shuffle(kinds)
            at = rng.uniform(1, 9)
            rows = ([key, [2 * key, None]], [key, [None, 2 * key + 1]])
            for which, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
                told.append(operation(at, at + 1, 2 * key + which, "insert", row, kind=kind))
        verdict = adya.check(history(*told), STRICT)
        assert verdict.counts == ({"G2": planted} if planted else {})
        assert len({finding.key for finding in verdict.findings}) == min(planted, 8)


def test_what_cannot_be_judged_is_in_doubt() -> None:
    assert adya.check(drawn(""), STRICT).outcome is Outcome.UNKNOWN
    odd = adya.check(drawn("c0: |- insert 4 --|"), STRICT)
    assert odd.outcome is Outcome.UNKNOWN and "[key, row]" in odd.doubts[0]


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    event = "{:type %s, :f :insert, :value [3 %s], :process %d, :time %d}\n"
    path.write_text(
        event % (":invoke", "[1 nil]", 0, 1)
        + event % (":invoke", "[nil 2]", 1, 2)
        + event % (":ok", "[1 nil]", 0, 3)
        + event % (":ok", "[nil 2]", 1, 4)
    )
    assert adya.check(History.load(path), STRICT).counts == {"G2": 1}
