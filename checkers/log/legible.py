"""Whether a history says what it says in words that the checker understands.

What it cannot read it cannot judge: a verdict that left it out would be about another history.
"""

from __future__ import annotations

import json

import numpy as np

from checkers.log.codes import Ints
from checkers.log.tables import FS
from harness.columns import BARE, MAP, MICRO, NONE, OFFSET, VALUE, is_object
from harness.history import History
from harness.op import OK

EXPECTED = (
    '["send", key, value], ["send", key, [offset, value]] and '
    '["poll", {key: [[offset, value], …]}] in a list, offsets being numbers or null'
)
SHOWN_MAX = 120
"""Characters of a value in a doubt."""


def doubts(history: History) -> list[str]:
    """What was not understood, by the first event that has it; or that there was nothing.

    Cost: linear; some hundredths of a second for 1,000,000 operations.
    """
    named = np.isin(history.f, [history.code(f) for f in FS])
    told = np.flatnonzero(named & (history.process >= 0))
    if not len(told):
        return [f"nobody sent or polled anything: there is no {', '.join(FS)} of a client"]
    bad = _misread(history, told)
    if not len(bad):
        return []
    first = int(bad[0])
    op = history[first]
    said = json.dumps(op.value, ensure_ascii=False)
    said = said if len(said) <= SHOWN_MAX else said[:SHOWN_MAX] + "…"
    return [
        f"{len(bad)} events say something that is not understood and was left out; the first is "
        f"op {first}, {op.type.name.lower()} {op.f} {said}: expected {EXPECTED}"
    ]


def _misread(history: History, told: Ints) -> Ints:
    """Those of the events `told` that are not understood, ascending.

    A null says nothing, and so may all but an operation that took place: that was for sure sent or
    polled, and what it was is not known.
    """
    values, micro = history.values, history.values.micro
    done = history.type == OK
    bad = values.shape != MICRO
    bad &= ~((values.shape == NONE) & ~done)
    position = values.positions(MICRO)[micro.row_of_mop()]
    form = micro.mop_form
    sends = (micro.mop_f == micro.code("send")) & ((form == VALUE) | (form == OFFSET))
    empty = (form == BARE) & ~done[position]
    polls = (micro.mop_f == micro.code("poll")) & ((form == MAP) | empty)
    bad[position[~(sends | polls)]] = True
    odd = np.flatnonzero(is_object(micro.entry_offset))
    if len(odd):
        bad[position[micro.mop_of_entry()[odd]]] = True
    misread: Ints = told[bad[told]]
    return misread
