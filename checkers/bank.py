"""Money is moved between accounts, so that all of them together always have as much as at first.

Reads `read`, which tells all accounts: `{account: balance}`, or a list of balances. Of `transfer`
(`{"from": a, "to": b, "amount": n}`) nothing is needed: whether one happened, failed or is in
doubt, it keeps the total.

Anomalies:
    wrong-total      the balances of a read have another total
    negative-value   a balance is below zero: legal with `-o negative-balances=true`
    nil-balance      an account has no balance
    unexpected-key   a read has an account that does not exist

`-o total=100` and `-o accounts=0,1,2` say what there is. Where no total is promised, two reads of
the same accounts must have the same one, and each is held against that of most; if reads of
different accounts have different totals, nobody can tell which is right, and that is a doubt. So is
an operation that is neither read nor transfer: there, no total is inferred at all. Without
`accounts` any account is expected.

Blind to: an account that a read leaves out, where the total is right; balances with the right total
    that no order of the transfers gives; where no total is promised, a total that is wrong from the
    first read to the last. A read with a nil balance or an unexpected account has no total.
Cost: about 2 µs a read of eight accounts, 10 µs where amounts are no integers.
Source: jepsen.tests.bank, where only the first of these is told of each read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

import msgspec
import numpy as np

from checkers.told import Told, judged
from checkers.transactions import Ints, shown
from checkers.txn_cases import Cases
from harness.columns import RAW
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, Kind
from harness.verdict import Finding, Verdict

ANOMALIES = ("wrong-total", "negative-value", "nil-balance", "unexpected-key")

DIGITS = 800
"""Of a sum of amounts that are no integers; JSON's numbers have at most 640 before and after the
point together, so that all of them are exact."""

Balances = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of the accounts; None where nothing is."""

    total: Any = None
    accounts: frozenset[str] | None = None

    @staticmethod
    def of(contract: Contract) -> Rules:
        total, named = (contract.promises.get(name) for name in ("total", "accounts"))
        return Rules(total, None if named is None else frozenset(map(str, named)))


@dataclass(frozen=True, slots=True)
class Wrong:
    """A read that is wrong: where it ended, how bad it is, and what it has.

    Attributes:
        other: the read that it is held against, with its total; None if a total was promised.
    """

    end: int
    badness: Any
    what: Any
    other: tuple[int, Any] | None = None


@dataclass(slots=True)
class Reads:
    """What the reads of a history told.

    Attributes:
        totals: (end, total) of the reads that have one, by their accounts; all in one if a total
            was promised.
        usual: of each of these, the total of most, and where a read with it ended.
        wrong: by anomaly, the reads that show it.
    """

    count: int = 0
    illegible: int = 0
    totals: dict[Any, list[tuple[int, Any]]] = field(default_factory=dict)
    usual: list[tuple[int, Any]] = field(default_factory=list)
    wrong: dict[str, list[Wrong]] = field(default_factory=lambda: {name: [] for name in ANOMALIES})


def check(history: History, contract: Contract) -> Verdict:
    """Every read of accounts that cannot be."""
    rules = Rules.of(contract)
    strange = _others(history) if rules.total is None else []
    infers = not strange
    whole = _read(history, rules, infers)

    def cases(told: Told) -> Mapping[str, Cases]:
        same = told.history is history
        return _cases(told, rules, whole if same else _read(told.history, rules, infers))

    doubts = [*_doubts(whole, rules, strange)]
    return judged(history, cases, doubts=doubts, stats=_stats(whole, rules, infers))


def _others(history: History) -> list[str]:
    """What clients did that is neither a read nor a transfer, and did not fail."""
    begin = np.flatnonzero((history.type == 0) & (history.process >= 0))
    pair = history.pair[begin]
    begin = begin[(pair < 0) | (history.type[pair] != FAIL)]
    names = {history.fs[code] for code in np.unique(history.f[begin]).tolist()}
    return sorted(names - {"read", "transfer"})


