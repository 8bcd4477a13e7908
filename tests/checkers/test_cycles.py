"""Edges of time and of what nobody read reach exactly whom they should; long cycles are legible."""

from __future__ import annotations

import random

import numpy as np
import pytest

from checkers import cycles
from checkers.cycles import RW, Edges, components, others_edges, process_edges, realtime_edges
from checkers.list_append import check
from checkers.txn_cases import STEPS_MAX
from harness.history import History
from harness.op import Op
from tests.checkers.test_list_append import a, r, t
from tests.checkers.witnesses import STRICT, all_stand
from tests.stories import history


def reached(edges: Edges, start: int, txns: int) -> set[int]:
    """The transactions that follow one by any way that passes no other transaction."""
    after: dict[int, list[int]] = {}
    for source, target in zip(edges.source.tolist(), edges.target.tolist(), strict=True):
        after.setdefault(source, []).append(target)
    seen: set[int] = set()
    stack = list(after.get(start, ()))
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [] if node < txns else after.get(node, ())
    return {node for node in seen if node < txns}


def test_few_edges_have_the_components_that_many_have(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, circles = random.Random(4), 0
    for _ in range(500):
        nodes = rng.randint(1, 7)
        count = rng.randint(0, 9)
        source, target = (np.array(rng.choices(range(nodes), k=count), np.int32) for _ in "st")
        edges = Edges.of(source, target, RW)
        few = components(edges, nodes)
        monkeypatch.setattr(cycles, "FEW", -1)
        many = components(edges, nodes)
        monkeypatch.undo()
        for one, other in zip(few, many, strict=True):
            assert len(np.unique(one)) == len(np.unique(other))
        assert np.array_equal(few[1], many[1])
        circles += bool(few[1].any())
    assert 100 < circles < 400


def test_time_leads_to_all_that_began_after_the_end_and_to_no_other() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        count = rng.randint(1, 8)
        places = rng.sample(range(2 * count), 2 * count)
        pairs = sorted(sorted(places[2 * at : 2 * at + 2]) for at in range(count))
        begin = np.array([pair[0] for pair in pairs], np.int64)
        end = np.array([pair[1] if rng.random() < 0.8 else -1 for pair in pairs], np.int64)
        edges, free = realtime_edges(begin, end, np.arange(count), count)
        for one in range(count):
            later = {other for other in range(count) if 0 <= end[one] < begin[other]}
            assert reached(edges, one, count) == later
        assert free <= 2 * count and len(edges) <= 3 * count


def test_who_is_among_the_others_reaches_all_but_itself() -> None:
    for count in range(1, 9):
        targets = list(range(count))
        sources = [(source, RW) for source in range(count + 2)]
        edges, free = others_edges(sources, targets, 20)
        for source, _ in sources:
            assert reached(edges, source, 20) == set(targets) - {source}
        assert len(edges) <= 5 * (count + 2) and free <= 20 + 2 * count


def test_a_process_leads_from_each_transaction_to_its_next() -> None:
    edges = process_edges(np.array([3, 4, 3, 3, 4]), np.arange(5))
    pairs = set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    assert pairs == {(0, 2), (2, 3), (1, 4)}


def chain(length: int) -> History:
    """Each reads what the one before appended; the last misses what the first did long ago."""
    told = [t(0, 1, 0, a(0, 1))]
    told += [t(2 * at, 2 * at + 1, at, r(at - 1, 1), a(at, 1)) for at in range(1, length)]
    told.append(t(2 * length, 2 * length + 1, length, r(length - 1, 1), r(0)))
    return history(*told)


def test_a_long_cycle_comes_with_a_short_one_through_time() -> None:
    assert set(all_stand(chain(5), check).counts) == {"G-single"}
    verdict = all_stand(chain(20), check)
    assert set(verdict.counts) == {"G-single", "G-single-realtime"}
    assert [len(one.witness) for one in verdict.findings] == [2 * 21, 2 * 2]


def test_a_cycle_of_hundreds_is_not_told_sentence_by_sentence() -> None:
    verdict = check(chain(300), STRICT)
    long = next(one for one in verdict.findings if one.anomaly == "G-single")
    assert long.claim.startswith("301 transactions") and len(long.because) < 60
    assert "contradiction" in long.because[-1]
    assert long.cycle is not None
    assert (len(long.cycle.steps), long.cycle.left_out) == (STEPS_MAX, 301 - STEPS_MAX)
    assert long.cycle.ring[11:15] == (11, 12, None, 13), "what is left out is in the middle"
    assert len(long.witness) == 2 * 301, "the witness has them all"


def test_a_long_cycle_that_begins_late_is_witnessed_by_its_own_operations() -> None:
    idle = [t(0, 1, at, a(900 + at, 1)) for at in range(9)]
    later = [
        Op(op.index, op.time + 10**10, op.type, int(op.process) + 100, op.f, op.value)
        for op in chain(50)
    ]
    told = history(*idle, later)
    long = next(one for one in check(told, STRICT).findings if one.anomaly == "G-single")
    assert min(long.witness) >= 18 and long.cycle is not None
    assert {at for one in long.cycle.transactions for at in one.events} <= set(long.witness)


def test_one_cause_is_one_finding() -> None:
    """A transaction that missed one write missed it against all that follow from it."""
    told: list[list[Op]] = [t(0, 9, 0, a(1, 1), a(2, 1)), t(0, 9, 1, r(1, 1), r(2))]
    told += [t(10, 11, at, r(2, *range(1, at)), a(2, at)) for at in range(2, 8)]
    assert dict(check(history(*told), STRICT).counts) == {"G-single": 1}
