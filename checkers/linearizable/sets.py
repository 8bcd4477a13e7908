"""A set is linearizable: a read returns what has been added by then, and nothing else.

Reads `add` and `read`, with values, or `[key, value]` and `[key, [value, …]]`.

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: an element that a read names twice; nothing else within the search's budget
    (`-o configurations=N`), and beyond it the verdict is *unknown*.
Cost: see `search`.
Source: Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from checkers import linearizable
from checkers.linearizable.models import Set
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("nonlinearizable",)


def check(history: History, contract: Contract) -> Verdict:
    """Search for an order of each set."""
    return linearizable.judge(history, Set(), budget=linearizable.budget(contract))
