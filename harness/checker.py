"""Checkers, and how several of them judge a history under a contract.

A checker is a plain function of a history. It reports every anomaly that it sees; the contract
sorts them afterwards into what is forbidden and what is allowed (`harness.guarantees`).

`judge` does it in this process, for whoever judges thousands of tiny histories and has a process of
its own already. `harness.jury` gives each checker a process, for runs and histories of any size.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Outcome, Verdict

Check = Callable[[History, Contract], Verdict]

Judge = Callable[[History, Mapping[str, Check], Contract], Verdict]
"""Runs each check, sorts its findings under the contract, and merges. A check that crashes is
UNKNOWN with its traceback, never a pass and never an alarm."""


def judge(history: History, checks: Mapping[str, Check], contract: Contract) -> Verdict:
    """A `Judge` in this process."""
    parts = {}
    for name, check in checks.items():
        try:
            parts[name] = hear(check, history, contract)
        except (Exception, SystemExit):
            parts[name] = crashed(traceback.format_exc())
    return Verdict.merge(parts)


def hear(check: Check, history: History, contract: Contract) -> Verdict:
    """What one check says, sorted under the contract."""
    return contract.sort(check(history, contract), history)


def crashed(told: str) -> Verdict:
    """Of a check that raised, with its traceback."""
    doubt = f"the checker crashed; this is a bug of ours\n{told}"
    return Verdict(Outcome.UNKNOWN, doubts=(doubt,))
