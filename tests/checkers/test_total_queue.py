"""Queues of which all that went in comes out: by timelines, the definition, and flawed queues."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from checkers import total_queue
from harness.guarantees import derive
from harness.history import History
from harness.op import Kind
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.outcomes import in_doubt, with_outcome
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import Events, history, keyed_or_not, operation

HISTORIES = 2500


def drawn(text: str) -> History:
    return History.of(parse(text))


LOST = """
c0: |- enqueue 1 --| |- enqueue 2 --|
c1:                                    |- drain -> [2] --|
"""
EMPTY = LOST.replace("drain -> [2]", "dequeue -> 2").rstrip() + " |- dequeue --|"
INSIDE = LOST.replace("drain -> [2]", "dequeue -> 2")
PUT_IN_LATER = """
c0: |- enqueue 1 ------------------|
c1:                  |- drain -> [] --|
"""
PUT_IN_DOUBT = LOST.replace("enqueue 1 --|", "enqueue 1 --?")
TAKEN_IN_DOUBT = LOST.rstrip() + "\nc2:    |- dequeue --?"
TAKER_FAILED = TAKEN_IN_DOUBT.replace("--?", "--x")
LOST_MORE = """
c0: |- enqueue 1 --| |- enqueue 2 --|
c2:    |- dequeue --?
c1:                                    |- drain -> [] --|
"""
DRAINED_IN_DOUBT = LOST_MORE.replace("c2:    |- dequeue", "c2:    |- drain")
TWICE = """
c0: |- enqueue 1 --|
c1:                  |- dequeue -> 1 --| |- drain -> [1] --|
"""
PUT_IN_TWICE = TWICE.replace("enqueue 1 --|", "enqueue 1 --| |- enqueue 1 --?")
PUT_IN_TWICE = PUT_IN_TWICE.replace("c1:", "c1:                 ")
TOO_OFTEN_AT_FIRST = """
c0: |- enqueue 1 --|                                         |- enqueue 1 --|
c1:                  |- dequeue -> 1 --| |- dequeue -> 1 --|
"""
TWICE_AT_ONCE = """
c0: |- enqueue 1 --|
c1:                  |- drain -> [1,1] --|
"""
ONE_OF_TWO = """
c0: |- enqueue 1 --| |- enqueue 1 --|
c1:                                    |- drain -> [1] --|
"""
PHANTOM = """
c0: |- enqueue 1 --|
c1:                  |- drain -> [7,1] --|
"""
REFUSED = """
c0: |- enqueue 7 --x
c1:                  |- dequeue -> 7 --|
"""
FUTURE = """
c1: |- dequeue -> 1 --|
c0:                      |- enqueue 1 --|
"""
KEYED = """
c0: |- enqueue [1,5] --| |- enqueue [2,5] --|
c1:                                           |- drain [1,null] -> [1,[]] --|
c2:                                           |- drain [2,null] -> [2,[5]] --|
"""
OTHER_KEY = """
c0: |- enqueue [1,5] --|
c1:                       |- dequeue [2,null] -> null --| |- dequeue [1,null] -> [1,5] --|
"""
FOUND_EMPTY = """
c0: |- enqueue [1,5] --|
c1:                       |- dequeue [1,null] -> null --|
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LOST, "lost"),
        (EMPTY, "lost"),
        (INSIDE, None),
        (PUT_IN_LATER, None),
        (PUT_IN_DOUBT, None),
        (TAKEN_IN_DOUBT, None),
        (TAKER_FAILED, "lost"),
        (LOST_MORE, "lost"),
        (DRAINED_IN_DOUBT, None),
        (TWICE, "duplicate"),
        (PUT_IN_TWICE, None),
        (TOO_OFTEN_AT_FIRST, "duplicate"),
        (TWICE_AT_ONCE, "duplicate"),
        (ONE_OF_TWO, "lost"),
        (PHANTOM, "phantom"),
        (REFUSED, "G1a"),
        (FUTURE, "future-read"),
        (KEYED, "lost"),
        (OTHER_KEY, None),
        (FOUND_EMPTY, "lost"),
    ],
)
def test_timelines(text: str, found: str | None) -> None:
    verdict = all_stand(drawn(text), total_queue.check)
    assert verdict.counts == dict.fromkeys((found or "").split(), 1)


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(drawn(LOST), total_queue.check).findings
    assert finding.claim == "1 was put in and never came out"
    assert finding.because == (
        "c0's enqueue 1 (op 1) had ended",
        "c1's drain -> [2] (op 5) began later, at op 4, and left nothing inside",
        "however, 1 did not come out so often: a contradiction",
    )