def _doubts(reads: Reads, rules: Rules, strange: list[str]) -> Iterator[str]:
    if reads.illegible:
        yield f"{reads.illegible} reads are no balances of accounts, and were left out"
    if not reads.count:
        yield "nobody read the accounts"
    elif rules.total is None:
        why = "no total was promised (-o total=N), and "
        totals = [total for _, total in reads.usual]
        if strange:
            yield f"{why}whether {', '.join(strange)} keeps one is not known: none was inferred"
        elif len(set(totals)) > 1:
            yield (
                f"{why}reads of different accounts have different ones, such as "
                f"{_plain(totals[0])} and {_plain(next(t for t in totals if t != totals[0]))}: "
                "which is right cannot be told"
            )
        elif sum(map(len, reads.totals.values())) < 2 and not any(reads.wrong.values()):
            yield f"{why}there are no two reads to compare"


# -- what was read ---------------------------------------------------------------------------------


def _read(history: History, rules: Rules, infers: bool) -> Reads:
    found = Reads()
    end = history.select(f="read", type=Kind.OK)
    with localcontext(prec=DIGITS):
        for at, balances in _balances(history, end[history.process[end] >= 0]):
            if balances is None:
                found.illegible += 1
            else:
                found.count += 1
                _look(found, at, balances, rules)
        if rules.total is not None or infers:
            _compare(found, rules)
    return found


def _look(found: Reads, at: int, balances: Balances, rules: Rules) -> None:
    """Note what is wrong with one read by itself, and its total."""
    amounts = balances.values()
    strange = () if rules.accounts is None else balances.keys() - rules.accounts
    nil = [name for name, amount in balances.items() if amount is None] if None in amounts else ()
    if strange:
        found.wrong["unexpected-key"].append(Wrong(at, len(strange), sorted(strange)))
    if nil:
        found.wrong["nil-balance"].append(Wrong(at, len(nil), sorted(nil)))
    if min((amount for amount in amounts if amount is not None) if nil else amounts, default=0) < 0:
        debts = {name: amount for name, amount in balances.items() if (amount or 0) < 0}
        found.wrong["negative-value"].append(Wrong(at, -_sum(debts), debts))
    if not strange and not nil:
        same = None if rules.total is not None else frozenset(balances)
        found.totals.setdefault(same, []).append((at, _sum(balances)))


def _sum(balances: Balances) -> Any:
    """Exactly: 0.1 and 0.2 are 0.3, as whoever wrote them thinks."""
    total = sum(balances.values())
    return total if type(total) is int else sum(map(_exact, balances.values()))


def _exact(amount: Any) -> Any:
    return amount if type(amount) is int else Decimal(repr(amount))


def _compare(found: Reads, rules: Rules) -> None:
    """Note the reads that have another total than they must, or than most others."""
    promised = None if rules.total is None else _exact(rules.total)
    for told in found.totals.values():
        other = None
        expected = promised
        if expected is None:
            # Of totals that are as frequent, the first.
            (expected, _), *_ = Counter(total for _, total in told).most_common(1)
            other = next((end, total) for end, total in told if total == expected)
            found.usual.append(other)
        found.wrong["wrong-total"] += [
            Wrong(end, abs(total - expected), total, other)
            for end, total in told
            if total != expected
        ]
    found.wrong["wrong-total"].sort(key=lambda wrong: wrong.end)


def _balances(history: History, end: Ints) -> Iterator[tuple[int, Balances | None]]:
    """Position and balances of each read."""
    values = history.values
    for first in range(0, len(end), BATCH):
        some = end[first : first + BATCH]
        if (values.shape[some] == RAW).all():
            rows = values.row[some].tolist()
            text = b",".join([values.raw[row] for row in rows])
            try:
                yield from zip(some.tolist(), _INTEGERS.decode(b"[" + text + b"]"), strict=True)
                continue
            except msgspec.ValidationError:
                pass
        for at in some.tolist():
            yield at, _any(values.get(at))


