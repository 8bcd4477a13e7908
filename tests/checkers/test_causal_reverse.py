"""Causal reverse: against the definition, by timelines, and by planted flaws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkers import causal_reverse
from harness.history import History
from harness.op import Kind
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import Events, history, operation

HISTORIES = 2500


def drawn(text: str) -> History:
    return History.of(parse(text))


REVERSED = """
c0: |- write 1 --|
c1:                |- write 2 --|
c2:   |- read -> [2] --|
"""
CONCURRENT = """
c0: |- write 1 --------|
c1:              |- write 2 --|
c2:   |- read -> [2] --|
"""
OLD = """
c0: |- write 1 --|
c1:                |- write 2 --|
c2:                                |- read -> [1] --|
"""
EFFECT_IN_DOUBT = REVERSED.replace("write 2 --|", "write 2 --?")
CAUSE_IN_DOUBT = REVERSED.replace("write 1 --|", "write 1 --?")
CAUSE_FAILED = REVERSED.replace("write 1 --|", "write 1 --x")
CAUSE_WAS_READ = """
c0: |- write 1 --?
c1:               |- read -> [1] --|
c2:                                   |- write 2 --|
c3:                                         |- read -> [2] --|
"""
SEEN_TOO_LATE = CAUSE_WAS_READ.replace("read -> [1] --|", "read -> [1] ----------|")
KEYED = REVERSED.replace("write 1", "write [5,1]").replace("write 2", "write [5,2]")
KEYED = KEYED.replace("[2]", "[5,[2]]").replace("c1:", "c1:      ")
OTHER_KEY = KEYED.replace("write [5,1]", "write [4,1]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (REVERSED, 1),
        (CONCURRENT, 0),
        (OLD, 0),
        (EFFECT_IN_DOUBT, 1),
        (CAUSE_IN_DOUBT, 0),
        (CAUSE_FAILED, 0),
        (CAUSE_WAS_READ, 1),
        (SEEN_TOO_LATE, 0),
        (KEYED, 1),
        (OTHER_KEY, 0),
    ],
)
def test_timelines(text: str, found: int) -> None:
    verdict = all_stand(drawn(text), causal_reverse.check)
    assert verdict.counts == ({"causal-reverse": found} if found else {})


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(drawn(REVERSED), causal_reverse.check).findings
    assert finding.claim == "c2 read what came later without what had come before"
    assert finding.because == (
        "c0's write 1 (op 2) was acknowledged at op 2, so that 1 was there",
        "c1's write 2 (op 5) began later, at op 3, so that 2 came after 1",
        "however, c2's read -> [2] (op 4): it has 2, and lacks 1: a contradiction",
    )


def random_history(rng: random.Random, operations: int) -> History:
    told: list[Events] = []
    written: list[int] = []
    for process in range(operations):
        begin = rng.uniform(0, 10)
        end = begin + rng.choice([0.5, 3])
        ends = rng.choice([end, end, None])
        if rng.random() < 0.5:
            written.append(process)
            kind = rng.choice([Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO])
            told.append(operation(begin, ends, process, "write", process, kind=kind))
        else:
            read = [value for value in range(operations) if rng.random() < 0.5]
            told.append(operation(begin, ends, process, "read", None, read))
    return history(*told)


def by_definition(recorded: History) -> set[tuple[int, int, int]]:
    """(read, effect, cause): every combination, tried."""

    def ended(begin: int) -> int | None:
        done = recorded.completion(begin)
        return done.index if done is not None and done.type is Kind.OK else None

    def happened(begin: int) -> bool:
        done = recorded.completion(begin)
        return done is None or done.type is not Kind.FAIL

    begins = recorded.select(type=Kind.INVOKE).tolist()
    writes = [at for at in begins if recorded[at].f == "write" and happened(at)]
    reads = [at for at in begins if recorded[at].f == "read" and ended(at) is not None]

    def told(at: int) -> list[Any]:
        done = recorded.completion(at)
        assert done is not None
        return list(done.value)

    found = set()
    for read in reads:
        for cause in writes:
            ends = [ended(cause), *(ended(r) for r in reads if recorded[cause].value in told(r))]
            certain = [end for end in ends if end is not None]
            for effect in writes:
                if recorded[effect].value not in told(read):
                    continue
                if recorded[cause].value in told(read):
                    continue
                if any(end < effect for end in certain):
                    found.add((read, effect, cause))
    return found


def test_the_checker_agrees_with_the_definition() -> None:
    rng, seen = random.Random(11), set()
    for _ in range(HISTORIES):
        recorded = random_history(rng, rng.randint(1, 6))
        expected = len({read for read, _, _ in by_definition(recorded)})
        verdict = causal_reverse.check(recorded, STRICT)
        assert verdict.counts == ({"causal-reverse": expected} if expected else {})
        seen.add(expected)
    assert seen >= {0, 1, 2}


def test_every_finding_stands_on_its_witness() -> None:
    rng = random.Random(12)
    found = sum(
        len(all_stand(random_history(rng, 8), causal_reverse.check).findings) for _ in range(300)
    )
    assert found > 200


def legal(rng: random.Random, writes: int) -> Iterator[tuple[str, Any]]:
    """One after another, so that every read has all."""
    for value in range(writes):
        yield "write", value
        if rng.random() < 0.3:
            yield "read", list(range(value + 1))


def test_a_planted_flaw_is_found_in_a_long_legal_history() -> None:
    rng = random.Random(13)
    for _ in range(200):
        steps = list(legal(rng, 60))
        reads = [at for at, (f, value) in enumerate(steps) if f == "read" and len(value) > 1]
        flawed = rng.choice(reads)
        for plant in (False, True):
            told = list(steps)
            if plant:
                value = list(told[flawed][1])
                value.remove(rng.choice(value[:-1]))
                told[flawed] = "read", value
            events = [
                operation(at, at + 0.5, at % 5, f, value if f == "write" else None, value)
                for at, (f, value) in enumerate(told)
            ]
            counts = causal_reverse.check(history(*events), STRICT).counts
            assert counts == ({"causal-reverse": 1} if plant else {})


def test_odd_values_leave_a_doubt_and_an_empty_history_too() -> None:
    assert causal_reverse.check(drawn(""), STRICT).outcome is Outcome.UNKNOWN
    odd = drawn('c0: |- write {"a":[1]} --| |- read -> 7 --| |- read -> null --|')
    assert causal_reverse.check(odd, STRICT).outcome is Outcome.UNKNOWN
    told = drawn(REVERSED.replace("write 1", 'write {"a":[1]}').replace("c1:", "c1:        "))
    assert causal_reverse.check(told, STRICT).counts == {"causal-reverse": 1}


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    event = "{:type %s, :f %s, :value [0 %s], :process %d, :time %d}\n"
    path.write_text(
        event % (":invoke", ":write", "1", 0, 1)
        + event % (":ok", ":write", "1", 0, 2)
        + event % (":invoke", ":write", "2", 0, 3)
        + event % (":ok", ":write", "2", 0, 4)
        + event % (":invoke", ":read", "nil", 1, 5)
        + event % (":ok", ":read", "[2]", 1, 6)
    )
    assert causal_reverse.check(History.load(path), STRICT).counts == {"causal-reverse": 1}
