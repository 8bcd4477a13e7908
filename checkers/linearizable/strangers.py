"""Operations that an object does not have: nobody knows what they did to it.

A history of a register may have operations of other names, such as an `incr` that this project has
no model of. What came after one of them proves nothing, for or against: a finding stands only if
its witness ended before the first of them began. The rest of the verdict is *unknown*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable.models import Model
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, Kind
from harness.verdict import Finding, Outcome, Verdict

Check = Callable[[History, Contract], Verdict]


def knows(model: type[Model]) -> Callable[[Check], Check]:
    """A check that judges objects of this kind, and says so where a history has other operations.

    Cost: a pass over the names of the operations.
    """

    def of(check: Check) -> Check:
        @wraps(check)
        def judged(history: History, contract: Contract) -> Verdict:
            verdict, strange = check(history, contract), strangers(history, model)
            return verdict if not len(strange) else _weakened(verdict, history, model, strange)

        return judged

    return of


def strangers(history: History, model: type[Model]) -> NDArray[np.int64]:
    """Positions of the clients' invocations of what the object does not have, which failed not."""
    names = [name for name in history.fs if name not in model.fs]
    at = history.select(f=names, type=Kind.INVOKE) if names else np.zeros(0, np.int64)
    at = at[history.process[at] >= 0]
    pair = history.pair[at]
    chosen: NDArray[np.int64] = at[(pair < 0) | (history.type[pair] != FAIL)]
    return chosen


def _weakened(
    verdict: Verdict, history: History, model: type[Model], strange: NDArray[np.int64]
) -> Verdict:
    first = int(strange[0])
    certain = [finding for finding in verdict.findings if finding.witness[-1] < first]
    found = Counter(finding.anomaly for finding in certain)
    unsure = [finding for finding in verdict.findings if finding.witness[-1] >= first]
    return replace(
        verdict,
        outcome=Outcome.INVALID if certain else Outcome.UNKNOWN,
        findings=tuple(certain),
        counts=dict(found),
        doubts=(*verdict.doubts, _doubt(history, model, strange), *map(_unproved, unsure[:1])),
        windows={},
    )


def _doubt(history: History, model: type[Model], strange: NDArray[np.int64]) -> str:
    names = sorted({history.fs[int(code)] for code in np.unique(history.f[strange])})
    shown = ", ".join(names[:SHOWN_MAX]) + (", …" if len(names) > SHOWN_MAX else "")
    return (
        f"{len(strange)} operations are none of this object's ({', '.join(sorted(model.fs))}) and "
        f"were left out: {shown}; what they did to it is not known, from op {int(strange[0])} on"
    )


SHOWN_MAX = 8


def _unproved(finding: Finding) -> str:
    return f"were they harmless, this would be {finding.anomaly}: {finding.claim}"