BATCH = 2048
_INTEGERS = msgspec.json.Decoder(list[dict[str, int | None]])


def _any(value: Any) -> Balances | None:
    if isinstance(value, list):
        value = {str(number): amount for number, amount in enumerate(value)}
    if not isinstance(value, dict):
        return None
    kinds = set(map(type, value.values()))
    return value if kinds <= {int, float, type(None)} else None


# -- arguments -------------------------------------------------------------------------------------

SHAPES: Mapping[str, tuple[str, str]] = {
    "negative-value": ("balances below zero", "nobody may owe anything"),
    "nil-balance": ("accounts without a balance", "every account has one"),
    "unexpected-key": ("accounts that do not exist", "accounts are neither opened nor closed"),
}
"""What a read has, and why it cannot be."""


def _cases(told: Told, rules: Rules, reads: Reads) -> Mapping[str, Cases]:
    def cases(name: str, make: Callable[[Wrong], Finding]) -> Cases:
        some = reads.wrong[name]
        return Cases(len(some), lambda number: make(some[number]))

    return {
        "wrong-total": cases("wrong-total", partial(_total, told, rules)),
        **{name: cases(name, partial(_odd, told, name)) for name in SHAPES},
    }


def _total(told: Told, rules: Rules, wrong: Wrong) -> Finding:
    begin, mine = int(told.history.pair[wrong.end]), _plain(wrong.what)
    said = f"{told.words(begin)} has a total of {mine}"
    if wrong.other is None:
        claim = f"a read of c{told.history.process[begin]} has a total of {mine}"
        last = f"however, all accounts together have {_plain(rules.total)}, and transfers keep that"
        return told.finding("wrong-total", claim, (said, f"{last}: a contradiction"), [begin])
    end, total = wrong.other
    other = int(told.history.pair[end])
    lower, higher = map(_plain, sorted([wrong.what, total]))
    return told.finding(
        "wrong-total",
        f"a read has a total of {lower}, and another one of {higher}",
        (
            f"{told.words(other)} has a total of {_plain(total)}",
            f"however, {said}, of the same accounts, and transfers keep the total: a contradiction",
        ),
        [other, begin],
    )


def _odd(told: Told, name: str, wrong: Wrong) -> Finding:
    begin = int(told.history.pair[wrong.end])
    what, why = SHAPES[name]
    return told.finding(
        name,
        f"a read of c{told.history.process[begin]} has {what}: {shown(wrong.what)}",
        (told.words(begin), f"however, {why}: a contradiction"),
        [begin],
    )


def _plain(amount: Any) -> Any:
    """An amount as JSON has it."""
    if not isinstance(amount, Decimal):
        return amount
    return int(amount) if amount == amount.to_integral_value() else float(amount)


# -- numbers ---------------------------------------------------------------------------------------


def _stats(reads: Reads, rules: Rules, infers: bool) -> dict[str, Any]:
    """Of each anomaly how often, the first, the last and the worst read; and the total."""
    stats: dict[str, Any] = {"reads": reads.count}
    if rules.total is not None:
        stats["total"] = rules.total
    elif infers and reads.usual:
        (total, _), *_ = Counter(total for _, total in reads.usual).most_common(1)
        stats |= {"total": _plain(total), "total-inferred": True}
        stats["note"] = f"no total was promised (-o total=N): {_plain(total)} is that of most reads"
    for name, some in reads.wrong.items():
        if not some:
            continue
        worst = max(some, key=lambda wrong: wrong.badness)
        told = {"op": worst.end, "by": _plain(worst.badness), "read": _plain(worst.what)}
        stats[name] = {"count": len(some), "first": some[0].end, "last": some[-1].end}
        stats[name]["worst"] = told
        if name == "wrong-total":
            totals = [wrong.what for wrong in some]
            stats[name] |= {"lowest": _plain(min(totals)), "highest": _plain(max(totals))}
    return stats
