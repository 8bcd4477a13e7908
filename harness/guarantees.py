"""Contracts: which anomalies a run's options forbid and which are legal, and why. (Interface.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.history import History
from harness.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Contract:
    """What the system promised in this run. `mode` is "derived" or "strict"."""

    mode: str
    promises: Mapping[str, Any]

    def sort(self, verdict: Verdict, history: History) -> Verdict:
        """Move the findings that are legal here from `findings` to `allowed`, with the reason."""
        raise NotImplementedError