def test_more_is_missing_than_dequeues_in_doubt_can_have_taken() -> None:
    (finding,) = all_stand(drawn(LOST_MORE), total_queue.check).findings
    assert finding.claim == "2 values never came out (1, 2); 1 dequeues in doubt"
    excused = total_queue.check(drawn(TAKEN_IN_DOUBT), STRICT)
    assert excused.outcome is Outcome.VALID and "dequeues in doubt" in excused.stats["note"]


def test_what_may_still_be_inside_or_with_a_drain_in_doubt_leaves_a_doubt() -> None:
    inside = total_queue.check(drawn(INSIDE), STRICT)
    assert inside.outcome is Outcome.UNKNOWN and "still be inside" in inside.doubts[0]
    drained = total_queue.check(drawn(DRAINED_IN_DOUBT), STRICT)
    assert drained.outcome is Outcome.UNKNOWN and "a drain in doubt" in drained.doubts[0]
    broken = drawn(DRAINED_IN_DOUBT.replace("-> []", "-> [7]"))
    assert total_queue.check(broken, STRICT).counts == {"phantom": 1}


def judged(recorded: History, **options: str) -> Verdict:
    contract = derive("total-queue", options, "strict")
    return contract.sort(total_queue.check(recorded, contract), recorded)


@pytest.mark.parametrize(
    ("delivery", "text", "legal"),
    [
        ("at-least-once", TWICE, "duplicate"),
        ("at-least-once", TWICE_AT_ONCE, "duplicate"),
        ("at-least-once", LOST, None),
        ("at-most-once", LOST, "lost"),
        ("at-most-once", TWICE, None),
        ("exactly-once", LOST, None),
        ("exactly-once", TWICE, None),
        ("at-least-once", PHANTOM, None),
        ("at-most-once", FUTURE, None),
    ],
)
def test_delivery_says_what_is_allowed(delivery: str, text: str, legal: str | None) -> None:
    told = judged(drawn(text), delivery=delivery)
    assert told.legal() == ({legal: 1} if legal else {})
    assert told.outcome is (Outcome.VALID if legal else Outcome.INVALID)


def test_what_may_be_lost_need_not_be_waited_for() -> None:
    assert judged(drawn(INSIDE), delivery="at-most-once").outcome is Outcome.VALID
    assert judged(drawn(DRAINED_IN_DOUBT), delivery="at-most-once").outcome is Outcome.VALID


def test_numbers_tell_what_became_of_the_values() -> None:
    told = history(
        *[operation(at, at + 0.1, at, "enqueue", value) for at, value in enumerate("abc")],
        operation(3, 4, 3, "enqueue", "d", kind=Kind.INFO),
        operation(5, 6, 4, "drain", None, ["d", "a", "a", "x"]),
    )
    stats = total_queue.check(told, STRICT).stats
    assert stats == {
        "attempted": 4,
        "acknowledged": 3,
        "dequeued": 2,
        "missing": 2,
        "lost": 2,
        "duplicated": 1,
        "unexpected": 1,
        "recovered": 1,
    }


# -- the definition ------------------------------------------------------------------------------

VALUES: list[Any] = [0, 1, 1.0, True, "1", [1], [1, 2, 3], {"a": 1}, 2**63, 2**80, "é"]


def random_history(rng: random.Random, operations: int, values: list[Any], keys: int) -> History:
    told: list[Events] = []
    for process in range(operations):
        begin = rng.uniform(0, 10)
        end = rng.choice([begin + 0.5, begin + 3, begin + 1, None])
        key = rng.randrange(keys) if keys else None
        f = rng.choice(["enqueue", "enqueue", "dequeue", "dequeue", "drain"])
        kind = rng.choice([Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO])
        if f == "drain" and rng.random() < 0.8:  # else they excuse what is missing
            begin = rng.uniform(begin, 10)
            end, kind = begin + 1, Kind.OK
        asked = rng.choice(values) if f == "enqueue" else None
        answer = {
            "enqueue": asked,
            "dequeue": rng.choice([None, *values]),
            "drain": [value for value in values if rng.random() < 0.25],
        }[f]
        if keys:
            asked, answer = [key, asked], [key, answer]
        told.append(operation(begin, end, process, f, asked, answer, kind=kind))
    return history(*told)


