"""Checkers against the trying of all orders, for as long as one likes; no test, run by hand:

    .venv/bin/python -m tests.checkers.by_hand append --histories 100000

For each history two things must hold. The checker says what all orders say; of transactions over
registers, whose order is not always known, it says nothing where an order explains them. And it is
monotone: a history that is invalid while the outcome of an operation is unknown is invalid whatever
the outcome is.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from checkers import linearizable, list_append, rw_register
from checkers.linearizable import counter, models, priority_queue, queue, register, sets, stack
from checkers.linearizable.models import Model
from checkers.list_append_versions import Versions
from checkers.rw_register_versions import LINEARIZABLE, SEQUENTIAL, WFR, Registers
from harness.checker import Check
from harness.guarantees import derive
from harness.history import History
from harness.op import Op
from harness.timeline import render
from harness.verdict import Outcome
from tests.checkers import oracle_linear, test_search, txns
from tests.checkers.oracle_linear import Asks
from tests.checkers.outcomes import forgotten, renumbered
from tests.checkers.test_counter import Counts
from tests.checkers.test_priority_queue import Anything as Priorities
from tests.checkers.test_priority_queue import Nearly as NearlyPriorities
from tests.checkers.test_queue import Anything, Nearly
from tests.checkers.test_register import Writes
from tests.checkers.test_rw_register_oracle import spoiled as misread
from tests.checkers.test_sets import Adds
from tests.checkers.test_stack import Anything as Stacked
from tests.checkers.test_stack import Nearly as NearlyStacked
from tests.checkers.witnesses import STRICT

ORDERS = ("realtime", "process", "")
RULES = {
    "realtime": frozenset({WFR, SEQUENTIAL, LINEARIZABLE}),
    "process": frozenset({WFR, SEQUENTIAL}),
    "": frozenset({WFR}),
}


@dataclass(frozen=True)
class Answer:
    """What a checker and all orders say: whether the history is valid."""

    checker: bool
    orders: bool

    @property
    def fits(self) -> bool:
        return self.checker == self.orders


Draw = Callable[[random.Random, int], list[Op]]
Judge = Callable[[list[Op]], list[Answer]]
"""The answers on one history, in an order that is always the same."""


@dataclass(frozen=True)
class Subject:
    """What is tried: histories of at most so many operations, and who judges them.

    Attributes:
        sound: only what the checker calls invalid is compared: it need not see everything.
    """

    draw: Draw
    judge: Judge
    sound: bool = False


# -- transactions --------------------------------------------------------------------------------


def of_order(names: set[str], order: str) -> bool:
    """Whether nothing was found that contradicts this order."""
    later = {"realtime": (), "process": ("-realtime",), "": ("-process", "-realtime")}[order]
    return not any(not name.endswith(later) if later else True for name in names)


def lists(rng: random.Random, operations: int) -> list[Op]:
    return _transactions(rng, operations, registers=False)


def cells(rng: random.Random, operations: int) -> list[Op]:
    return _transactions(rng, operations, registers=True)


def _transactions(rng: random.Random, operations: int, *, registers: bool) -> list[Op]:
    isolation = rng.choice(txns.ISOLATIONS)
    count, keys = rng.randint(2, operations), rng.randint(1, 3)
    ops = txns.events(rng, isolation, count, keys=keys, info=0.15, registers=registers)
    if rng.random() < 0.5:
        ops = (misread if registers else txns.spoiled)(rng, ops)
    return ops


def judge_lists(ops: list[Op]) -> list[Answer]:
    names = set(list_append.detected(Versions(History.of(ops))))
    return [Answer(of_order(names, order), txns.serial(ops, order)) for order in ORDERS]


def judge_cells(ops: list[Op]) -> list[Answer]:
    history = History.of(ops)
    answers = []
    for order in ORDERS:
        names = set(rw_register.detected(Registers(history, rules=RULES[order])))
        answers.append(Answer(of_order(names, order), txns.serial(ops, order)))
    return answers


# -- objects -------------------------------------------------------------------------------------


def of_object(asks: Callable[[], Asks], model: Model, check: Check, workload: str = "") -> Subject:
    contract = derive("queue", {"model": workload}, "strict") if workload else STRICT

    def draw(rng: random.Random, operations: int) -> list[Op]:
        (calls,) = oracle_linear.histories(asks(), 1, operations, rng.randrange(1 << 60))
        return list(oracle_linear.history_of(calls))

    def judge(ops: list[Op]) -> list[Answer]:
        history = History.of(ops)
        calls = linearizable.calls.objects(history, model).calls
        orders = all(oracle_linear.linearizable(some, model) for some in calls.values())
        return [Answer(check(history, contract).outcome is Outcome.VALID, orders)]

    return Subject(draw, judge)


def searched(model: Model, asks: Asks) -> Subject:
    def check(history: History, _: object) -> object:
        return linearizable.judge(history, model)

    return of_object(lambda: asks, model, check)  # type: ignore[arg-type]


SUBJECTS: dict[str, Subject] = {
    "append": Subject(lists, judge_lists),
    "wr": Subject(cells, judge_cells, sound=True),
    "register": of_object(Writes, models.Register(), register.check),
    "set": of_object(Adds, models.Set(), sets.check),
    "queue": of_object(Anything, models.Fifo(), queue.check, "fifo"),
    "queue-nearly": of_object(Nearly, models.Fifo(), queue.check, "fifo"),
    "queue-unordered": of_object(Anything, models.Unordered(), queue.check, "unordered"),
    "priorities": of_object(Priorities, models.PriorityQueue(), priority_queue.check),
    "priorities-nearly": of_object(NearlyPriorities, models.PriorityQueue(), priority_queue.check),
    "stack": of_object(Stacked, models.Stack(), stack.check),
    "stack-nearly": of_object(NearlyStacked, models.Stack(), stack.check),
    "counter": of_object(Counts, models.Counter(), counter.check),
    **{
        f"search-{type(model).__name__.lower()}": searched(model, asks)
        for model, asks in test_search.OBJECTS
    },
}


# -- what must hold ------------------------------------------------------------------------------


def wrong(subject: Subject, rng: random.Random, operations: int) -> tuple[str, str]:
    """(outcome, what is wrong with it or nothing) of one random history."""
    ops = renumbered(subject.draw(rng, operations))
    answers = subject.judge(ops)
    outcome = "valid" if answers[0].orders else "invalid"
    for answer in answers:
        if subject.sound and answer.checker and not answer.orders:
            outcome = "missed"
        elif not answer.fits:
            return outcome, f"{answers}\n{render(History.of(ops))}"
    less = rng.choice([ops, *forgotten(ops)])
    for before, after in zip(subject.judge(less), answers, strict=True):
        # Without process order: the process is another one once an outcome is unknown.
        if not before.checker and after.checker:
            return outcome, f"not monotone\n{render(History.of(less))}\n{render(History.of(ops))}"
    return outcome, ""


def tried(name: str, histories: int, operations: int, seed: int) -> Counter[str]:
    """How many histories had which outcome; raises at one that is wrong."""
    outcomes: Counter[str] = Counter()
    for number in range(seed, seed + histories):
        rng = random.Random(f"{name}/{number}")
        outcome, fault = wrong(SUBJECTS[name], rng, operations)
        assert not fault, f"{name}, seed {number}: {fault}"
        outcomes[outcome] += 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SUBJECTS), help=", ".join(SUBJECTS))
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--operations", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    arguments = parser.parse_args()
    for name in arguments.names:
        outcomes = tried(name, arguments.histories, arguments.operations, arguments.seed)
        print(name, dict(sorted(outcomes.items())), flush=True)


if __name__ == "__main__":
    main()
