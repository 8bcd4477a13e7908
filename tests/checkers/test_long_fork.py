"""Long forks: against the definition, by stores, and by timelines."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from checkers import long_fork
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.outcomes import forgotten
from tests.checkers.txns import concurrent, txn
from tests.checkers.witnesses import STRICT, all_stand

HISTORIES = 800


def wrote(key: Any, value: Any = 1, end: str = "|") -> str:
    return txn(["w", key, value], end=end)


def read(*told: tuple[Any, Any], end: str = "|") -> str:
    return txn(*[["r", key, value] for key, value in told], end=end)


# -- timelines -----------------------------------------------------------------------------------

X, Y = wrote("x"), wrote("y")
X_ONLY, Y_ONLY, BOTH = (read(("x", a), ("y", b)) for a, b in ((1, None), (None, 1), (1, 1)))


@pytest.mark.parametrize(
    ("bars", "forks"),
    [
        ([X, Y, X_ONLY, Y_ONLY], 1),
        ([X, Y, X_ONLY, BOTH], 0),
        ([X, Y, X_ONLY, X_ONLY], 0),
        ([wrote("x", end="?"), wrote("y", end=">"), X_ONLY, Y_ONLY], 1),
        ([X, Y, X_ONLY, read(("x", None), ("y", 1), end="?")], 0),
        ([X, Y, X_ONLY, read(("x", None), ("y", 1), end="x")], 0),
        ([X, Y, read(("x", 1), ("y", None), ("z", None)), read(("y", 1), ("x", None))], 1),
        ([X, Y, read(("y", None), ("x", 1)), read(("y", 1))], 0),
        ([X, Y, wrote("z"), X_ONLY, read(("x", None), ("y", 1), ("z", 1))], 1),
        ([wrote("x", end="x"), wrote("x", 2), Y, read(("x", 2), ("y", None)), Y_ONLY], 1),
    ],
)
def test_timelines(bars: list[str], forks: int) -> None:
    verdict = all_stand(concurrent(*bars), long_fork.check)
    assert verdict.counts == ({"long-fork": forks} if forks else {})
    assert forks or verdict.outcome is Outcome.VALID, verdict.doubts


def test_a_finding_is_an_argument() -> None:
    (finding,) = all_stand(concurrent(X, Y, X_ONLY, Y_ONLY), long_fork.check).findings
    assert finding.claim == ('readers do not agree which of key "x" and key "y" was written first')
    assert finding.because == (
        'c0\'s txn [["w", "x", 1]] (op 4) wrote key "x", and '
        'c1\'s txn [["w", "y", 1]] (op 5) key "y"',
        'c2\'s txn [["r", "x", null], ["r", "y", null]] -> [["r", "x", 1], ["r", "y", null]] '
        '(op 6) has key "x" and lacks key "y", so that key "x" was written first',
        'however, c3\'s txn [["r", "x", null], ["r", "y", null]] -> [["r", "x", null], '
        '["r", "y", 1]] (op 7) has key "y" and lacks key "x", so that key "y" was: '
        "a contradiction",
    )


def test_one_transaction_may_write_two_keys_and_read_others() -> None:
    both = txn(["w", "x", 1], ["w", "y", 1])
    assert all_stand(concurrent(both, X_ONLY, Y_ONLY), long_fork.check).counts == {"long-fork": 1}
    # What it writes itself it has, whoever wrote first.
    own = txn(["w", "x", 1], ["r", "x", 1], ["r", "y", None])
    assert not long_fork.check(concurrent(own, Y, Y_ONLY), STRICT).counts
    other = txn(["w", "z", 1], ["r", "x", 1], ["r", "y", None])
    verdict = all_stand(concurrent(other, X, Y, Y_ONLY), long_fork.check)
    assert verdict.counts == {"long-fork": 1}


# -- what is no history of this kind ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("bars", "doubt"),
    [
        ([X, wrote("x", 2), Y, X_ONLY, Y_ONLY], 'written more than once, or null, such as key "x"'),
        ([wrote("x", None), Y, read(("x", None), ("y", 1))], "written more than once, or null"),
        ([X, X_ONLY, Y_ONLY], "1 values were read that nobody wrote"),
        ([X, Y, X_ONLY, read(("x", 7), ("y", None))], "1 values were read that nobody wrote"),
        ([wrote("x", end="x"), Y, X_ONLY, Y_ONLY], "1 values were read that nobody wrote"),
        ([X, Y, Y_ONLY, read(("x", 1), ("y", None), ("x", None))], "read twice, differently"),
        ([X, Y, BOTH, read(("x", None), ("y", None))], "nothing was tested"),
        ([X, Y, X_ONLY, txn(["r", "x", [1]])], "1 micro-operations have no single value"),
        ([X, Y, X_ONLY, txn(["append", "x", 1])], "not understood"),
        (["|-- read 7 --|"], "nobody did a transaction"),
        (['|-- txn [["r"],["w"]] --|'], "no single value"),
    ],
)
def test_what_cannot_be_judged_is_a_doubt(bars: list[str], doubt: str) -> None:
    verdict = long_fork.check(concurrent(*bars), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN
    assert any(doubt in said for said in verdict.doubts), verdict.doubts


def test_an_empty_history_is_in_doubt() -> None:
    assert long_fork.check(History.of([]), STRICT).outcome is Outcome.UNKNOWN


def test_one_key_in_doubt_hides_no_fork_of_others() -> None:
    bars = [X, Y, X_ONLY, Y_ONLY, wrote("z", 1), wrote("z", 2), read(("z", 1), ("x", None))]
    assert all_stand(concurrent(*bars), long_fork.check).counts == {"long-fork": 1}


def test_beyond_the_limit_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_fork, "PAIRS_MAX", 1)
    verdict = long_fork.check(concurrent(X, Y, X_ONLY, Y_ONLY), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "more than this checker" in verdict.doubts[-1]


# -- the definition ------------------------------------------------------------------------------


def random_history(rng: random.Random, operations: int, keys: int) -> list[Op]:
    """Writes of most keys, and reads of some."""
    ops: list[Op] = []
    written = [key for key in range(keys) if rng.random() < 0.95]
    for process in range(len(written) + operations):
        if process < len(written):
            asked = told = [["w", written[process], 1]]
        else:
            some = rng.sample(range(keys), rng.randint(2, keys))
            asked = [["r", key, None] for key in some]
            told = [["r", key, rng.choice([None, 1]) if key in written else None] for key in some]
        kind = rng.choice([Kind.OK] * 9 + [Kind.INFO, Kind.FAIL, None])
        ops.append(Op(0, 0, Kind.INVOKE, process, "txn", asked))
        if kind is not None:
            ops.append(Op(0, 0, kind, process, "txn", told if kind is Kind.OK else asked))
    return ops


def by_definition(ops: list[Op]) -> int:
    """How many pairs of keys there are that two reads saw in opposite orders: all are tried."""
    failed = {op.process for op in ops if op.type is Kind.FAIL}
    written = {
        key
        for op in ops
        if op.type is Kind.INVOKE and op.process not in failed
        for f, key, _ in op.value
        if f == "w"
    }
    reads = [
        {key: value for _, key, value in op.value if key in written}
        for op in ops
        if op.type is Kind.OK and op.value[0][0] == "r"
    ]

    def seen(one: int, other: int) -> bool:
        return any(one in r and other in r and r[one] and not r[other] for r in reads)

    return sum(seen(x, y) and seen(y, x) for x, y in combinations(sorted(written), 2))


def test_the_checker_agrees_with_the_definition() -> None:
    rng, found = random.Random(1), set[int]()
    for _ in range(HISTORIES):
        ops = random_history(rng, rng.randint(1, 6), rng.choice([2, 2, 3, 4]))
        expected = by_definition(ops)
        counts = long_fork.check(History.of(ops), STRICT).counts
        assert counts == ({"long-fork": expected} if expected else {})
        found.add(expected)
    assert found >= {0, 1, 2, 3}


def test_every_finding_stands_on_its_witness() -> None:
    rng = random.Random(2)
    histories = [History.of(random_history(rng, 6, 3)) for _ in range(60)]
    assert sum(len(all_stand(one, long_fork.check).findings) for one in histories) > 25


def test_to_know_more_makes_nothing_valid() -> None:
    rng, invalid = random.Random(3), 0
    for _ in range(60):
        ops = random_history(rng, 6, 2)
        whole = long_fork.check(History.of(ops), STRICT).outcome
        for less in forgotten(History.of(ops)):
            before = long_fork.check(History.of(less), STRICT).outcome
            assert before is not Outcome.INVALID or whole is not Outcome.VALID
            invalid += before is Outcome.INVALID
    assert invalid > 40


# -- stores ----------------------------------------------------------------------------------------


def store(rng: random.Random, groups: int, size: int, sites: int) -> tuple[list[Op], int]:
    """Groups of keys, at sites each of which takes over the others' writes later and in its own
    order; one site is a database that has no forks. How many pairs of keys were read both ways."""
    ops: list[Op] = []

    def tell(process: int, f: str, asked: list[Any], told: list[Any]) -> None:
        ops.append(Op(len(ops), len(ops), Kind.INVOKE, process, f, asked))
        ops.append(Op(len(ops), len(ops), Kind.OK, process, f, told))

    forks = 0
    for group in range(groups):
        keys = list(range(group * size, group * size + size))
        orders = [rng.sample(keys, size) for _ in range(sites)]
        for process, key in enumerate(keys):
            tell(process, "write", [["w", key, 1]], [["w", key, 1]])
        seen: set[tuple[int, int]] = set()
        for order in orders:
            for _ in range(size):
                has = set(order[: rng.randint(0, size)])
                asked = [["r", key, None] for key in rng.sample(keys, size)]
                told = [["r", key, 1 if key in has else None] for _, key, _ in asked]
                tell(rng.randrange(5), "read", asked, told)
                seen |= {(x, y) for x in has for y in keys if y not in has}
        forks += sum((y, x) in seen for x, y in seen) // 2
    return ops, forks


def test_a_database_with_one_order_has_no_fork_and_one_with_two_has_many() -> None:
    rng, found = random.Random(4), 0
    for _ in range(20):
        for sites in (1, 2):
            ops, forks = store(rng, groups=3, size=rng.randint(2, 8), sites=sites)
            verdict = long_fork.check(History.of(ops), STRICT)
            assert verdict.counts == ({"long-fork": forks} if forks else {})
            assert forks == 0 or sites == 2
            found += forks
    assert found > 200


def test_one_planted_fork_is_found_in_a_long_legal_history() -> None:
    rng = random.Random(5)
    for _ in range(60):
        ops, _ = store(rng, groups=20, size=3, sites=1)
        reads = [at for at, op in enumerate(ops) if op.type is Kind.OK and _is_partial(op)]
        if not reads:
            continue
        op = ops[at := rng.choice(reads)]
        # Somebody read the same keys and saw just what this one lacks.
        told = [["r", key, None if value else 1] for _, key, value in op.value]
        ops.append(Op(len(ops), len(ops), Kind.INVOKE, 9, "read", ops[at - 1].value))
        ops.append(Op(len(ops), len(ops), Kind.OK, 9, "read", told))
        has = sum(value is not None for _, _, value in op.value)
        counts = long_fork.check(History.of(ops), STRICT).counts
        assert counts["long-fork"] >= has * (len(told) - has) > 0


def _is_partial(op: Op) -> bool:
    told = [value for f, _, value in op.value if f == "r"]
    return None in told and 1 in told


def test_many_reads_that_are_alike_cost_what_one_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_fork, "PAIRS_MAX", 2)
    assert long_fork.check(concurrent(X, Y, *[X_ONLY] * 9, Y_ONLY), STRICT).counts


def test_early_and_late_reads_are_counted() -> None:
    none = read(("x", None), ("y", None))
    stats = long_fork.check(concurrent(X, Y, none, none, X_ONLY, BOTH), STRICT).stats
    assert stats == {"keys": 2, "reads": 4, "early-reads": 2, "late-reads": 1}


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    lines = []
    for process, f, asked, told in (
        (0, "write", "[[:w 3 1]]", "[[:w 3 1]]"),
        (1, "write", "[[:w 4 1]]", "[[:w 4 1]]"),
        (2, "read", "[[:r 3 nil] [:r 4 nil]]", "[[:r 3 1] [:r 4 nil]]"),
        (3, "read", "[[:r 4 nil] [:r 3 nil]]", "[[:r 4 1] [:r 3 nil]]"),
    ):
        shared = f":f :{f}, :process {process}, :time {process}"
        lines.append(f"{{:type :invoke, {shared}, :value {asked}}}")
        lines.append(f"{{:type :ok, {shared}, :value {told}}}")
    path.write_text("\n".join(lines))
    assert all_stand(History.load(path), long_fork.check).counts == {"long-fork": 1}


def test_it_is_read_from_timelines_too() -> None:
    told = History.of(parse('c0: |- write [["w",1,1]] --|'))
    assert long_fork.check(told, STRICT).outcome is Outcome.UNKNOWN