def by_definition(recorded: History, keyed: bool) -> dict[str, int]:
    """Every value, operation by operation; and every choice of what dequeues in doubt took."""
    by_key: dict[str, list[tuple[int, int | None, str, Any]]] = defaultdict(list)
    for begin in recorded.select(type=Kind.INVOKE).tolist():
        op, done = recorded[begin], recorded.completion(begin)
        end = done.index if done is not None and done.type is Kind.OK else None
        if done is not None and done.type is Kind.FAIL:
            if op.f == "enqueue":
                by_key[json.dumps(op.value[0] if keyed else None)].append(
                    (begin, None, "refused", op.value[1] if keyed else op.value)
                )
            continue
        value = op.value if end is None or op.f == "enqueue" or done is None else done.value
        key, value = value if keyed else (None, value)
        by_key[json.dumps(key)].append((begin, end, op.f, value))
    found: Counter[str] = Counter()
    for ops in by_key.values():
        found.update(_of_key(ops))
    return dict(found)


def _of_key(ops: list[tuple[int, int | None, str, Any]]) -> Iterator[str]:
    puts: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
    outs: dict[str, list[int]] = defaultdict(list)
    refused, empties, takers, drains = set(), [], 0, 0
    for begin, end, f, value in ops:
        name = json.dumps(value, sort_keys=True)
        if f == "enqueue":
            puts[name].append((begin, end))
        elif f == "refused":
            refused.add(name)
        elif end is None:
            takers, drains = takers + (f == "dequeue"), drains + (f == "drain")
        elif f == "drain" or value is None:
            empties.append(begin)
        taken = value if f == "drain" else [value] if f == "dequeue" and value is not None else []
        if end is not None:
            for each in taken:
                outs[json.dumps(each, sort_keys=True)].append(end)
    for name in {*puts, *outs}:
        ends = sorted(outs[name])
        if not puts[name]:
            yield "G1a" if name in refused else "phantom"
            continue
        begun = [sum(begin < end for begin, _ in puts[name]) for end in ends]
        if any(0 < before < number for number, before in enumerate(begun, 1)):
            yield "duplicate"
        if 0 in begun:
            yield "future-read"
    missing = {}
    for name, some in puts.items():
        due = sum(end is not None and any(end < empty for empty in empties) for _, end in some)
        missing[name] = max(due - len(outs[name]), 0)
    if not drains:
        choices = product([None, *puts], repeat=takers)
        yield from ["lost"] * min(
            sum(missing[name] > choice.count(name) for name in missing) for choice in choices
        )


