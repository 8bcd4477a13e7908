"""What is said of containers' values that are wrong: the arguments that queues, stacks, … share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.linearizable import values as columns
from checkers.linearizable.argue import witness, words
from checkers.linearizable.doubts import Short
from checkers.linearizable.held import Strays, Values
from checkers.linearizable.values import Ints
from harness.columns import NULL
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

Span = tuple[int, int]
"""Begin and end of an operation."""

Cases = Mapping[str, Sequence[tuple[Sequence[Any] | Ints, Callable[[Any], Finding]]]]
"""By anomaly: cases, and who argues one of these."""


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of object, in the words of its operations.

    Attributes:
        thing: what it is. put, take: its operations.
        over: what cannot be inside when a value comes out.
    """

    thing: str
    put: str
    take: str
    over: str = ""


class Arguments:
    """Says why something is wrong with values, and which operations show it."""

    def __init__(self, history: History, told: Values, keyed: bool, kind: Container) -> None:
        self.history, self.told, self.keyed, self.kind = history, told, keyed, kind

    def verdict(self, cases: Cases, stats: Mapping[str, int]) -> Verdict:
        """All cases counted, some argued."""
        counts = {name: sum(len(some) for some, _ in kinds) for name, kinds in cases.items()}
        return Verdict.of(
            [
                argue(case.tolist() if isinstance(case, np.ndarray | np.integer) else case)
                for kinds in cases.values()
                for case, argue in _first(kinds)
            ],
            counts={name: count for name, count in counts.items() if count},
            stats=dict(stats),
        )

    def strays(self, found: Strays) -> Cases:
        """The cases that no order explains."""
        return {
            "duplicate": [(found.twice, self.duplicate)],
            "future-read": [(found.early, self.future)],
            "phantom": [(found.phantoms, self.phantom)],
            "G1a": [(found.aborted, self.aborted)],
        }

    def duplicate(self, value: int) -> Finding:
        put = self.put(value)
        first, second = (self.got(value, nth) for nth in (0, 1))
        return self.finding(
            "duplicate",
            value,
            f"{self.value(value)} came out twice",
            (
                f"{self.words(put)} is the only one of this value",
                f"{self.words(first)} at op {first[1]}",
                f"however, {self.words(second)} at op {second[1]}, too: a contradiction",
            ),
            [put, first, second],
        )

    def future(self, value: int) -> Finding:
        put, out = self.put(value), self.got(value)
        return self.finding(
            "future-read",
            value,
            f"{self.value(value)} came out before anybody began to put it in",
            (
                f"{self.words(out)} ended at op {out[1]}",
                f"however, the only {self.kind.put} of it began later, at op {put[0]}: "
                "a contradiction",
            ),
            [put, out],
        )

    def phantom(self, value: int) -> Finding:
        out = self.got(value)
        return self.finding(
            "phantom",
            value,
            f"{self.value(value)} came out, and nobody tried to put it in",
            (
                f"{self.words(out)} at op {out[1]}",
                f"however, no {self.kind.put} of {self.value(value)} is in the history: "
                "a contradiction",
            ),
            [out],
        )

    def aborted(self, value: int) -> Finding:
        out = self.got(value)
        begin = int(self.told.failed_begin[np.flatnonzero(self.told.of_failed == value)[0]])
        return self.finding(
            "G1a",
            value,
            f"{self.value(value)} came out, and its {self.kind.put} failed",
            (
                f"op {int(self.history.pair[begin])} told that it was not put in",
                f"however, {self.words(out)} at op {out[1]}: a contradiction",
            ),
            [(begin, begin), out],
        )

    def false_empty(self, number: int, chain: Sequence[int]) -> Finding:
        """The `number`th that found nothing, while the values of the chain followed each other."""
        empty = self.told.empty
        op = int(empty.begin[number]), int(empty.end[number])
        return self.finding(
            "false-empty",
            None,
            f"a {self.kind.take} found nothing, and the {self.kind.thing} held "
            f"{self.listed(chain)} all the while",
            (
                *self.held(chain),
                f"so something was inside from op {self.put(chain[0])[1]} until after op {op[1]}",
                f"however, {self.words(op)} from op {op[0]} to op {op[1]}: a contradiction",
            ),
            [op, *self.spans(chain)],
            key=int(empty.key[number]),
        )

    def short(self, lost: Short) -> Finding:
        """Values that never came out had to be taken, by too few in doubt, or by nobody."""
        told, kind = self.told, self.kind
        if not lost.begins and lost.empty:
            return self.false_empty(lost.empty[0], lost.values)
        puts, taken = [*map(self.put, lost.values)], [*map(self.got, lost.out)]
        begun = [max(op[0], self.put(value)[0]) for op, value in zip(taken, lost.out, strict=True)]
        nothing = [(int(told.empty.begin[n]), int(told.empty.end[n])) for n in lost.empty]
        doubtful = [(begin, begin) for begin in lost.begins]
        count = f"{len(doubtful)} {kind.take}{'s' * (len(doubtful) > 1)} in doubt"
        names = ", ".join(sorted(map(self.value, lost.values)))
        return self.finding(
            "skipped",
            lost.values[0],
            f"{names} never came out, and only {count} can have taken any of them in time",
            (
                *(f"{self.words(put)} ended at op {put[1]}" for put in puts),
                *(
                    f"{self.words(op)} came after op {at} and before op {op[1]}, and {kind.over} "
                    "can have been inside then"
                    for op, at in zip(taken, begun, strict=True)
                ),
                *(f"{self.words(op)} came before op {op[1]}" for op in nothing),
                *(f"{self.words(op)} began at op {op[0]}" for op in doubtful),
                f"however, {len(puts)} values had to be out by then, and nobody else can have "
                "taken any: a contradiction",
            ),
            [*puts, *map(self.put, lost.out), *taken, *nothing, *doubtful],
        )

    def held(self, chain: Sequence[int]) -> Iterator[str]:
        """Why the values of a chain followed each other inside: each was put in before the one
        before it was taken. The last one's end is not spoken of."""
        for value in chain:
            put = self.put(value)
            told = f"{self.words(put)} ended at op {put[1]}"
            if value != chain[-1]:
                out = self.got(value)
                told += f", and {self.words(out)} began at op {out[0]}"
            yield told

    def spans(self, chain: Sequence[int]) -> list[Span]:
        """What put the values of a chain in, and took all but the last."""
        return [*map(self.put, chain), *map(self.got, chain[:-1])]

    def listed(self, chain: Sequence[int]) -> str:
        """The values, or the first few."""
        return ", then ".join(map(self.value, chain[:4])) + ", …" * (len(chain) > 4)

    def finding(
        self,
        anomaly: str,
        value: int | None,
        claim: str,
        because: tuple[str, ...],
        ops: list[Span],
        key: int = NULL,
    ) -> Finding:
        """The finding of a value's key, or of this one."""
        whole = witness(
            self.history, [columns.call(self.history, begin, self.keyed) for begin, _ in ops]
        )
        code = key if value is None else int(self.told.key[value])
        shown = columns.shown(self.history, code) if self.keyed else None
        return Finding(
            anomaly=anomaly,
            claim=claim if shown is None else f"key {shown}: {claim}",
            because=because,
            witness=whole,
            key=shown,
            span=(int(self.history.time[whole[0]]), int(self.history.time[whole[-1]])),
        )

    def put(self, value: int) -> Span:
        """Who put it in."""
        return int(self.told.in_begin[value]), int(self.told.in_end[value])

    def got(self, value: int, nth: int = 0) -> Span:
        """Who took it, the first or a later one."""
        at = np.flatnonzero(self.told.of_got == value)[nth]
        return int(self.told.got_begin[at]), int(self.told.got_end[at])

    def value(self, value: int) -> str:
        return repr(columns.shown(self.history, int(self.told.value[value])))

    def words(self, op: Span) -> str:
        """Who did what, and what came of it."""
        call = columns.call(self.history, op[0], self.keyed)
        return f"c{call.process}'s {words(call)}"


def _first(kinds: Iterable[tuple[Any, Callable[[Any], Finding]]]) -> list[tuple[Any, Any]]:
    """The first cases of an anomaly, each with who argues it."""
    some = [(case, argue) for cases, argue in kinds for case in cases[:EXAMPLES_MAX]]
    return some[:EXAMPLES_MAX]
