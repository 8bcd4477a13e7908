"""A circle of transactions, each of which must come before the next: what a cyclic anomaly shows.

    T1 -ww(x)-> T2 -rw(y)-> T1

It is data, from which a finding's sentences are made, a terminal's lines and a page's drawing.
Micro-operations stand in it in short words, since a list may be long; the history has them whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KEY_CHARS_MAX = 24
"""Of a key in a label, which stands on an arrow."""

MOPS_SAID_MAX = 6
"""Micro-operations of a transaction in a line of text, those that show nothing left out first."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of a cycle, or one that shows why two others follow each other.

    Attributes:
        name: what the sentences call it: T1, T2, ….
        events: indices of its invocation and, if there is one, its completion.
        process: who did it.
        outcome: "ok", "fail" or "info"; the latter also of one that was never completed.
        mops: by their places, its micro-operations in short words; of many, only some.
        size: how many micro-operations it has.
    """

    name: str
    events: tuple[int, ...]
    process: int | str
    outcome: str
    mops: Mapping[int, str]
    size: int

    def said(self, marked: frozenset[int] = frozenset()) -> str:
        """What it is, in a sentence; micro-operations at the marked places go before others."""
        end = {"fail": ", which failed", "info": ", whose outcome is unknown"}.get(self.outcome, "")
        first = sorted(self.mops, key=lambda at: (at not in marked, at))[:MOPS_SAID_MAX]
        words = [self.mops[at] for at in sorted(first)]
        if len(words) < self.size:
            words.append(f"… and {self.size - len(words)} more")
        return (
            f"{self.name} is op {self.events[-1]}, process {self.process}{end}: {'; '.join(words)}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "events": list(self.events),
            "process": self.process,
            "outcome": self.outcome,
            "mops": [[at, words] for at, words in self.mops.items()],
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """That a transaction comes before another, and why.

    Attributes:
        source, target: places in the cycle's `transactions`.
        kind: "ww", "wr", "rw", "process", "realtime", … (see `checkers.cycles`).
        why: the reason in words.
        key: the key that both touched, where `mops` show the step and there are keys.
        values: the versions of the key that it speaks of, the earlier one first.
        mops: (transaction, micro-operation), by places: what shows it.
    """

    source: int
    target: int
    kind: str
    why: str
    key: Any = None
    values: tuple[Any, ...] = ()
    mops: tuple[tuple[int, int], ...] = ()

    @property
    def label(self) -> str:
        """The kind, and the key if there is one.

        >>> Step(0, 1, "rw", "", key="x", mops=((0, 0),)).label, Step(0, 1, "process", "").label
        ('rw(x)', 'process')
        """
        if not self.mops or self.key is None:
            return self.kind
        named = isinstance(self.key, str) and self.key.isidentifier()
        key = self.key if named else json.dumps(self.key, ensure_ascii=False, default=str)
        cut = f"{key[: KEY_CHARS_MAX - 1]}…" if len(key) > KEY_CHARS_MAX else key
        return f"{self.kind}({cut})"


@dataclass(frozen=True, slots=True)
class Cycle:
    """Steps each of which begins where the one before ends, the first where the last ends.

    Attributes:
        transactions: those of the steps, in order, and then others that show something.
        left_out: how many steps are missing in the middle of a long one.
    """

    transactions: tuple[Transaction, ...]
    steps: tuple[Step, ...]
    left_out: int = 0

    @property
    def gap(self) -> int | None:
        """Before which step some are missing; None if it is whole."""
        return len(self.steps) // 2 if self.left_out else None

    @property
    def ring(self) -> tuple[int | None, ...]:
        """Places of the transactions on the way, in order; None for those that are left out."""
        found: list[int | None] = []
        for number, step in enumerate(self.steps):
            if number == self.gap:
                found += [self.steps[number - 1].target, None]
            found.append(step.source)
        return tuple(found)

    def marked(self, place: int) -> frozenset[int]:
        """Places of the micro-operations of a transaction that show something."""
        return frozenset(mop for step in self.steps for at, mop in step.mops if at == place)

    def arrow(self, step: Step) -> str:
        """`T1 -ww(x)-> T2`"""
        one, other = self.transactions[step.source].name, self.transactions[step.target].name
        return f"{one} -{step.label}-> {other}"

    def who(self) -> tuple[str, ...]:
        """A sentence for each transaction: what it did."""
        return tuple(one.said(self.marked(at)) for at, one in enumerate(self.transactions))

    def argument(self) -> Iterator[tuple[Step | None, str]]:
        """The sentence of each step, the last of which states the contradiction; None in the gap.

        A circle is a contradiction wherever one begins: the first transaction comes before itself.
        """
        for number, step in enumerate(self.steps):
            if number == self.gap:
                yield None, f"… and so on, {self.left_out} times more"
            one, other = self.transactions[step.source].name, self.transactions[step.target].name
            said = f"{one} < {other}, because {step.why}"
            if number == len(self.steps) - 1:
                said = f"however, {said}; so {other} would come before itself: a contradiction"
            yield step, said

    def sentences(self) -> tuple[str, ...]:
        """All that a finding says of it."""
        return (*self.who(), *(said for _, said in self.argument()))

    def to_json(self) -> dict[str, Any]:
        names = [one.name for one in self.transactions]
        return {
            "transactions": [one.to_json() for one in self.transactions],
            "steps": [
                {
                    "from": names[step.source],
                    "to": names[step.target],
                    "kind": step.kind,
                    "why": step.why,
                    **({"key": step.key, "values": list(step.values)} if step.mops else {}),
                    "mops": [[names[at], mop] for at, mop in step.mops],
                }
                for step in self.steps
            ],
            "left out": self.left_out,
        }

    @staticmethod
    def from_json(shape: Mapping[str, Any]) -> Cycle:
        """The cycle whose `to_json` it is.

        Raises:
            KeyError, TypeError, ValueError: it is that of none.
        """
        transactions = tuple(
            Transaction(
                str(one["name"]),
                tuple(int(at) for at in one["events"]),
                one["process"] if isinstance(one["process"], int) else str(one["process"]),
                str(one["outcome"]),
                {int(at): str(words) for at, words in one["mops"]},
                int(one["size"]),
            )
            for one in shape["transactions"]
        )
        place = {one.name: at for at, one in enumerate(transactions)}
        steps = tuple(
            Step(
                place[step["from"]],
                place[step["to"]],
                str(step["kind"]),
                str(step["why"]),
                step.get("key"),
                tuple(step.get("values", ())),
                tuple((place[name], int(mop)) for name, mop in step["mops"]),
            )
            for step in shape["steps"]
        )
        cycle = Cycle(transactions, steps, int(shape["left out"]))
        if not cycle._is_closed():
            raise ValueError("its steps do not follow each other in a circle")
        return cycle

    def _is_closed(self) -> bool:
        ends = [step.target for step in self.steps]
        begins = [step.source for step in (*self.steps[1:], *self.steps[:1])]
        meet = [one == other for one, other in zip(ends, begins, strict=True)]
        if self.gap is not None and self.gap > 0:
            meet[self.gap - 1] = True
        return bool(self.steps) and all(meet) and all(one.events for one in self.transactions)
