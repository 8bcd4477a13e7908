"""Ids that are given out once: by timelines, the definition, and generators with a flaw."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

from checkers import unique_ids
from harness.history import History
from harness.op import Kind
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.outcomes import in_doubt, with_outcome
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import history, operation

VALUES: list[Any] = [0, 1, 1.0, True, "1", [1], [1, 2], {"a": 1, "b": 2}, {"b": 2, "a": 1}]
VALUES += [2**63, 2**80, -(2**63), "é", None, False, "null", ["r", 1, None]]


def drawn(text: str) -> History:
    return History.of(parse(text))


TWICE = """
c0: |- generate -> 7 --|
c1:    |- generate -> 7 --|
"""


def test_timelines() -> None:
    assert all_stand(drawn(TWICE), unique_ids.check).counts == {"duplicate": 1}
    for end in ("x", "?"):
        in_vain = drawn(TWICE.replace("7 --|\nc1", f"7 --{end}\nc1"))
        assert unique_ids.check(in_vain, STRICT).outcome is Outcome.VALID
    assert unique_ids.check(drawn("c0: |- generate -->"), STRICT).outcome is Outcome.UNKNOWN


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(drawn(TWICE), unique_ids.check).findings
    assert finding.claim == "7 was given out more than once: to c0 and to c1"
    assert finding.because == (
        "c0's generate -> 7 (op 2) gave it out",
        "c1's generate -> 7 (op 3) gave it out, too",
        "however, an id is given out once: a contradiction",
    )


def random_history(rng: random.Random, operations: int) -> History:
    told = []
    for process in range(operations):
        begin = rng.uniform(0, 10)
        kind = rng.choice([Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO])
        end = rng.choice([begin + 1, begin + 1, None])
        told.append(operation(begin, end, process, "generate", None, rng.choice(VALUES), kind))
    return history(*told)


def test_the_checker_agrees_with_the_definition() -> None:
    rng, seen = random.Random(31), set()
    for _ in range(1000):
        recorded = random_history(rng, rng.randint(1, 8))
        ids = Counter(
            json.dumps(op.value, sort_keys=True)
            for op in recorded
            if op.type is Kind.OK and op.value is not None
        )
        twice = sum(count > 1 for count in ids.values())
        verdict = all_stand(recorded, unique_ids.check)
        assert verdict.counts == ({"duplicate": twice} if twice else {})
        assert verdict.stats["distinct"] == len(ids)
        seen.add(twice)
        for begin in in_doubt(recorded) if twice else ():
            later = with_outcome(recorded, begin, Kind.OK, rng.choice(VALUES))
            assert unique_ids.check(later, STRICT).outcome is Outcome.INVALID
    assert seen >= {0, 1, 2}


def test_one_id_that_is_given_out_again_is_found_among_many() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        ids: list[Any] = [f"id-{n}" if n % 3 else n for n in range(100)]
        rng.shuffle(ids)
        for flaw in (False, True):
            if flaw:
                ids[rng.randrange(50)] = ids[rng.randrange(50, 100)]
            told = [operation(n, n + 1.5, n, "generate", None, each) for n, each in enumerate(ids)]
            counts = unique_ids.check(history(*told), STRICT).counts
            assert counts == ({"duplicate": 1} if flaw else {})


def test_numbers_tell_the_range_and_who_came_most_often() -> None:
    ids = [5, -3, "a", "a", "a", 12, None]
    told = [operation(n, n + 0.5, n, "generate", None, each) for n, each in enumerate(ids)]
    verdict = unique_ids.check(history(*told), STRICT)
    assert verdict.stats == {
        "attempted": 7,
        "acknowledged": 6,
        "distinct": 4,
        "most often": ["a", 3],
        "range": [-3, 12],
    }
    assert verdict.counts == {"duplicate": 1} and "1 ids are null" in verdict.doubts[0]
