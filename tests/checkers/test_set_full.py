"""Sets that are read again and again: by timelines, the definition, and stores with a flaw."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from checkers import set_full
from checkers.elements import BATCH_BYTES
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
c0: |- add 1 --| |- add 2 --|
c1:                             |- read -> [2] --|
"""
OVERLAP = """
c0: |- add 1 --------|
c1:     |- read -> [] --|
c2:                       |- read -> [1] --|
"""
IN_DOUBT = LOST.replace("add 1 --|", "add 1 --?")
STALE = """
c0: |- add 1 --|
c1:              |- read -> [] --| |- read -> [1] --|
"""
READS_TOGETHER = """
c0: |- add 1 --|
c1:              |- read -> [1] -----|
c2:                  |- read -> [] --|
"""
SEEN_THEN_LOST = """
c0: |- add 1 --?
c1:              |- read -> [1] --| |- read -> [] --|
"""
TWICE = """
c0: |- add 1 --|
c1:              |- read -> [1,1] --|
"""
PHANTOM = """
c0: |- add 1 --|
c1:              |- read -> [1,7] --|
"""
REFUSED = """
c0: |- add 7 --x |- add 1 --|
c1:                           |- read -> [1,7] --|
"""
FUTURE = """
c1: |- read -> [1] --|                |- read -> [1] --|
c0:                    |- add 1 --|
"""
FUTURE_AND_LOST = """
c1: |- read -> [1] --|              |- read -> [] --|
c0:                    |- add 1 --|
"""
KEYED = """
c0: |- add [1,5] --| |- add [2,5] --|
c1:                                    |- read [1,null] -> [1,[]] --|
c2:                                    |- read [2,null] -> [2,[5]] --|
"""
OTHER_KEY = """
c0: |- add [1,5] --|
c1:                  |- read [2,null] -> [2,[]] --| |- read [1,null] -> [1,[5]] --|
"""
NULL_READ = """
c0: |- add 1 --|
c1:              |- read -> [1] --| |- read -> null --|
"""
ADDED_TWICE = """
c0: |- add 1 --?              |- add 1 --|
c1:              |- read -> [] --| |- read -> [] --|
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LOST, "lost"),
        (OVERLAP, None),
        (IN_DOUBT, None),
        (STALE, "stale-read"),
        (READS_TOGETHER, "stale-read"),
        (SEEN_THEN_LOST, "lost"),
        (TWICE, "duplicate"),
        (PHANTOM, "phantom"),
        (REFUSED, "G1a"),
        (FUTURE, "future-read"),
        (FUTURE_AND_LOST, "lost future-read"),
        (KEYED, "lost"),
        (OTHER_KEY, None),
        (NULL_READ, "lost"),
        (ADDED_TWICE, None),
    ],
)
def test_timelines(text: str, found: str | None) -> None:
    verdict = all_stand(drawn(text), set_full.check)
    assert verdict.counts == dict.fromkeys((found or "").split(), 1)


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(drawn(SEEN_THEN_LOST), set_full.check).findings
    assert finding.claim == "1 was there, and a read of c1 lacks it; nobody read it again"
    assert finding.because == (
        "c0's add 1 (op 0, in doubt) began at op 0",
        "c1's read -> [1] (op 3) has 1, and had ended at op 3",
        "c1's read -> [] (op 5) began later, at op 4: it lacks 1",
        "however, no read that ended later has it: a contradiction",
    )


def judged(recorded: History, **options: str) -> Verdict:
    contract = derive("set-full", options, "strict")
    return contract.sort(set_full.check(recorded, contract), recorded)


def test_a_stale_read_is_allowed_unless_the_set_is_promised_to_be_linearizable() -> None:
    for options in ({}, {"linearizable": "false"}):
        told = judged(drawn(STALE), **options)
        assert told.outcome is Outcome.VALID and told.legal() == {"stale-read": 1}
        assert "linearizable=false" in (told.allowed[0].reason or "")
    assert judged(drawn(STALE), linearizable="true").anomalies() == {"stale-read": 1}
    assert judged(drawn(LOST)).anomalies() == {"lost": 1}


# -- numbers -------------------------------------------------------------------------------------


def test_latencies_tell_how_long_an_element_was_missing_or_kept() -> None:
    told = history(
        operation(0, 1, 0, "add", "kept"),
        operation(0, 2, 1, "add", "gone"),
        operation(3, 4, 2, "read", None, ["gone"]),
        operation(5, 6, 2, "read", None, ["gone"]),
        operation(7, 8, 2, "read", None, ["kept"]),
        operation(9, 9.5, 3, "add", "unread"),
    )
    stats = set_full.check(told, STRICT).stats
    assert (stats["stable"], stats["stale"], stats["lost"], stats["never-read"]) == (1, 1, 1, 1)
    assert stats["stable-latencies-ms"] == dict.fromkeys(("0", "0.5", "0.95", "0.99", "1"), 4000.0)
    assert set(stats["lost-latencies-ms"].values()) == {3000.0}
    assert stats["worst-stale"] == [{"element": "kept", "ms": 4000.0}]
    assert '1 acknowledged elements are never-read, such as "unread"' in stats["note"]


def test_a_set_of_which_nothing_was_read_says_nothing() -> None:
    for text in ("", "c0: |- add 1 --|", "c0: |- read -> [] --|", OVERLAP.splitlines()[1]):
        assert set_full.check(drawn(text), STRICT).outcome is Outcome.UNKNOWN
    never = drawn("c0: |- read -> [] --| |- add 1 --|")
    assert set_full.check(never, STRICT).outcome is Outcome.UNKNOWN
    assert set_full.check(never, STRICT).stats["never-read"] == 1


# -- the definition ------------------------------------------------------------------------------

VALUES = [
    0,
    1,
    1.0,
    True,
    "1",
    None,
    [1],
    [1, 2, 3],
    {"a": 1, "b": [2]},
    2**63,
    2**80,
    -(2**63),
    "é",
]


def random_history(rng: random.Random, operations: int, values: list[Any], keys: int) -> History:
    told: list[Events] = []
    for process in range(operations):
        begin = rng.uniform(0, 10)
        end = rng.choice([begin + 0.5, begin + 3, begin + 1, None])
        key = rng.randrange(keys) if keys else None
        if rng.random() < 0.5:
            value = rng.choice(values)
            kind = rng.choice([Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO])
            asked = [key, value] if keys else value
            told.append(operation(begin, end, process, "add", asked, kind=kind))
        else:
            read = [value for value in values if rng.random() < 0.5]
            read += rng.sample(read, len(read) > 0 and rng.random() < 0.1)
            asked, answer = ([key, None], [key, read]) if keys else (None, read)
            kind = rng.choice([Kind.OK, Kind.OK, Kind.INFO])
            told.append(operation(begin, end, process, "read", asked, answer, kind=kind))
    return history(*told)


def by_definition(recorded: History, keyed: bool) -> dict[str, int]:
    """Every element, add and read, one by one."""
    adds: dict[str, list[tuple[int, int | None, bool]]] = defaultdict(list)
    reads: dict[str, list[tuple[int, int, Counter[str]]]] = defaultdict(list)
    elements: dict[tuple[str, str], None] = {}
    for begin in recorded.select(type=Kind.INVOKE).tolist():
        op, done = recorded[begin], recorded.completion(begin)
        ok = done is not None and done.type is Kind.OK
        failed = done is not None and done.type is Kind.FAIL
        if op.f == "add":
            key, value = op.value if keyed else (None, op.value)
            name = json.dumps([key, value], sort_keys=True)
            adds[name].append((begin, done.index if ok and done else None, failed))
            elements[json.dumps(key), name] = None
        elif ok and done:
            key, values = done.value if keyed else (None, done.value)
            names = [json.dumps([key, value], sort_keys=True) for value in values]
            reads[json.dumps(key)].append((begin, done.index, Counter(names)))
            elements |= {(json.dumps(key), name): None for name in names}
    found: Counter[str] = Counter()
    for key, name in elements:
        found.update(_of_element(adds[name], reads[key], name))
    return dict(found)


def _of_element(
    adds: list[tuple[int, int | None, bool]], reads: list[tuple[int, int, Counter[str]]], name: str
) -> list[str]:
    tried = [(begin, end) for begin, end, failed in adds if not failed]
    having = [(begin, end) for begin, end, names in reads if names[name]]
    found = ["duplicate"] if any(names[name] > 1 for _, _, names in reads) else []
    if not tried:
        return found + (["G1a" if adds else "phantom"] if having else [])
    early = any(end < min(begin for begin, _ in tried) for _, end in having)
    known = [end for _, end in tried if end is not None]
    known += [] if early else [end for _, end in having]
    missing = [b for b, _, names in reads if not names[name] and known and b > min(known)]
    if missing:
        found.append("stale-read" if any(end > max(missing) for _, end in having) else "lost")
    return found + (["future-read"] if early else [])


@pytest.mark.parametrize("keys", [0, 2])
@pytest.mark.parametrize("batch", [1, 50, BATCH_BYTES])
def test_the_checker_agrees_with_the_definition(
    keys: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkers.elements.BATCH_BYTES", batch)
    rng, seen = random.Random(11 + keys), set[str]()
    for number in range(HISTORIES // 6):
        values = [0, 1, 2] if number % 2 else rng.sample(VALUES, 3)
        recorded = random_history(rng, rng.randint(1, 8), values, keys)
        if not len(recorded.select(f="add")):
            continue  # then nothing tells the elements 1 and [2] from those of a set 1
        expected = by_definition(recorded, keyed=keys > 0)
        assert set_full.check(recorded, STRICT).counts == expected, list(recorded)
        seen.update(expected)
    assert seen == set(set_full.ANOMALIES)


def test_every_finding_stands_on_its_witness() -> None:
    rng, found = random.Random(12), Counter[str]()
    for number in range(120):
        recorded = random_history(rng, 8, [0, 1, 2], keys=number % 3)
        found.update(all_stand(recorded, set_full.check).counts)
    assert set(found) == set(set_full.ANOMALIES) and min(found.values()) > 10


def test_an_outcome_that_becomes_known_makes_nothing_valid() -> None:
    """Of a read it could: what is lost may be found again, and was only stale then."""
    rng, tried = random.Random(13), Counter[str]()
    for _ in range(HISTORIES // 8):
        recorded = random_history(rng, rng.randint(2, 6), [0, 1], 0)
        before = {linear: judged(recorded, linearizable=linear) for linear in ("true", "false")}
        for begin in in_doubt(recorded):
            f, value = recorded[begin].f, recorded[begin].value
            read = [value for value in (0, 1, 2) if rng.random() < 0.5]
            kind = rng.choice([Kind.OK, Kind.FAIL])
            later = with_outcome(recorded, begin, kind, read if f == "read" else value)
            for linear, verdict in before.items():
                if verdict.outcome is Outcome.INVALID and (f == "add" or linear == "true"):
                    tried[f] += 1
                    assert judged(later, linearizable=linear).outcome is Outcome.INVALID
    assert min(tried.values()) > 50 and set(tried) == {"add", "read"}


# -- stores with one flaw ------------------------------------------------------------------------


def stored(rng: random.Random, flaw: str | None, keyed: bool) -> History:
    """Clients add to a replicated set and read it, each from a replica that is some time behind; at
    the end all read all. One flaw at most."""
    size, lag = 30, 0.0 if flaw != "stale-read" else 1.5
    at = rng.randrange(5, size - 5)
    told: list[Events] = []
    present: list[tuple[float, Any]] = []
    for number in range(size):
        value, begin = f"v{number}" if number % 2 else number, number + rng.random() / 4
        kind = rng.choice([Kind.OK, Kind.OK, Kind.OK, Kind.INFO])
        if number == at:
            kind = Kind.FAIL if flaw == "G1a" else Kind.OK
            begin += 3 if flaw == "future-read" else 0
        told.append(keyed_or_not(begin, number, "add", value, None, kind, keyed))
        happened = kind is not Kind.INFO or rng.random() < 0.5
        since = number if number == at else begin + 0.3
        if happened and not (flaw == "lost" and number == at):
            present.append((since, value))
        if flaw == "phantom" and number == at:
            present.append((since, "nobody's"))
        read = [v for since, v in present if since < number + 0.6 - (lag if number == at else 0)]
        if flaw == "duplicate" and number == at:
            read.append(rng.choice(read))
        told.append(keyed_or_not(number + 0.6, 100 + number, "read", None, read, Kind.OK, keyed))
    every = [value for _, value in present]
    rng.shuffle(every)
    told.append(keyed_or_not(size + 5, 200, "read", None, every, Kind.OK, keyed))
    return history(*told)


@pytest.mark.parametrize("flaw", [None, *set_full.ANOMALIES])
def test_a_store_with_a_flaw_shows_it_and_nothing_else(flaw: str | None) -> None:
    for seed in range(200):
        recorded = stored(random.Random(seed), flaw, keyed=seed % 4 == 0)
        verdict = judged(recorded, linearizable="true")
        assert set(verdict.anomalies()) == ({flaw} if flaw else set()), seed
        assert verdict.outcome is (Outcome.INVALID if flaw else Outcome.VALID)


# -- odd values ----------------------------------------------------------------------------------


def test_elements_that_are_pairs_are_no_keys() -> None:
    for read in ("[]", "[[1,2]]", "[[1,2],[3,4]]", "[[3,4],[1,2]]"):
        told = drawn(f"c0: |- add [1,2] --? |- add [3,4] --? |- read -> {read} --|")
        assert not set_full.check(told, STRICT).counts
    keyed = drawn("c0: |- add [1,2] --? |- read [5,null] -> [5,[]] --|")
    assert not set_full.check(keyed, STRICT).counts


def test_numbers_that_only_look_alike_are_different_elements() -> None:
    text = "c0: |- add 1 --| |- add 1.0 --| |- add true --| |- read -> [%s] --|"
    assert not set_full.check(drawn(text % "true,1,1.0"), STRICT).counts
    assert set_full.check(drawn(text % "1,1.0"), STRICT).counts == {"lost": 1}
    assert set_full.check(drawn(text % "1,1,true"), STRICT).counts == {"lost": 1, "duplicate": 1}


def test_what_cannot_be_read_leaves_a_doubt() -> None:
    odd = drawn("c0: |- add 1 --| |- read -> 7 --| |- read -> [1] --|")
    verdict = set_full.check(odd, STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "1 operations" in verdict.doubts[0]
    keyed = drawn('c0: |- add ["a",1] --| |- read -> [1] --| |- read -> ["a",[1]] --|')
    assert set_full.check(keyed, STRICT).outcome is Outcome.UNKNOWN


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    event = "{:type %s, :f %s, :value %s, :process %d, :time %d}\n"
    path.write_text(
        event % (":invoke", ":add", ":a", 0, 1)
        + event % (":ok", ":add", ":a", 0, 2)
        + event % (":invoke", ":read", "nil", 1, 5)
        + event % (":ok", ":read", "#{:b}", 1, 6)
    )
    assert set_full.check(History.load(path), STRICT).counts == {"lost": 1, "phantom": 1}
