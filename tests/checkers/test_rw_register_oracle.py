"""The checker of registers finds nothing where some order of the transactions explains them."""

from __future__ import annotations

import copy
import random

import pytest

from checkers.rw_register import detected
from checkers.rw_register_versions import LINEARIZABLE, SEQUENTIAL, WFR, Registers
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import render
from tests.checkers.txns import ISOLATIONS, events, serial

COUNT = 500
"""Histories of each isolation, as they are and with a lie: 5,000 together."""


def spoiled(rng: random.Random, ops: list[Op]) -> list[Op]:
    """With a read of another value of the key, or a failure that was none."""
    ops = list(ops)
    at = rng.choice([at for at, op in enumerate(ops) if op.type is not Kind.INVOKE])
    op = ops[at]
    if op.type is not Kind.OK:
        return ops
    value = copy.deepcopy(op.value)
    mop = rng.choice(value)
    kind = op.type
    if mop[0] == "r":
        mop[2] = rng.choice([None, 1, 2, 3])
    elif rng.random() < 0.3:
        kind = Kind.FAIL
    ops[at] = Op(op.index, op.time, kind, op.process, op.f, value)
    return ops


@pytest.mark.parametrize("lies", [False, True], ids=["as-it-was", "with-a-lie"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_it_finds_nothing_where_an_order_explains_the_history(isolation: str, lies: bool) -> None:
    missed = bad = 0
    for seed in range(COUNT):
        rng = random.Random(f"{isolation}/{lies}/{seed}")
        count = rng.randint(2, 6)
        ops = events(rng, isolation, count, keys=rng.randint(1, 3), info=0.15, registers=True)
        if lies:
            ops = spoiled(rng, ops)
        history = History.of(ops)
        rules = frozenset({WFR, SEQUENTIAL, LINEARIZABLE})
        strict = set(detected(Registers(history, rules=rules)))
        session = set(detected(Registers(history, rules=frozenset({WFR, SEQUENTIAL}))))
        plain = set(detected(Registers(history)))
        shown = f"{strict} {session} {plain}\n{render(history)}"
        if serial(ops):
            assert not strict, shown
            assert not session, shown
            assert not plain, shown
        else:
            bad += 1
            missed += not strict
        if serial(ops, "process"):
            assert all(name.endswith("-realtime") for name in session | plain), shown
        if serial(ops, ""):
            assert all(name.endswith(("-process", "-realtime")) for name in plain), shown
    assert missed <= bad / 10, f"{missed} of {bad} were missed"
