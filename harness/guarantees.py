"""Contracts: which anomalies a run's options forbid and which are legal, and why.

A checker reports every anomaly that it sees. The contract sorts them: what no licence covers
(`harness.licences`) is forbidden; the rest is allowed, with the setting and the cause. `derived`
applies every licence that the options give. `strict` judges by the strongest promise of the
system: there, settings that weaken it (C01, C02, C13) are no excuse, while what nobody promises
(C04, C09, C10) still is none.

Other controls are seen to by the checkers, which do not report them at all: sends of unknown
outcome (C03), what a reader meets after a seek or an assignment (C06), refusals, time-outs (C09).

Where a checker counts more than it argues, it tells the windows of all (`harness.windows`), and
each is sorted by the same rule. Where it does not, nobody knows when the rest happened, so that
nothing excuses it: it is forbidden if one of those that were argued is, and else a doubt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness import consistency
from harness.errors import UsageError
from harness.history import History
from harness.licences import SESSION_GUARANTEES, Cause, Licence, licences
from harness.spells import spells
from harness.verdict import Finding, Outcome, Verdict
from harness.windows import Bools, Windows

MODES = ("derived", "strict")

OF_LOGS: Mapping[str, str] = {
    "lost-write": "an acknowledged message is kept: it survives what the settings say it survives",
    "unseen": "an acknowledged message can be read, by complete final reads at the latest",
    "read-then-lost": "what was read is below the high watermark, and stays in the log",
    "deleted-reappears": "what DeleteRecords has deleted stays deleted, whoever leads",
    "inconsistent-offsets": "an offset below the high watermark holds one message for ever",
    "duplicate": "a batch is appended once, however often the producer sends it",
    "phantom": "nobody can invent a message",
    "G1a": "a send that failed for sure is never read",
    "precommitted-read": "a transaction cannot read what it has not committed",
    "int-poll-skip": "a fetch returns every message from its position on",
    "int-nonmonotonic-poll": "a fetch returns messages in the order of their offsets",
    "int-nonmonotonic-send": "offsets increase in the order in which messages were sent",
    "poll-skip": "a consumer that goes on from its position misses nothing",
    "nonmonotonic-poll": "a consumer that goes on from its position is never set back",
    "nonmonotonic-send": "offsets increase in the order in which messages were sent",
    "listoffsets-too-late": "the first message that is not older than what is asked for is found",
    "listoffsets-too-early": "no message is found that is older than what is asked for",
}
OF_OBJECTS: Mapping[str, str] = {
    "nonlinearizable": "each operation takes effect at one moment between its call and its return",
    "stale-read": "a value that was replaced before a read began is not read any more",
    "future-read": "nothing is returned before somebody began to bring it about",
    "nonmonotonic-read": "what only grows is not less in a later read than in an earlier one",
    "reordered": "values come out in the order in which they were put in, of a stack in reverse",
    "skipped": "no value comes out while one that should come out before it stays for ever",
    "priority-inversion": "the least value of a priority queue comes out first",
    "false-empty": "a queue or stack is empty only while nothing is inside",
    "incomparable-reads": "of two reads of a growing set, one has all that the other one has",
}
OF_ORDERS: Mapping[str, str] = {
    "G2": "of two transactions that each look whether the other was there, the later one sees it",
    "causal-reverse": "who sees an effect sees what was there before its cause began",
    "mutex-overlap": "a lock is held by one at a time",
    "token-regression": "each grant of a lock has a newer token than those before it",
    "fencing-violation": "who has seen a newer token accepts nothing with an older one",
    "ThinAirRead": "what is read was written by somebody",
    "CyclicCO": "no read comes causally before the write of what it reads",
    "WriteCOInitRead": "who knows of a write of a key does not find the key as it was at first",
    "WriteCORead": "who knows that a value was overwritten does not read it",
    "CyclicCF": "concurrent writes are resolved alike for all (causal convergence)",
    "WriteHBInitRead": "a session knows what its reads show that it knows (causal memory)",
    "CyclicHB": "a session reads as if writes had come one after another (causal memory)",
    "broken-link": "a session goes on from the position that it was told last",
    "wrong-total": "transfers between accounts keep the total of all of them",
    "negative-value": "nobody may owe anything",
    "nil-balance": "every account has a balance",
    "unexpected-key": "accounts are neither opened nor closed",
    "long-fork": "readers agree on the order of writes to different keys",
    "read-your-writes": "a session sees what it has written",
    "monotonic-reads": "a session sees what it has read before",
    "monotonic-writes": "who sees a write sees those of its session before it, in that order",
    "writes-follow-reads": "who sees a write sees what its session had read before, in that order",
}
OF_ELEMENTS: Mapping[str, Mapping[str, str]] = {
    "set-full": {
        "lost": "what was added stays, however often it is read",
        "stale-read": "a read has all that was known before it began",
        "duplicate": "a set has an element once",
        "phantom": "nobody can invent an element",
        "G1a": "an add that failed did not take place",
        "future-read": "nothing is there before somebody began to add it",
    },
    "total-queue": {
        "lost": "what was put in has come out when the queue is found empty",
        "duplicate": "a value comes out as often as it was put in",
        "phantom": "nobody can invent a value",
        "G1a": "an enqueue that failed did not take place",
        "future-read": "nothing comes out before somebody began to put it in",
    },
    "unique-ids": {"duplicate": "an id is given out once"},
}
"""By workload."""
OF_NODES: Mapping[str, str] = {
    "crash": "a node runs until the harness ends it",
    "election-safety": "a term has one leader: a node votes once in it, whatever happens to it",
    "metadata-divergence": "all nodes apply the same entries, in one order, to the same effect",
    "metadata-regression": "what is committed stays: every later leader has it",
    "vote-regression": "a node's term and vote are on its disk before anybody hears of them",
}
FORBIDDEN: Mapping[str, str] = {
    **OF_ELEMENTS["set-full"],
    **OF_LOGS,
    **OF_OBJECTS,
    **OF_ORDERS,
    **OF_NODES,
}
"""Why an anomaly is forbidden where nothing licenses it."""

OBJECTS = (
    *("register", "multi-register", "queue", "set", "stack", "counter", "lock"),
    "priority-queue",
)

ORDERS: Mapping[str, tuple[str, ...]] = {
    "causal": (
        *("ThinAirRead", "CyclicCO", "WriteCOInitRead", "WriteCORead", "CyclicCF"),
        *("WriteHBInitRead", "CyclicHB", "broken-link"),
    ),
    "causal-reverse": ("causal-reverse",),
    "adya": ("G2",),
    "mutex": ("mutex-overlap", "token-regression", "fencing-violation"),
    "bank": ("wrong-total", "negative-value", "nil-balance", "unexpected-key"),
    "long-fork": ("long-fork",),
    "sessions": tuple(SESSION_GUARANTEES.values()),
}
"""By workload: what its history can show of `OF_ORDERS`."""


def forbidden_in(workload: str) -> Mapping[str, str]:
    """What can be forbidden in histories of a workload; all of it where we do not know that one."""
    if workload == "log":
        return {**OF_LOGS, **OF_NODES}
    if workload in OBJECTS:
        return {**OF_OBJECTS, **OF_NODES}
    if workload in ORDERS:
        return {**{name: OF_ORDERS[name] for name in ORDERS[workload]}, **OF_NODES}
    if workload in OF_ELEMENTS:
        return {**OF_ELEMENTS[workload], **OF_NODES}
    return OF_NODES if workload in PROMISES else FORBIDDEN


@dataclass(frozen=True, slots=True)
class Contract:
    """What the system promised in this run. `mode` is "derived" or "strict".

    Attributes:
        promises: the options that it follows from, in Kafka's words: `acks`, `idempotence`,
            `retries`, `replication-factor`, `min-insync-replicas`, `unclean`, `flush-messages`,
            `retention-ms`; and `disk`, which says whether a killed node keeps its page cache.
        workload: whose; "" if it is not known.
    """

    mode: str
    promises: Mapping[str, Any] = field(default_factory=dict)
    workload: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"{self.mode!r} is no contract: expected one of {', '.join(MODES)}")

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Those that hold, the first that finds a cause decides."""
        every = licences(self.promises)
        return tuple(licence for licence in every if licence.strict or self.mode == "derived")

    def sort(self, verdict: Verdict, history: History) -> Verdict:
        """Move the findings that are legal here from `findings` to `allowed`, with the reason."""
        suspects = {name for licence in self.licences for name in licence.anomalies}
        if not any(finding.anomaly in suspects for finding in verdict.findings):
            return verdict
        excuses = self.excuses(history)
        forbidden: list[Finding] = []
        allowed: list[Finding] = []
        for finding in verdict.findings:
            reason = excuses.reason(finding)
            (forbidden if reason is None else allowed).append(replace(finding, reason=reason))
        legal = {name: excuses.of(name, windows) for name, windows in verdict.windows.items()}
        for name, of in legal.items():
            if not of.all() and not any(finding.anomaly == name for finding in forbidden):
                forbidden.append(_not_shown(name, verdict.windows[name].take(~of)))
        known = {name: int(of.sum()) for name, of in legal.items()}
        return _resorted(verdict, forbidden, allowed, known)

    def excuses(self, history: History) -> Excuses:
        """What this contract allows in this history."""
        faults = spells(history)
        return Excuses([(licence, licence.causes(faults, history)) for licence in self.licences])

    def explain(self) -> dict[str, dict[str, str]]:
        """Anomaly → `here` ("forbidden" or "legal after …") and `because`."""
        rules: dict[str, dict[str, str]] = {}
        for licence in self.licences:
            for name in licence.anomalies:
                because = f"{licence.setting}: {licence.why} ({licence.control})"
                rule = rules.setdefault(name, {"here": "legal after ", "because": ""})
                rule["here"] += ("" if rule["here"].endswith("after ") else ", or ") + licence.needs
                rule["because"] += ("; " if rule["because"] else "") + because
        model = self.promises.get("consistency-model")
        for name in consistency.forbidden(model) if model else ():
            rules.setdefault(name, {"here": "forbidden", "because": f"{model} forbids it"})
        for name in consistency.anomalies(self.promises.get("anomalies") or "") or ():
            rules.setdefault(name, {"here": "forbidden", "because": "anomalies: it is named"})
        if (limit_s := self.promises.get("recovery")) is not None:
            because = f"recovery: whoever asks is served within {limit_s:g} s of the last healing"
            rules.setdefault("slow-recovery", {"here": "forbidden", "because": because})
        if (pattern := self.promises.get("log-pattern")) is not None:
            because = f"log-pattern: no line of a node's log matches {pattern}"
            rules.setdefault("log-pattern", {"here": "forbidden", "because": because})
        for name, because in forbidden_in(self.workload).items():
            rules.setdefault(name, {"here": "forbidden", "because": because})
        return rules

    def to_json(self) -> dict[str, Any]:
        """`mode`, `promises`, and for readers what follows from them (`anomalies`)."""
        shape = {"mode": self.mode, "promises": dict(self.promises), "workload": self.workload}
        return {**shape, "anomalies": self.explain()}

    @staticmethod
    def from_json(shape: Mapping[str, Any]) -> Contract:
        """The contract of a stored run.

        Raises:
            UsageError: the stored contract is none.
        """
        mode, promises = shape.get("mode"), shape.get("promises")
        if not isinstance(mode, str) or not isinstance(promises, Mapping):
            raise UsageError("the stored contract has no mode and promises: give --contract")
        return Contract(mode, dict(promises), str(shape.get("workload", "")))


