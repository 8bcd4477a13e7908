"""One event of a history: somebody asked for something, or got an answer.

On disk an event is one JSON object a line, as Jepsen writes them:

    {"index":0,"time":123,"type":"invoke","process":3,"f":"send","value":[["send",0,17]]}
    {"index":1,"time":456,"type":"ok","process":3,"f":"send","value":[["send",0,[42,17]]],"node":"n2"}

Source: Jepsen's operation maps (jepsen-io/history, README).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

NEMESIS: Final = "nemesis"


class Kind(StrEnum):
    """What an event says about the effect of the operation it belongs to."""

    INVOKE = "invoke"  # asked; no effect is known yet
    OK = "ok"  # took effect between invocation and now
    FAIL = "fail"  # never took effect and never will
    INFO = "info"  # nobody knows; it may take effect at any later time


KINDS: Final = tuple(Kind)
"""Kinds by their column code."""

INVOKE, OK, FAIL, INFO = range(len(KINDS))
"""Their codes in the column `type` of a history."""

Process = int | str
"""A client's number, or the name of somebody else: "nemesis" as a rule."""


class Op(msgspec.Struct, frozen=True, omit_defaults=True, gc=True):
    """An invocation or a completion.

    Attributes:
        index: place in the history, dense from 0.
        time: nanoseconds since the run began, on the harness's clock
            (virtual in `sim`, monotonic in `local` and `docker`).
        type: what this event says of the operation. Both events of a nemesis operation are INFO.
        process: who asked. A client process whose operation ends in INFO is retired, so each
            process has at most one operation in flight.
        f: what was asked, e.g. "send".
        value: the argument in an invocation, the result in an OK. JSON only.
        error: [name, text] of what went wrong, in a FAIL or an INFO.
        node: the node whose client performed the operation.
        extra: further facts of this event, e.g. the effect of a fault; never needed to pair it.
    """

    index: int
    time: int
    type: Kind
    process: Process
    f: str
    value: Any = None
    error: tuple[str, str] | None = None
    node: str | None = None
    extra: dict[str, Any] | None = None