@pytest.mark.parametrize("keys", [0, 2])
def test_the_checker_agrees_with_the_definition(keys: int) -> None:
    rng, seen = random.Random(21 + keys), Counter[str]()
    for number in range(HISTORIES // 2):
        values = [0, 1] if number % 2 else rng.sample(VALUES, 3)
        recorded = random_history(rng, rng.randint(1, 9), values, keys)
        if not len(recorded.select(f="enqueue")):
            continue  # then nothing tells the values 1 and [2] from those of a queue 1
        expected = by_definition(recorded, keyed=keys > 0)
        assert total_queue.check(recorded, STRICT).counts == expected, list(recorded)
        seen.update(expected)
    assert set(seen) == set(total_queue.ANOMALIES) and min(seen.values()) > 20


def test_every_finding_stands_on_its_witness() -> None:
    rng, found = random.Random(22), Counter[str]()
    for number in range(150):
        recorded = random_history(rng, 10, [0, 1, 2], keys=number % 2)
        found.update(all_stand(recorded, total_queue.check).counts)
    assert set(found) == set(total_queue.ANOMALIES) and min(found.values()) > 5


def test_an_outcome_that_becomes_known_makes_nothing_valid() -> None:
    rng, tried = random.Random(23), Counter[str]()
    for _ in range(HISTORIES // 8):
        recorded = random_history(rng, rng.randint(2, 7), [0, 1, 2], 0)
        if total_queue.check(recorded, STRICT).outcome is not Outcome.INVALID:
            continue
        for begin in in_doubt(recorded):
            f, value = recorded[begin].f, recorded[begin].value
            told = {
                "enqueue": value,
                "dequeue": rng.choice([None, 0, 1, 2]),
                "drain": [value for value in (0, 1) if rng.random() < 0.5],
            }[f]
            later = with_outcome(recorded, begin, rng.choice([Kind.OK, Kind.FAIL]), told)
            assert total_queue.check(later, STRICT).outcome is Outcome.INVALID, list(later)
            tried[f] += 1
    assert set(tried) == {"enqueue", "dequeue", "drain"} and min(tried.values()) > 5


# -- queues with one flaw ------------------------------------------------------------------------


def queued(rng: random.Random, flaw: str | None, keyed: bool) -> History:
    """Clients put values in and take some out, at last all; many do not hear what became of it.
    One flaw at most."""
    size, at = 20, rng.randrange(5, 15)
    inside: list[Any] = []
    sure: set[Any] = set()
    told: list[Events] = []
    for number in range(size):
        value: Any = f"v{number}" if number % 2 else number
        kind = rng.choice([Kind.OK, Kind.OK, Kind.OK, Kind.INFO])
        happened = kind is Kind.OK or rng.random() < 0.5
        if number == at:
            kind, happened = Kind.FAIL if flaw == "G1a" else Kind.OK, flaw != "lost"
            inside += {"phantom": ["nobody's"], "duplicate": [value]}.get(flaw or "", [])
        elif kind is Kind.OK:
            sure.add(value)
        if flaw == "future-read" and number == at:
            told.append(keyed_or_not(number, 300, "dequeue", None, value, Kind.OK, keyed))
            told.append(keyed_or_not(number + 1, number, "enqueue", value, None, kind, keyed))
            continue
        told.append(keyed_or_not(number, number, "enqueue", value, None, kind, keyed))
        inside += [value] * happened
        if rng.random() < 0.5 and inside and number != at:
            out = inside.pop(rng.randrange(len(inside)))
            # In doubt are only dequeues of what would be missing without them.
            kind = rng.choice([Kind.OK, Kind.INFO]) if out in sure else Kind.OK
            told.append(keyed_or_not(number + 0.5, 100 + number, "dequeue", None, out, kind, keyed))
    told.append(keyed_or_not(size + 5, 200, "drain", None, inside, Kind.OK, keyed))
    return history(*told)


@pytest.mark.parametrize("flaw", [None, *total_queue.ANOMALIES])
def test_a_queue_with_a_flaw_shows_it_and_nothing_else(flaw: str | None) -> None:
    for seed in range(200):
        recorded = queued(random.Random(seed), flaw, keyed=seed % 4 == 0)
        verdict = judged(recorded)
        assert set(verdict.anomalies()) == ({flaw} if flaw else set()), seed
        assert verdict.outcome is (Outcome.INVALID if flaw else Outcome.VALID)


# -- odd values ----------------------------------------------------------------------------------


def test_values_that_are_pairs_are_no_keys() -> None:
    for drained in ("[[1,2],[3,4]]", "[[3,4],[1,2]]"):
        told = drawn(f"c0: |- enqueue [1,2] --| |- enqueue [3,4] --| |- drain -> {drained} --|")
        assert total_queue.check(told, STRICT).outcome is Outcome.VALID


def test_a_null_that_was_put_in_leaves_a_doubt() -> None:
    told = drawn("c0: |- enqueue null --| |- drain -> [null] --|")
    assert total_queue.check(told, STRICT).outcome is Outcome.UNKNOWN
    lost = drawn("c0: |- enqueue null --| |- drain -> [] --|")
    assert total_queue.check(lost, STRICT).outcome is Outcome.UNKNOWN


def test_what_cannot_be_read_leaves_a_doubt() -> None:
    for odd in ("", "c0: |- drain -> [] --|", "c0: |- enqueue 1 --| |- drain -> 1 --|"):
        assert total_queue.check(drawn(odd), STRICT).outcome is Outcome.UNKNOWN
    keyed = drawn('c0: |- enqueue ["a",1] --| |- dequeue -> 1 --| |- drain -> ["a",[1]] --|')
    assert total_queue.check(keyed, STRICT).outcome is Outcome.UNKNOWN


def test_a_dequeue_in_doubt_of_a_key_that_nobody_knows_may_have_taken_any() -> None:
    told = KEYED.rstrip() + "\nc3:      |- dequeue {} --?"
    assert total_queue.check(drawn(told.format("null")), STRICT).outcome is Outcome.VALID
    assert total_queue.check(drawn(told.format("[1,null]")), STRICT).outcome is Outcome.VALID
    other = all_stand(drawn(told.format("[2,null]")), total_queue.check)
    assert other.counts == {"lost": 1}


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    event = "{:type %s, :f %s, :value %s, :process %d, :time %d}\n"
    path.write_text(
        event % (":invoke", ":enqueue", "1", 0, 1)
        + event % (":ok", ":enqueue", "1", 0, 2)
        + event % (":invoke", ":drain", "nil", 1, 5)
        + event % (":ok", ":drain", "[2 2]", 1, 6)
    )
    assert total_queue.check(History.load(path), STRICT).counts == {"lost": 1, "phantom": 1}
