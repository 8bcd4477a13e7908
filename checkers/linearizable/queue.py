"""A queue is linearizable: what was put in comes out once, and first in, first out.

Reads `enqueue` and `dequeue` (null for an empty queue), with values or `[key, value]`;
`-o model=unordered` lets values come out in any order.

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*. A dequeue in doubt may have taken any value.
Cost: see `search`.
Source: Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from checkers import linearizable
from checkers.linearizable.models import Fifo, Unordered
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("nonlinearizable",)


def check(history: History, contract: Contract) -> Verdict:
    """Search for an order of each queue."""
    unordered = contract.promises.get("model") == "unordered"
    model = Unordered() if unordered else Fifo()
    return linearizable.judge(history, model, budget=linearizable.budget(contract))
