"""Operations that a checker does not know: nobody knows what they did to what it judges.

A history of a register may have operations of other names, such as an `incr` that this project has
no model of. What came after one of them proves nothing, for or against: a finding stands only if
its witness ended before the first of them began. The rest of the verdict is *unknown*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import wraps
from typing import Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, Kind
from harness.verdict import Finding, Outcome, Verdict

Options = ParamSpec("Options")
Check = Callable[Concatenate[History, Contract, Options], Verdict]


def knows(fs: Collection[str]) -> Callable[[Check[Options]], Check[Options]]:
    """A check that judges by these operations, and says so where a history has others.

    Cost: a pass over the names of the operations.
    """

    def of(check: Check[Options]) -> Check[Options]:
        @wraps(check)
        def judged(
            history: History, contract: Contract, /, *more: Options.args, **named: Options.kwargs
        ) -> Verdict:
            verdict, strange = check(history, contract, *more, **named), strangers(history, fs)
            return verdict if not len(strange) else _weakened(verdict, history, fs, strange)

        return judged

    return of


def strangers(history: History, fs: Collection[str]) -> NDArray[np.int64]:
    """Positions of the clients' invocations of other names, which failed not."""
    names = [name for name in history.fs if name not in fs]
    at = history.select(f=names, type=Kind.INVOKE) if names else np.zeros(0, np.int64)
    at = at[history.process[at] >= 0]
    pair = history.pair[at]
    chosen: NDArray[np.int64] = at[(pair < 0) | (history.type[pair] != FAIL)]
    return chosen


def _weakened(
    verdict: Verdict, history: History, fs: Collection[str], strange: NDArray[np.int64]
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
        doubts=(*verdict.doubts, _doubt(history, fs, strange), *map(_unproved, unsure[:1])),
        windows={},
    )


def _doubt(history: History, fs: Collection[str], strange: NDArray[np.int64]) -> str:
    names = sorted({history.fs[int(code)] for code in np.unique(history.f[strange])})
    shown = ", ".join(names[:SHOWN_MAX]) + (", …" if len(names) > SHOWN_MAX else "")
    return (
        f"{len(strange)} operations are none of ({', '.join(sorted(fs))}) and "
        f"were left out: {shown}; what they did is not known, from op {int(strange[0])} on"
    )


SHOWN_MAX = 8


def _unproved(finding: Finding) -> str:
    return f"were they harmless, this would be {finding.anomaly}: {finding.claim}"
