"""Linearizability: each operation takes effect at one moment between its call and its return.

Reads the operations of one kind of object (see `models`), each key by itself.

Anomalies:
    nonlinearizable   no order of the operations that agrees with their times is legal

Blind to: nothing within its budget; beyond it the verdict is *unknown*, with how far it came.
Cost: `search`; exponential at worst. The monitors beside it (`register`, …) are near-linear where
    values are unique.
Source: Herlihy & Wing, "Linearizability", TOPLAS 1990; Lowe, "Testing for Linearizability", 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from checkers.linearizable.argue import finding, from_nowhere, words
from checkers.linearizable.calls import Objects, are_keyed, begins, objects
from checkers.linearizable.models import (
    Counter,
    Fifo,
    Lock,
    Model,
    MultiRegister,
    PriorityQueue,
    Register,
    Set,
    Stack,
    Unordered,
)
from checkers.linearizable.search import CONFIGURATIONS, Answer, Call, search
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

__all__ = ["are_keyed", "begins", "both", "budget", "judge", "model_of", "orders", "told"]


def judge(
    history: History,
    model: Model,
    *,
    keys: set[Any] | None = None,
    budget: int = CONFIGURATIONS,
) -> Verdict:
    """Search for an order of each object, or of those with these keys; they share the budget."""
    found = objects(history, model, keys)
    answers = {}
    for key, calls in found.calls.items():
        answers[key] = _answer(calls, model, max(budget, SHARE_MIN))
        budget -= answers[key].configurations
    wrong = [key for key, answer in answers.items() if answer.linearizable is False]
    return Verdict.of(
        _findings(history, model, found, answers, wrong[:EXAMPLES_MAX]),
        doubts=[*found.doubts(), *_given_up(found.calls, answers)],
        counts={"nonlinearizable": len(wrong)} if wrong else {},
        stats={
            "searched": sum(map(len, found.calls.values())),
            "configurations": sum(answer.configurations for answer in answers.values()),
        },
    )


def _answer(calls: list[Call], model: Model, budget: int) -> Answer:
    nowhere = from_nowhere(calls, model)
    return search(calls, model, budget) if nowhere is None else Answer(False, (), nowhere, 0)


SHARE_MIN = 2_000
"""Configurations that each key gets, even where others have used up the budget."""


def model_of(name: str, contract: Contract) -> Model | None:
    """The model of the objects that are judged under this name; None if it is another's."""
    if name == "queue" and contract.promises.get("model") == "unordered":
        return Unordered()
    return MODELS.get(name)


MODELS: Mapping[str, Model] = {
    "register": Register(),
    "multi-register": MultiRegister(),
    "queue": Fifo(),
    "set": Set(),
    "stack": Stack(),
    "priority-queue": PriorityQueue(),
    "counter": Counter(),
    "lock": Lock(),
}


def orders(history: History, model: Model) -> dict[Any, list[Call]] | None:
    """By key, the operations in a legal order; None if there is none, or the search gave up."""
    placed = {}
    for key, calls in objects(history, model).calls.items():
        answer = search(calls, model)
        if not answer.linearizable:
            return None
        placed[key] = [calls[number] for number in answer.order]
    return placed


def told(history: History, name: str, contract: Contract) -> Iterator[str]:
    """Lines that show that a history is valid: an order of each object's operations."""
    model = model_of(name, contract)
    if model is None:
        return
    if len(history) > SHOWN_MAX:
        yield f"an order is shown of histories of at most {SHOWN_MAX} events"
        return
    for key, calls in (orders(history, model) or {}).items():
        whose = "" if key is None else f" of {key!r}"
        yield f"an order{whose}: " + ", ".join(f"c{call.process}'s {words(call)}" for call in calls)


SHOWN_MAX = 20_000
"""Longer orders nobody reads."""


def budget(contract: Contract) -> int:
    """How many configurations a search may try: `-o configurations=N`."""
    return int(contract.promises.get("configurations") or CONFIGURATIONS)


def both(monitor: Verdict, searched: Verdict) -> Verdict:
    """The verdict of a history of which one part was judged by a monitor and one searched."""
    return Verdict.of(
        [*monitor.findings, *searched.findings],
        doubts=[*monitor.doubts, *searched.doubts],
        counts={**monitor.counts, **searched.counts},
        stats={**monitor.stats, **searched.stats},
    )


def _findings(
    history: History,
    model: Model,
    found: Objects,
    answers: Mapping[Any, Answer],
    keys: Iterable[Any],
) -> Iterable[Finding]:
    for key in keys:
        stuck = answers[key].stuck
        assert stuck is not None
        yield finding(history, key, found.calls[key], stuck, model)


def _given_up(calls: Mapping[Any, list[Call]], answers: Mapping[Any, Answer]) -> Iterable[str]:
    for key, answer in answers.items():
        if answer.linearizable is None:
            whose = "" if key is None else f" of {key!r}"
            order = [calls[key][number] for number in answer.order]
            last = f", the last of them op {order[-1].begin}" if order else ""
            yield (
                f"the search for an order{whose} was given up after {answer.configurations} "
                f"configurations: {len(order)} of {len(calls[key])} operations were placed{last}"
            )