@dataclass(frozen=True, slots=True)
class Excuses:
    """The licences of a contract, each with the causes that a history has for it."""

    licences: list[tuple[Licence, list[Cause]]]

    def of(self, anomaly: str, windows: Windows) -> Bools:
        """bool[cases]; which of the cases are legal. Cost: a pass over them a cause."""
        legal = np.zeros(len(windows), np.bool_)
        for licence, causes in self.licences:
            if anomaly in licence.anomalies:
                legal |= licence.excuses(windows, causes)
        return legal

    def reason(self, finding: Finding) -> str | None:
        """Why the finding is legal, by the first licence; None if it is not."""
        if not finding.excusable:
            return None
        window = finding.window or Windows.of_span(finding.span)
        for licence, causes in self.licences:
            if finding.anomaly in licence.anomalies and licence.excuses(window, causes).any():
                here = licence.words(window, causes)
                return f"{licence.setting}: {licence.why} ({licence.control}); here: {here}"
        return None


def derive(workload: str, promises: Mapping[str, Any], mode: str) -> Contract:
    """The contract that follows from a workload's options.

    Args:
        promises: typed values, or text as from the command line.

    Raises:
        UsageError: an option that no promise of the workload depends on, or a wrong value.
    """
    known = {**PROMISES.get(workload, {}), **OF_ALL}
    typed: dict[str, Any] = dict(DEFAULTS.get(workload, {}))
    for name, value in promises.items():
        if name in known:
            typed[name] = None if value in (None, "none") else known[name](name, value)
        elif workload in PROMISES:
            raise UsageError(
                f"{name}={value}: no promise of {workload} depends on it; "
                f"its promises depend on {', '.join(known)}"
            )
        else:
            typed[name] = value
    return Contract(mode, typed, workload)


