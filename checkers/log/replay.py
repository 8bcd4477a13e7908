"""From a case to a finding: the fewest operations that show it, and sentences that they confirm.

The operations of a case are judged alone, as a history of their own. Those without which the case
still stands are left out, one by one, until it needs each that is left. Its sentences are then
those of this small history, so that a reader can check all of them on its few operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from checkers.log.cases import Case, Cases
from checkers.log.order import Order
from checkers.log.tables import Tables
from harness.history import History
from harness.verdict import Finding

Detect = Callable[[Order], Cases]
Operations = tuple[tuple[int, ...], ...]


class Unconfirmed(Exception):
    """A case that its own operations do not show: a bug of ours. The text says which."""


def findings(
    order: Order, name: str, cases: Cases, detect: Detect, numbers: Iterable[int]
) -> list[Finding]:
    """Findings of some cases of an anomaly, each once. One that is not confirmed says so, and no
    contract excuses it."""
    every = (_finding(order, name, cases, number, detect) for number in numbers)
    return list({(finding.claim, finding.witness): finding for finding in every}.values())


def _finding(order: Order, name: str, cases: Cases, number: int, detect: Detect) -> Finding:
    history, case = order.tables.history, cases.make(number)
    try:
        operations, shown = _reduced(history, case, detect)
    except Unconfirmed as error:
        claim = f"{error} (a bug of this checker: please report it)"
        return Finding(name, claim, excusable=False)
    witness = tuple(sorted(position for events in operations for position in events))
    window = cases.windows.take([number]) if cases.windows is not None else None
    return Finding(
        name,
        shown.claim,
        shown.because,
        witness,
        key=order.tables.keys[case.key],
        span=_span(order, case, operations) if window is None else window.span(0),
        window=window,
    )


def _reduced(history: History, case: Case, detect: Detect) -> tuple[Operations, Case]:
    operations = tuple(dict.fromkeys(case.operations))
    shown = _replayed(history, operations, case.claim, detect)
    if shown is None:
        raise Unconfirmed(f"{case.claim}: not shown by {operations}")
    again = True
    while again and len(operations) > 1:
        again = False
        for events in operations:
            rest = tuple(other for other in operations if other != events)
            if (without := _replayed(history, rest, case.claim, detect)) is not None:
                operations, shown, again = rest, without, True
    return operations, shown


def _replayed(history: History, operations: Operations, claim: str, detect: Detect) -> Case | None:
    """The case with this claim in the history of these operations alone."""
    if not operations:
        return None
    positions = tuple(sorted(position for events in operations for position in events))
    alone = History.of([history[position] for position in positions])
    cases = detect(Order(Tables.of(alone, positions)))
    made = (cases.make(number) for number in range(len(cases)))
    return next((case for case in made if case.claim == claim), None)


def _span(order: Order, case: Case, operations: Operations) -> tuple[int, int]:
    """When a cause must lie: from the first send of what it is about, or the first operation, to
    the last completion. An operation without one may take effect until the end."""
    history = order.tables.history
    starts = [events[0] for events in operations]
    starts += [int(order.begun[message]) for message in case.messages]
    first = min(position for position in starts if position < len(history))
    is_open = any(len(events) == 1 and history.pair[events[0]] < 0 for events in operations)
    last = len(history) - 1 if is_open else max(events[-1] for events in operations)
    return int(history.time[first]), int(history.time[last])


def detected(order: Order, detectors: Mapping[str, Detect]) -> dict[str, Cases]:
    """The cases of each anomaly that has any."""
    found = {name: detect(order) for name, detect in detectors.items()}
    return {name: cases for name, cases in found.items() if len(cases)}
