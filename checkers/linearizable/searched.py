"""Objects that the search alone judges: locks, several registers at once.

Reads what their models read (see `models`).

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: whether the holder of a lock is the one who releases it; nothing else within the search's
    budget (`-o configurations=N`), and beyond it the verdict is *unknown*.
Cost: see `search`.
Source: the models of Knossos.
"""

from __future__ import annotations

from checkers import linearizable
from checkers.linearizable.models import Lock, MultiRegister
from checkers.strangers import knows
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("nonlinearizable",)


@knows(Lock.fs)
def check_lock(history: History, contract: Contract) -> Verdict:
    """A lock is linearizable: it is held by one at a time, whenever it is acquired."""
    return linearizable.judge(history, Lock(), budget=linearizable.budget(contract))


@knows(MultiRegister.fs)
def check_registers(history: History, contract: Contract) -> Verdict:
    """Registers that one operation reads and writes together are linearizable."""
    return linearizable.judge(history, MultiRegister(), budget=linearizable.budget(contract))
