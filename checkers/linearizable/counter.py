"""A counter is linearizable: a read returns the sum of what has been added by then.

Reads `add` (a number of any sign), `increment` and `decrement` (a number, or null for 1) and
`read`, with numbers or `[key, number]`.

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*.
Cost: see `search`.
Source: Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from checkers import linearizable
from checkers.linearizable.models import Counter
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("nonlinearizable",)


def check(history: History, contract: Contract) -> Verdict:
    """Search for an order of each counter."""
    return linearizable.judge(history, Counter(), budget=linearizable.budget(contract))
