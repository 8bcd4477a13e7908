"""Why there is no order: the smallest part of a history that shows it, and the words.

An operation is left out by forgetting that it happened: it may still have happened between its
begin and its end. What remains is an argument about the whole history, since nothing that was left
out could mend it; and for as long as operations can be left out, they are. An operation that is
kept brings one from which its outcome may come, so that the argument is not about values from
nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from checkers.linearizable.models import UNKNOWN, Model
from checkers.linearizable.search import NEVER, Call, search
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

EFFORT = 1_000_000
"""Events and configurations that all attempts at one argument may cost: a few seconds."""

PLACED_MAX = 8
"""How many operations of an order the words show."""


def finding(history: History, key: Any, calls: Sequence[Call], stuck: int, model: Model) -> Finding:
    """The argument that these calls, which got stuck at one, have no order."""
    smaller = Smaller(calls, stuck, model)
    kept = smaller.least()
    part = [calls[number] for number in kept]
    shown = "; ".join(words(call) for call in part[:PLACED_MAX])
    more = f"; … {len(part) - PLACED_MAX} more" if len(part) > PLACED_MAX else ""
    whose = "" if key is None else f" of {key!r}"
    return Finding(
        anomaly="nonlinearizable",
        claim=f"no order{whose} is legal for {_operations(len(part))}: {shown}{more}",
        because=tuple(_sentences(part, calls[stuck], smaller)),
        witness=witness(history, part),
        key=key,
        span=_span(history, part),
    )


def _sentences(part: Sequence[Call], last: Call, smaller: Smaller) -> Iterator[str]:
    yield from map(_told, part[-2 * PLACED_MAX :])
    yield _placed([part[number] for number in search(part, smaller.model).order])
    if not smaller.done:
        yield "a smaller argument may exist: looking for it was given up"
    yield (
        f"however, {_who(last)} {words(last)} had its effect before op {last.end}, and after no "
        "order of the others that their times allow can it have this outcome: a contradiction"
    )


def _span(history: History, part: Sequence[Call]) -> tuple[int, int]:
    last = max(call.end if call.end < NEVER else call.begin for call in part)
    return int(history.time[part[0].begin]), int(history.time[last])


def witness(history: History, part: Sequence[Call]) -> tuple[int, ...]:
    """The events of the calls."""
    return tuple(sorted(at for call in part for at in history.operation(call.begin)))


def words(call: Call) -> str:
    """The operation in short: f, what it was asked, what it told."""
    told = call.told if call.told is not UNKNOWN and call.told != call.asked else None
    shown = [call.f]
    if call.asked is not None:
        shown.append(_json(call.asked))
    if told is not None or (call.asked is None and _answers(call)):
        shown.append(f"-> {_json(told)}")
    return " ".join(shown) + (" (in doubt)" if call.end >= NEVER else "")


def _answers(call: Call) -> bool:
    return call.told is not UNKNOWN and call.f not in ("acquire", "release", "increment")


def _json(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_json, value)) + "]"
    return "null" if value is None else repr(value)


def _who(call: Call) -> str:
    return f"c{call.process}'s"


def _told(call: Call) -> str:
    span = f"from op {call.begin} to op {call.end}"
    if call.end >= NEVER:
        span = f"from op {call.begin}, and nobody knows whether and when"
    return f"{_who(call)} {words(call)}: {span}"


def _placed(order: Sequence[Call]) -> str:
    if not order:
        return "nothing can come before what follows"
    shown = ", ".join(words(call) for call in order[-PLACED_MAX:])
    dots = "…, " if len(order) > PLACED_MAX else ""
    return f"the longest order that was found is: {dots}{shown}"


def _operations(count: int) -> str:
    return "this operation" if count == 1 else f"these {count} operations"


def from_nowhere(calls: Sequence[Call], model: Model) -> int | None:
    """The first call to end, by number, of which nobody had begun to make what it needs."""
    if model.every_maker:
        return None
    made: dict[Any, int] = {}
    for call in calls:
        for token in model.makes(call.f, call.asked):
            made[token] = min(made.get(token, NEVER), call.begin)
    orphans = (
        (call.end, number)
        for number, call in enumerate(calls)
        if call.known
        and any(made.get(token, NEVER) > call.end for token in model.needs(call.f, call.told))
    )
    return min(orphans, default=(0, None))[1]


class Smaller:
    """Looks for the least calls that still have no order, the others forgotten."""

    def __init__(self, calls: Sequence[Call], stuck: int, model: Model) -> None:
        self.model, self.stuck, self.effort = model, stuck, EFFORT
        # Before the stuck call's end there is an order of everything that had ended; so it is part
        # of every argument. What ended later need not have happened by then, and what began later
        # cannot have kept the stuck call from its outcome.
        end = calls[stuck].end
        self.calls = [replace(call, end=NEVER) if call.end > end else call for call in calls]
        self.there = [number for number, call in enumerate(calls) if call.begin < end]
        self.makers: dict[Any, list[int]] = {}
        for number in self.there:
            for made in model.makes(calls[number].f, calls[number].asked):
                self.makers.setdefault(made, []).append(number)

    @property
    def done(self) -> bool:
        """Whether nothing was left untried."""
        return self.effort > 0

    def least(self) -> list[int]:
        """Numbers of the calls that are kept, ascending."""
        if from_nowhere([self.calls[number] for number in self.there], self.model) is not None:
            return [self.stuck]
        kept, before = self._latest(), set[int]()
        while kept != before and self.effort > 0:  # what needed another may be gone by now
            before = kept
            for number in sorted(kept - {self.stuck}):
                if self.effort > 0:
                    kept = self._without(kept, number)
        return sorted(kept)

    def _latest(self) -> set[int]:
        """As few of the last calls as will do, by doubling."""
        by_end = sorted(self.there, key=lambda number: min(self.calls[number].end, 2**61))
        by_end.remove(self.stuck)
        count = 0
        while count < len(by_end) and self.effort > 0:
            kept = self._supported({self.stuck, *by_end[len(by_end) - count :]})
            if self._has_no_order(kept):
                return kept
            count = 2 * count or 1
        return set(self.there)

    def _without(self, kept: set[int], number: int) -> set[int]:
        """The calls less this one, and less what is needed by nobody then; or all of them."""
        fewer = kept - {number}
        if self._supported(fewer) == fewer and self._has_no_order(fewer):
            return fewer
        return kept

    def _supported(self, kept: set[int]) -> set[int]:
        """These calls, with one from which each outcome may come."""
        whole, waiting = set(kept), list(kept)
        while waiting:
            call = self.calls[waiting.pop()]
            needs = () if call.told is UNKNOWN else self.model.needs(call.f, call.told)
            for needed in needs:
                more = self._makers(call, needed, whole)
                whole.update(more)
                waiting.extend(more)
        return whole

    def _makers(self, call: Call, needed: Any, kept: set[int]) -> list[int]:
        makers = [n for n in self.makers.get(needed, ()) if self.calls[n] is not call]
        if self.model.every_maker:
            return [number for number in makers if number not in kept]
        if not makers or not kept.isdisjoint(makers):
            return []
        before = [number for number in makers if self.calls[number].begin < call.end]
        return [(before or makers)[-1]]

    def _has_no_order(self, kept: set[int]) -> bool:
        part = [
            call if number in kept or call.end >= NEVER else replace(call, optional=True)
            for number, call in ((number, self.calls[number]) for number in self.there)
        ]
        self.effort -= 2 * len(part)
        answer = search(part, self.model, budget=max(self.effort, 0))
        self.effort -= answer.configurations
        return answer.linearizable is False


@dataclass(slots=True)
class Argued:
    """All that a monitor finds, counted, of which some is argued."""

    history: History
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    argued: list[Finding] = field(default_factory=list)

    def add(
        self, anomaly: str, key: Any, claim: str, because: Sequence[str], calls: Sequence[Call]
    ) -> None:
        self.counts[anomaly] += 1
        if self.counts[anomaly] > EXAMPLES_MAX:
            return
        whole = witness(self.history, calls)
        time = self.history.time
        self.argued.append(
            Finding(
                anomaly=anomaly,
                claim=claim if key is None else f"key {key}: {claim}",
                because=tuple(because),
                witness=whole,
                key=key,
                span=(int(time[whole[0]]), int(time[whole[-1]])),
            )
        )

    def verdict(self, doubts: Sequence[str]) -> Verdict:
        return Verdict.of(self.argued, counts=dict(self.counts), doubts=doubts)