# -- values of promises --------------------------------------------------------------------------


def _choice(*choices: str) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if str(value) not in choices:
            raise UsageError(f"{name}={value}: expected one of {', '.join(choices)}")
        return str(value)

    return parse


def _flag(name: str, value: Any) -> bool:
    return _choice("true", "false")(name, str(value).lower()) == "true"


def _number(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}={value}: expected a number") from None


def _amount(name: str, value: Any) -> int | float:
    if not re.fullmatch(r"-?\d{1,300}(\.\d+)?", str(value)):
        raise UsageError(f"{name}={value}: expected an amount, as in {name}=100")
    return float(value) if "." in str(value) else int(value)


def _names(name: str, value: Any) -> list[str]:
    some = list(map(str, value)) if isinstance(value, list | tuple) else str(value).split(",")
    if not all(some):
        raise UsageError(f"{name}={value}: expected names, as in {name}=0,1,2")
    return some


def _guarantees(name: str, value: Any) -> list[str]:
    known = {**SESSION_GUARANTEES, **{full: full for full in SESSION_GUARANTEES.values()}}
    some = [*SESSION_GUARANTEES] if value == "all" else _names(name, value)
    if not set(some) <= set(known):
        raise UsageError(f"{name}={value}: expected some of {','.join(SESSION_GUARANTEES)}, or all")
    return [full for full in SESSION_GUARANTEES.values() if full in {known[one] for one in some}]


