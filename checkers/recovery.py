"""Once a fault is healed, whoever asks is served again, and in time.

Reads every client operation, and the faults (`harness.spells`). Of each healing it measures how
long it took until somebody was served, and how long who asked waited: for each kind of operation,
and that at every node and for every key; the statistics have quantiles. A node is healed when no
fault is on that touches it (the node itself, a link of it, or nobody knows what). What touches a
key is not known, so that a key, and a kind as a whole, counts from when nothing at all is broken.

`-o recovery=5s` (or 500ms) sets a limit, which is held against the system only from when nothing at
all is broken, until the next fault.

Anomalies:
    slow-recovery   somebody asked after the healing and waited for longer than the limit, or asked
                    later than that and in vain, before anybody was served as others had been

Blind to: what nobody asked, or had never been served with; operations that began before the healing
    and got no answer, which may be lost; faults that the history does not tell, or that nobody
    healed; which keys a fault hits.
Cost: a sort of the operations, and for each healing a search in each group.
Source: Jepsen's tests look at the same by eye, in the plot of latencies; ours is a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.asked import NEVER, Asked, Group, Ints
from checkers.healings import Healing, healings, touches
from harness.guarantees import Contract
from harness.history import History
from harness.spells import Spell, spells
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

ROWS_MAX = 50
"""Groups of a table of the statistics; of more the slowest."""

NOTED_MAX = 3
"""Kinds of operation in the note, the slowest ones."""

QUANTILES = {"p50 s": 0.5, "p95 s": 0.95, "max s": 1.0}


def check(history: History, contract: Contract) -> Verdict:
    """How long each healing took, and what took longer than the limit, if there is one."""
    limit_s = contract.promises.get("recovery")
    faults = spells(history)
    last = int(history.time.max()) if len(history) else 0
    calm = healings(faults, last)
    lost = sum(spell.healer is None for spell in faults)
    stats: dict[str, Any] = {"healings": len(calm), "never healed": lost, "limit s": limit_s}
    if not calm:
        return Verdict.of(stats=stats)
    asked = Asked.of(history)
    groups = {"operation": asked.kinds(), "node": asked.nodes(), "key": asked.keys()}
    stats |= _tables(groups, faults, calm, last)
    if limit_s is None:
        return Verdict.of(stats=stats)
    late = [
        case
        for name, group in groups.items()
        for healing in calm
        for case in _late(name, group, healing, round(limit_s * 1e9))
    ]
    counts = {"slow-recovery": len(late)} if late else {}
    late.sort(key=lambda case: (list(groups).index(case.table), -case.waited))
    found = [_finding(case, last, limit_s) for case in late[:EXAMPLES_MAX]]
    return Verdict.of(found, counts=counts, stats=stats)


# -- how long it took ----------------------------------------------------------------------------


def _tables(
    groups: Mapping[str, Group], faults: Sequence[Spell], calm: list[Healing], last: int
) -> dict[str, Any]:
    tables = {}
    for name, group in groups.items():
        if not len(group):
            continue
        if name != "node":
            tables[f"by {name}"] = _table(name, group, calm, np.arange(len(group)))
            continue
        rows: list[dict[str, Any]] = []
        for code in np.unique(group.what).tolist():
            node = group.asked.history.nodes[code]
            own = healings([spell for spell in faults if touches(spell, node)], last)
            if own:
                rows += _table(name, group, own, np.flatnonzero(group.what == code))
        tables[f"by {name}"] = rows
    whole = tables["by operation"]
    return tables | {"note": _note(whole)} if any(row["served"] for row in whole) else tables


def _table(name: str, group: Group, healed: list[Healing], members: Ints) -> list[dict[str, Any]]:
    """A row for each of these groups, the slowest first."""
    slowest = np.full(len(group), -1, np.int64)
    for healing in healed:
        when, _ = group.served_from(healing.at)
        took = np.where(when <= healing.until, when - healing.at, -1)
        np.maximum(slowest, took, out=slowest)
    members = members[np.argsort(-slowest[members], kind="stable")][:ROWS_MAX]
    tooks = [_took(group, healing, members) for healing in healed]
    return [
        _row(name, group, int(one), [took[at] for took in tooks]) for at, one in enumerate(members)
    ]


VAIN, SILENT = -1, -2
"""Instead of a time: somebody asked and nobody was served; nobody asked."""


def _took(group: Group, healing: Healing, members: Ints) -> list[tuple[int, int]]:
    """Of each of these groups: nanoseconds, or VAIN or SILENT; and those since somebody asked."""
    when, _ = group.served_from(healing.at)
    within = group.begun(healing.at, healing.until)
    first = np.full(len(group), NEVER)
    backwards = slice(None, None, -1)  # so that the first of a group is what stays
    first[group.member[within][backwards]] = group.asked.begin[group.row[within]][backwards]
    missed = np.where(first < NEVER, VAIN, SILENT)
    took = np.where(when <= healing.until, when - healing.at, missed)
    waited = when - np.where(first <= when, first, healing.at)
    return list(zip(took[members].tolist(), waited[members].tolist(), strict=True))


def _row(name: str, group: Group, member: int, measured: list[tuple[int, int]]) -> dict[str, Any]:
    tooks = [took for took, _ in measured]
    waits = [waited for took, waited in measured if took >= 0]
    seconds = np.array([took for took in tooks if took >= 0]) / 1e9
    quantiles = {
        label: round(float(np.quantile(seconds, share)), 6)
        for label, share in QUANTILES.items()
        if len(seconds)
    }
    return {
        **_label(name, group, member),
        "healings": len(tooks),
        "served": len(seconds),
        "in vain": tooks.count(VAIN),
        "nobody asked": tooks.count(SILENT),
        **quantiles,
        **({"longest wait s": round(max(waits) / 1e9, 6)} if waits else {}),
    }


def _label(name: str, group: Group, member: int) -> dict[str, Any]:
    history, what = group.asked.history, int(group.what[member])
    own = {"operation": history.fs[int(group.f[member])]}
    if name == "node":
        own["node"] = history.nodes[what]
    elif name == "key":
        own["key"] = history.values.decode(what)
    return own


def _note(rows: list[dict[str, Any]]) -> str:
    said = [
        f"{row['operation']} {row['longest wait s']:.3f} s"
        for row in sorted(rows, key=lambda row: -row.get("longest wait s", 0))
        if row["served"]
    ]
    count, more = rows[0]["healings"], len(said) - NOTED_MAX
    rest = f", and {more} more" if more > 0 else ""
    return f"healings: {count}; who asked then waited at most {', '.join(said[:NOTED_MAX])}{rest}"


# -- what took too long --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Late:
    """Who was not served in time after a healing, and an operation that shows it."""

    table: str
    group: Group
    member: int
    healing: Healing
    cause: Spell
    shown: int  # row of `asked`
    served: int  # row of the first success, or -1
    before: int  # row of the last success before the healing
    waited: int


def _late(table: str, group: Group, healing: Healing, limit: int) -> Iterator[_Late]:
    """The groups that were late: each with the first operation that shows it."""
    asked = group.asked
    within = group.begun(healing.at, healing.until)
    if within.start == within.stop:
        return
    when, which = group.served_from(healing.at)
    before = group.served_before(healing.at)
    member, row = group.member[within], group.row[within]
    begin, end = asked.begin[row], asked.end[row]
    served = np.minimum(when[member], healing.until)
    waited = np.minimum(end, served) - begin > limit
    refused = (begin > healing.at + limit) & asked.vain[row]
    refused &= (end < when[member]) & (end <= healing.until)
    shows = np.flatnonzero((before[member] >= 0) & (begin < served) & (waited | refused))
    # Where the first to be served had waited, no other is needed to show it.
    shows = shows[np.argsort(row[shows] != which[member[shows]], kind="stable")]
    for one, at in zip(*np.unique(member[shows], return_index=True), strict=True):
        number, shown, earlier = int(one), int(row[shows[at]]), int(before[one])
        cause: Spell | None = healing.last
        if table == "node":
            cause = healing.touching(asked.history.nodes[int(group.what[number])])
        if cause is None or asked.end[earlier] >= cause.end:
            continue  # nothing had hit the node, or it was well again before all was
        took = int(min(when[number], healing.until)) - cause.end
        first = int(which[number]) if when[number] <= healing.until else -1
        yield _Late(table, group, number, healing, cause, shown, first, earlier, took)


def _finding(case: _Late, last: int, limit_s: float) -> Finding:
    asked, healing, cause = case.group.asked, case.healing, case.cause
    history, whom = asked.history, _whom(case)
    before, shown = (int(asked.position[row]) for row in (case.before, case.shown))
    assert cause.healer is not None, "what nobody healed is judged by nobody"
    events = [cause.position, cause.healer, before, shown]
    because = [
        f"op {history.operation(before)[-1]}: {whom} was served at "
        f"{_s(int(asked.end[case.before]))}",
        f"op {cause.healer}: {cause.describe()} was over at {_s(cause.end)}",
        f"nothing at all was broken from {_s(healing.at)} on",
        _asked(case),
    ]
    if case.served >= 0:
        events.append(int(asked.position[case.served]))
        took = f"{_s(case.waited)} after {cause.describe()} was over"
        claim = f"{whom} was served only {took}"
        because.append(
            f"op {history.operation(events[-1])[-1]} was the first to be served, at "
            f"{_s(int(asked.end[case.served]))}"
        )
    else:
        claim = f"{whom} was not served again after {cause.describe()} was over"
        ends, until = _until(healing, history, last)
        if asked.end[case.shown] == NEVER or asked.served[case.shown]:
            events.append(ends)  # that tells for how long it had waited in vain
        because.append(f"nobody was served until {until}")
    because.append(f"however, it may take {limit_s:g} s: a contradiction")
    witness = {at for event in events for at in history.operation(event)}
    return Finding(
        "slow-recovery",
        claim,
        tuple(because),
        tuple(sorted(witness)),
        key=_label(case.table, case.group, case.member).get("key"),
        span=(cause.end, cause.end + case.waited),
    )


def _until(healing: Healing, history: History, last: int) -> tuple[int, str]:
    """The event that ended the time in which it could be judged, and what it was."""
    if healing.next is not None:
        return healing.next.position, f"the next fault, {healing.next.describe()}"
    at = int(np.flatnonzero(history.time == last)[-1])
    return at, f"the history ended, at {_s(last)}"


def _asked(case: _Late) -> str:
    asked, row = case.group.asked, case.shown
    history = asked.history
    position = int(asked.position[row])
    begin, end = int(asked.begin[row]), int(asked.end[row])
    op = history[position]
    said = f"op {position}: process {op.process} asked for it at {_s(begin)}"
    if row == case.served:
        return f"{said}, and waited for {_s(end - begin)}"
    if end == NEVER:
        return f"{said}, and never got an answer"
    if asked.served[row]:
        return f"{said}, and got no answer until {_s(end)}"
    ended = history.completion(position)
    error = f" ({': '.join(ended.error)})" if ended is not None and ended.error else ""
    return f"{said}, and in vain{error}: until {_s(end)}"


def _whom(case: _Late) -> str:
    label = _label(case.table, case.group, case.member)
    said = str(label["operation"])
    if "node" in label:
        said += f" at {label['node']}"
    if "key" in label:
        said += f" of key {label['key']}"
    return said


def _s(time: int) -> str:
    return f"{time / 1e9:.3f} s"
