"""Any checker, key by key: the history of each key is judged by itself.

Reads what the checker of that name reads, in values `[key, value]` (see `harness.keyed`): the
checker sees the operations of one key, without it, and all events that have no key, as those of the
nemesis are. Findings tell the key, and speak of operations by their indices in the whole history.

Anomalies: those of the checker.

Some checkers judge all keys at once as it is, to the same end and faster: these are handed the
whole history where keys are integers and every operation has one.

Blind to: what the checker is blind to; what happens between keys. Of many doubts some are told. In
    sentences, `op N` within a value is taken for an operation's index, too.
Cost: the checker's, and about 1 µs an event and 0.2 ms a key. An event without a key is judged once
    a key: beyond 100,000,000 of these in all, clients' operations without a key are left out, and
    the verdict is in doubt.
Source: Jepsen's `jepsen.independent`. There an operation's events each go where their own value
    says, so that a crashed operation that told nothing is in every key's history, in none of them
    paired.
"""

from __future__ import annotations

import re
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.transactions import shown
from harness.cycle import Cycle
from harness.guarantees import Contract
from harness.history import History
from harness.keyed import Keyed
from harness.verdict import EXAMPLES_MAX, Finding, Outcome, Verdict
from harness.windows import Windows

Ints = NDArray[np.int64]
Check = Callable[[History, Contract], Verdict]

AT_ONCE = ("register", "queue", "set", "stack", "counter")
"""Checkers that judge each key by itself, all at once."""

OF_KEYS = ("adya",)
"""Checkers that are about keys: what they read is `[key, value]` and nothing else."""

KEYS_SHOWN_MAX = 20


def by_key(name: str, check: Check) -> Check:
    """The checker that judges each key by the one of this name."""
    return partial(_check, name, check)


def unnamed(history: History, contract: Contract) -> Verdict:
    """Any checker, key by key: `independent:NAME` judges each key by the checker NAME."""
    return Verdict.of(doubts=["say which checker judges each key, as in independent:register"])


def _check(name: str, check: Check, history: History, contract: Contract) -> Verdict:
    keyed = Keyed.of(history)
    if name in OF_KEYS or (name in AT_ONCE and _are_plain(keyed)):
        return check(history, contract).with_stats({"keys": len(keyed.keys)})
    parts = [_Judged(*each) for each in _verdicts(keyed, check, contract)]
    return _merged(parts).doubted(*_unclear(keyed))


def _are_plain(keyed: Keyed) -> bool:
    return keyed.are_all_keyed and all(type(key) is int for key in keyed.keys)


def _verdicts(
    keyed: Keyed, check: Check, contract: Contract
) -> Iterator[tuple[Any, Verdict, Ints]]:
    for key, history, index in keyed.parts():
        try:
            yield key, check(history, contract), index
        except MemoryError:
            raise
        except Exception:
            told = f"the checker crashed; this is a bug of ours\n{traceback.format_exc()}"
            yield key, Verdict(Outcome.UNKNOWN, doubts=(told,)), index


def _unclear(keyed: Keyed) -> Iterator[str]:
    if not keyed.keys:
        yield "no operation has a value [key, value]: there is nothing to judge key by key"
    if keyed.mixed:
        yield (
            f"{keyed.mixed} operations have completions of another key than they were asked for; "
            "they are taken for pending ones"
        )
    if keyed.left_out:
        yield (
            f"{keyed.left_out} operations have no key and so belong to all {len(keyed.keys)}, "
            "which is too many: they were left out"
        )


# -- one key -------------------------------------------------------------------------------------


