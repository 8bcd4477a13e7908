"""A stack is linearizable: what was pushed is popped once, last in, first out.

Reads `push` and `pop` (null for an empty stack), with values or `[key, value]`.

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*. A pop in doubt may have taken any value.
Cost: see `search`.
Source: Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from checkers import linearizable
from checkers.linearizable.models import Stack
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("nonlinearizable",)


def check(history: History, contract: Contract) -> Verdict:
    """Search for an order of each stack."""
    return linearizable.judge(history, Stack(), budget=linearizable.budget(contract))