def _name(name: str, value: Any) -> str:
    if not str(value):
        raise UsageError(f"{name}: expected the name of a number, as in {name}=commit-ts")
    return str(value)


def _seconds(name: str, value: Any) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|)", str(value))
    if found is None or not float(found[1]):
        raise UsageError(f"{name}={value}: expected a time, as in {name}=5s or {name}=500ms")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _pattern(name: str, value: Any) -> str:
    try:
        return re.compile(str(value)).pattern
    except re.error as error:
        raise UsageError(f"{name}={value}: no regular expression: {error}") from None


def _model(name: str, value: Any) -> str:
    model = consistency.find(str(value))
    if model is None:
        known = ", ".join((*consistency.WEAKER, *consistency.ALIASES))
        raise UsageError(f"{name}={value}: expected one of {known}")
    return model


def _anomalies(name: str, value: Any) -> str:
    found = consistency.anomalies(str(value))
    if found is None:
        known = ", ".join((*consistency.ANOMALIES, *consistency.GROUPS))
        raise UsageError(f"{name}={value}: expected some of {known}, divided by commas")
    return ",".join(found)


PROMISES: Mapping[str, Mapping[str, Callable[[str, Any], Any]]] = {
    "log": {
        "acks": _choice("0", "1", "all"),
        "idempotence": _flag,
        "retries": _number,
        "replication-factor": _number,
        "min-insync-replicas": _number,
        "unclean": _flag,
        "flush-messages": _number,
        "retention-ms": _number,
        "isolation": _choice("read_uncommitted", "read_committed"),
        "disk": _choice("real", "volatile"),
    },
    "append": {"consistency-model": _model, "anomalies": _anomalies},
    "wr": {
        "consistency-model": _model,
        "anomalies": _anomalies,
        "linearizable-keys": _flag,
        "sequential-keys": _flag,
        "wfr-keys": _flag,
        "transaction-order": _name,
    },
    "mutex": {"lease-ms": _number, "fenced": _flag},
    "causal": {"causality": _choice("cc", "ccv", "cm", "all")},
    "bank": {"total": _amount, "accounts": _names, "negative-balances": _flag},
    "sessions": {"sessions": _guarantees, "versions": _flag},
    "set-full": {"linearizable": _flag},
    "total-queue": {"delivery": _choice("exactly-once", "at-least-once", "at-most-once")},
    "queue": {"model": _choice("fifo", "unordered"), "configurations": _number},
    **{name: {"configurations": _number} for name in OBJECTS if name != "queue"},
}
"""By workload: the options that its promises depend on, and how their text is read."""