class _Judged:
    """The verdict of one key, in terms of the whole history."""

    def __init__(self, key: Any, verdict: Verdict, index: Ints) -> None:
        self.key, self.verdict, self.index = key, verdict, index
        self.findings = [self._whole(finding) for finding in verdict.findings]
        self.allowed = [self._whole(finding) for finding in verdict.allowed]
        self.doubts = [self._said(doubt) for doubt in verdict.doubts]

    def _whole(self, finding: Finding) -> Finding:
        return replace(
            finding,
            claim=f"key {shown(self.key)}: {self._said(finding.claim)}",
            because=tuple(map(self._said, finding.because)),
            witness=self._events(finding.witness),
            key=self.key if finding.key is None else [self.key, finding.key],
            cycle=None if finding.cycle is None else self._cycle(finding.cycle),
        )

    def _cycle(self, cycle: Cycle) -> Cycle:
        return replace(
            cycle,
            transactions=tuple(
                replace(one, events=self._events(one.events)) for one in cycle.transactions
            ),
            steps=tuple(replace(step, why=self._said(step.why)) for step in cycle.steps),
        )

    def _events(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(self.index[at]) for at in positions)

    def _said(self, sentence: str) -> str:
        """The sentence, with the operations' indices in the whole history."""

        def index(match: re.Match[str]) -> str:
            at = int(match[1])
            return f"op {self.index[at]}" if at < len(self.index) else match[0]

        return _OP.sub(index, sentence)

    def windows(self, anomaly: str) -> Windows | None:
        """One of each case, if it is known of all of them."""
        if anomaly in self.verdict.windows:
            return self.verdict.windows[anomaly]
        found = [finding for finding in self.findings if finding.anomaly == anomaly]
        if self.verdict.anomalies()[anomaly] > len(found):
            return None
        return Windows.joined([f.window or Windows.of_span(f.span) for f in found])


_OP = re.compile(r"\bop (\d{1,18})\b")


# -- all keys ------------------------------------------------------------------------------------


def _merged(parts: list[_Judged]) -> Verdict:
    windows = dict(_windows(parts))
    verdict = Verdict.of(
        _some([finding for part in parts for finding in part.findings], windows),
        doubts=_doubts(parts),
        counts=_sum([part.verdict.anomalies() for part in parts]),
        stats=_stats(parts),
        windows=windows,
    )
    return replace(
        verdict,
        outcome=max([verdict.outcome, *(part.verdict.outcome for part in parts)]),
        allowed=tuple(finding for part in parts for finding in part.allowed),
        allowed_counts=_sum([part.verdict.legal() for part in parts]),
    )


def _sum(counts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for some in counts:
        for name, count in some.items():
            total[name] += count
    return dict(total)


def _windows(parts: list[_Judged]) -> Iterator[tuple[str, Windows]]:
    """Those of each anomaly of which every key knows all."""
    owners: dict[str, list[_Judged]] = defaultdict(list)
    for part in parts:
        for name in part.verdict.anomalies():
            owners[name].append(part)
    for name, some in owners.items():
        known = [part.windows(name) for part in some]
        if all(windows is not None for windows in known):
            yield name, Windows.joined([windows for windows in known if windows is not None])


def _some(findings: list[Finding], windows: Mapping[str, Windows]) -> Iterator[Finding]:
    """Enough of each anomaly. All are kept of one whose windows nobody knows: only what is kept can
    be told to be legal; and all that no contract may allow."""
    kept: dict[str, int] = defaultdict(int)
    for finding in findings:
        name = finding.anomaly
        if kept[name] < EXAMPLES_MAX or name not in windows or not finding.excusable:
            kept[name] += 1
            yield finding


def _doubts(parts: list[_Judged]) -> Iterator[str]:
    """Each with the keys that have it."""
    keys: dict[str, list[Any]] = defaultdict(list)
    for part in parts:
        for doubt in part.doubts:
            keys[doubt].append(part.key)
    for doubt, whose in list(keys.items())[:EXAMPLES_MAX]:
        yield f"{_named(whose, 1)}: {doubt}"
    if len(keys) > EXAMPLES_MAX:
        yield f"{len(keys) - EXAMPLES_MAX} more doubts of other keys are not told"


def _stats(parts: list[_Judged]) -> dict[str, Any]:
    by_outcome = {
        outcome: [part.key for part in parts if part.verdict.outcome is outcome]
        for outcome in Outcome
    }
    invalid, unknown = by_outcome[Outcome.INVALID], by_outcome[Outcome.UNKNOWN]
    stats: dict[str, Any] = {"keys": len(parts), "invalid": len(invalid), "unknown": len(unknown)}
    if invalid:
        stats["failing"] = invalid[:KEYS_SHOWN_MAX]
        stats["note"] = (
            f"{len(invalid)} of {len(parts)} keys fail: {_named(invalid, KEYS_SHOWN_MAX)}"
        )
    return stats


def _named(keys: list[Any], most: int) -> str:
    said = ", ".join(shown(key) for key in keys[:most])
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{'key' if len(keys) == 1 else 'keys'} {said}{more}"
