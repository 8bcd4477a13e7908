"""Checkers, and how several of them judge a history under a contract.

A checker is a plain function of a history. It reports every anomaly that it sees; the contract
sorts them afterwards into what is forbidden and what is allowed (`harness.guarantees`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Outcome, Verdict

Check = Callable[[History, Contract], Verdict]


def judge(history: History, checks: Mapping[str, Check], contract: Contract) -> Verdict:
    """Run each check, sort its findings under the contract, and merge.

    A check that crashes is UNKNOWN with its traceback, never a pass and never an alarm.
    """
    parts = {}
    for name, check in checks.items():
        try:
            parts[name] = contract.sort(check(history, contract), history)
        except Exception:
            doubt = f"the checker crashed; this is a bug of ours\n{traceback.format_exc()}"
            parts[name] = Verdict(Outcome.UNKNOWN, doubts=(doubt,))
    return Verdict.merge(parts)