OF_ALL: Mapping[str, Callable[[str, Any], Any]] = {"recovery": _seconds, "log-pattern": _pattern}
"""The same, for every workload. Each is judged by the checker of its name."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "append": {"consistency-model": consistency.DEFAULT},
    "wr": {"consistency-model": consistency.DEFAULT},
    "set-full": {"linearizable": False},
}
"""By workload: promises that hold unless others are given."""


# -- sorting -------------------------------------------------------------------------------------


def _resorted(
    verdict: Verdict, forbidden: list[Finding], allowed: list[Finding], known: Mapping[str, int]
) -> Verdict:
    """The verdict with these findings. `known` says of how many cases it is known that they are
    allowed, by anomaly."""
    counts, allowed_counts = dict(verdict.counts), dict(verdict.allowed_counts)
    left, moved = (Counter(finding.anomaly for finding in found) for found in (forbidden, allowed))
    doubts = list(verdict.doubts)
    for name, kept in moved.items():
        legal = known.get(name, kept)
        rest = counts.pop(name, kept + left[name]) - legal
        allowed_counts[name] = legal
        if rest > 0 and name in left:
            counts[name] = rest
        elif rest > 0:
            doubts.append(_unsorted(name, rest))
    if forbidden:
        outcome = Outcome.INVALID
    else:
        outcome = Outcome.UNKNOWN if doubts else Outcome.VALID
    return replace(
        verdict,
        outcome=outcome,
        findings=tuple(forbidden),
        allowed=(*verdict.allowed, *allowed),
        counts=counts,
        allowed_counts=allowed_counts,
        doubts=tuple(doubts),
        windows={},
    )


def _not_shown(name: str, windows: Windows) -> Finding:
    """For cases that nothing excuses, where their checker argued only others."""
    claim = f"{len(windows)} cases of {name}, which their checker does not show, have no excuse"
    return Finding(name, claim, span=windows.span(0), window=windows.take([0]))


def _unsorted(name: str, rest: int) -> str:
    return (
        f"{rest} more cases of {name} were counted and not shown, and their checker does not say "
        "when they happened: whether this contract allows them is not known"
    )
