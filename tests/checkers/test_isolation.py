"""Databases of known isolation, and one flaw at a time: what each shows, and that nothing else is.

Names are without `-process` and `-realtime`: which order a flaw contradicts depends on what was
read.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from checkers import list_append, rw_register
from checkers.list_append_versions import Versions
from checkers.rw_register_versions import Registers
from harness import consistency
from harness.checker import Check
from harness.history import History
from harness.op import Op
from harness.timeline import render
from harness.verdict import Outcome
from tests.checkers import by_hand, stores
from tests.checkers.txns import Database, events, one_by_one, txn
from tests.checkers.witnesses import STRICT

HISTORIES = 200
"""Of each flaw, of lists and of registers."""

CYCLES = frozenset({"G-single", "G-nonadjacent", "G2-item"})


@dataclass(frozen=True)
class Shows:
    """What a flaw shows sooner or later, and what it may show besides; by kind of object."""

    lists: frozenset[str]
    registers: frozenset[str]
    besides: frozenset[str] = frozenset()


def shows(both: str = "", lists: str = "", registers: str = "", besides: str = "") -> Shows:
    common = frozenset(both.split())
    more = frozenset(besides.split())
    return Shows(common | set(lists.split()), common | set(registers.split()), more)


FLAWS: dict[type[Database], Shows] = {
    stores.DirtyRead: shows(
        "G1a G1b G-single", lists="incompatible-order", besides="G1c internal G2-item dirty-update"
    ),
    stores.LostUpdate: shows(
        "G-single lost-update internal", registers="G2-item", besides="G2-item G-nonadjacent"
    ),
    stores.StaleSnapshot: shows("G-single", besides="G2-item G-nonadjacent"),
    stores.FracturedRead: shows("G-single internal", besides="G2-item G-nonadjacent"),
    stores.AbortedWrite: shows("G1a", lists="dirty-update"),
    stores.Forgetful: shows(
        "G-single lost-update G2-item",
        lists="G0 incompatible-order",
        besides="G1c G-nonadjacent internal",
    ),
    stores.OwnWritesUnseen: shows("internal"),
    stores.Torn: shows("G-single", besides="internal G2-item G-nonadjacent"),
    stores.Twice: shows(lists="duplicate-elements", besides="internal"),
    stores.Shuffled: shows(
        lists="incompatible-order G0 G1b internal", besides="G1c G-single G-nonadjacent G2-item"
    ),
    stores.Invented: shows("phantom", lists="incompatible-order", besides="internal"),
}
OF_LISTS = (stores.Twice, stores.Shuffled)
KINDS = [
    pytest.param(flaw, registers, id=f"{flaw.__name__}-{'wr' if registers else 'append'}")
    for flaw in FLAWS
    for registers in (False, True)
    if not (registers and flaw in OF_LISTS)
]


def told(make: type[Database], seed: int, registers: bool, info: float = 0.1) -> list[Op]:
    rng = random.Random(f"{make.__name__}/{seed}")
    return events(rng, "", 12, keys=2, processes=4, info=info, registers=registers, make=make)


def found(ops: list[Op], registers: bool) -> set[str]:
    history = History.of(ops)
    if registers:
        return set(rw_register.detected(Registers(history)))
    return set(list_append.detected(Versions(history)))


def plain(names: set[str]) -> set[str]:
    return {name.removesuffix("-process").removesuffix("-realtime") for name in names}


@pytest.mark.parametrize(("flaw", "registers"), KINDS)
def test_a_flaw_shows_what_it_breaks_and_nothing_else(
    flaw: type[Database], registers: bool
) -> None:
    expected = FLAWS[flaw]
    must = expected.registers if registers else expected.lists
    seen: Counter[str] = Counter()
    for seed in range(HISTORIES):
        ops = told(flaw, seed, registers)
        names = plain(found(ops, registers))
        extra = names - must - expected.besides
        assert not extra, f"seed {seed}: {extra}\n{render(History.of(ops))}"
        seen.update(names)
    assert must <= set(seen), seen


@pytest.mark.parametrize("registers", [False, True], ids=["append", "wr"])
def test_a_database_without_a_flaw_is_silent(registers: bool) -> None:
    for seed in range(HISTORIES):
        ops = told(stores.Locking, seed, registers)
        assert not found(ops, registers), render(History.of(ops))


# A transaction of unknown outcome that was read is taken for one that took place; where it was
# undone all the same, read uncommitted breaks that assumption, so all outcomes are known there.
WEAK = [
    (stores.Uncommitted, "read-uncommitted", 0.0, {"G1a", "G1b", "G1c", "G-single", "internal"}),
    (stores.Sites, "parallel-snapshot-isolation", 0.1, {"G-nonadjacent", "G2-item"}),
]


@pytest.mark.parametrize("registers", [False, True], ids=["append", "wr"])
@pytest.mark.parametrize(("make", "model", "info", "must"), WEAK, ids=lambda one: str(one)[:40])
def test_a_weak_database_shows_what_its_model_allows(
    make: type[Database], model: str, info: float, must: set[str], registers: bool
) -> None:
    seen: set[str] = set()
    for seed in range(2 * HISTORIES):
        ops = told(make, seed, registers, info)
        names = found(ops, registers)
        forbidden = names & consistency.forbidden(model)
        assert not forbidden, f"seed {seed}: {forbidden}\n{render(History.of(ops))}"
        seen |= names
    assert must <= seen
    assert CYCLES & seen


@pytest.mark.parametrize(
    ("check", "mops"),
    [
        (list_append.check, [[["append", 1, 1]], [["r", 2, []]]]),
        (rw_register.check, [[["w", 1, 1]], [["r", 2, None]]]),
    ],
    ids=["append", "wr"],
)
def test_where_nothing_depends_on_anything_nothing_was_tested(check: Check, mops: Any) -> None:
    history = one_by_one(*(txn(*some) for some in mops))
    verdict = check(history, STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "nothing was tested" in verdict.doubts[0]


@pytest.mark.parametrize("name", sorted(by_hand.SUBJECTS))
def test_a_checker_agrees_with_all_orders_and_is_monotone(name: str) -> None:
    outcomes = by_hand.tried(name, histories=60, operations=6, seed=1_000_000)
    assert {"valid", "invalid"} <= set(outcomes)
