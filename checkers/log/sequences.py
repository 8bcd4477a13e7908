"""What one operation, or one process after another operation, did out of turn.

A *run* is what an operation polled (or sent) of one key, in order. Inside a run, and from the end
of a process' run to the beginning of its next one of that key, slots must ascend; and polls must
not leave out a slot. The step between two entries is the distance of their slots; where the slot of
one is unknown, it counts as 1, so that nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from checkers.log.cases import CONTRADICTION, Case, Cases, Proof, Proofs
from checkers.log.codes import Bools, Ints, dense, order_by
from checkers.log.deletions import floors
from checkers.log.order import Order
from checkers.log.spans import of_steps, polled_there
from checkers.log.tables import UNKNOWN, Entries
from checkers.transactions import wide
from harness.op import FAIL, OK
from harness.windows import Windows


@dataclass(frozen=True)
class Steps:
    """Pairs of entries that follow each other, and the distance of their slots.

    Attributes:
        before, after: int64[steps], entries.
        size: int64[steps].
    """

    before: Ints
    after: Ints
    size: Ints

    def where(self, chosen: Bools) -> Steps:
        return Steps(self.before[chosen], self.after[chosen], self.size[chosen])


class Sequences:
    """The steps of all polls, or of all sends, of an order. `verb` is "polled" or "sent"."""

    @staticmethod
    def polls(order: Order) -> Sequences:
        return Sequences._of(order, "polled")

    @staticmethod
    def sends(order: Order) -> Sequences:
        return Sequences._of(order, "sent")

    @staticmethod
    def _of(order: Order, verb: str) -> Sequences:
        """The one of this order, so that what several anomalies need is computed once."""
        if verb not in order.views:
            order.views[verb] = Sequences(order, verb)
        found = order.views[verb]
        assert isinstance(found, Sequences)
        return found

    def __init__(self, order: Order, verb: str) -> None:
        self.order, self.tables, self.verb = order, order.tables, verb
        polls = verb == "polled"
        self.entries: Entries = self.tables.polled if polls else self.tables.sent
        self.slot = order.polled_slot if polls else order.sent_slot
        self.message = order.polled if polls else order.sent
        # Polls that did not complete leave the position where it was; sends that failed are none.
        status = self.tables.status
        self.advances = status == OK if polls else status != FAIL
        self.counts = np.ones_like(self.advances) if polls else self.advances

    @cached_property
    def _grouped(self) -> tuple[Ints, Bools]:
        """(entries, op by op and key by key; which of them begin a run)."""
        entries = self.entries
        order = np.arange(len(entries), dtype=np.int32)
        if self.verb == "sent" and (entries.op[1:] == entries.op[:-1]).any():
            order = np.lexsort((entries.key, entries.op)).astype(np.int32)
        op, key = entries.op[order], entries.key[order]
        begins = np.ones(len(entries), np.bool_)
        begins[1:] = (op[1:] != op[:-1]) | (key[1:] != key[:-1])
        return order, begins

    @cached_property
    def internal(self) -> Steps:
        """Steps inside of a run that are not to the next slot, of keys that were not rebalanced."""
        order, begins = self._grouped
        place = np.flatnonzero(~begins).astype(np.int32)
        steps = self._steps(order[place - 1], order[place])
        return steps.where(~self._rebalanced(steps)) if len(steps.size) else steps

    @property
    def external(self) -> Steps:
        """Steps from a process' run of a key to its next one that are not to the next slot.

        There is none where the process let go of the key in between, or was subscribed: then
        somebody else may have read what lies between.
        """
        return self._external[0]

    @property
    def unjudged(self) -> int:
        """How many such steps there are while the process was subscribed."""
        return self._external[1]

    @cached_property
    def _external(self) -> tuple[Steps, int]:
        order, begins = self._grouped
        first: Ints = np.flatnonzero(begins)
        last: Ints = np.append(first[1:], len(order)) - 1
        op = self.entries.op[order[first]]
        counts = self.counts[op]
        first, last, op = order[first[counts]], order[last[counts]], op[counts]
        process, _ = dense(self.tables.process[op])
        owner: Ints = dense(wide(process, len(self.tables.keys), self.entries.key[first]))[0]
        by_owner = order_by(owner)
        first, last, op, owner = (column[by_owner] for column in (first, last, op, owner))
        # The latest run before each that moved the position.
        number = np.where(self.advances[op], np.arange(len(op)), -1)
        latest = np.maximum.accumulate(number)[:-1] if len(op) else number
        there = np.flatnonzero((latest >= 0) & (owner[latest] == owner[1:]))
        return self._judged(self._steps(last[latest[there]], first[there + 1]))

    def _steps(self, before: Ints, after: Ints) -> Steps:
        start, end = self.slot[before], self.slot[after]
        size = np.where((start == UNKNOWN) | (end == UNKNOWN), 1, end - start)
        if self.verb == "polled":
            # Who was at a place that was deleted goes on behind it, and has missed nothing.
            past = np.maximum(self._passed(before), start)
            size = np.where(size > 1, np.maximum(end - past, 1), size)
        return Steps(before, after, size).where(size != 1)

    def _passed(self, entries: Ints) -> Ints:
        """The last slot that need not be read after each entry: its own, or a deleted one."""
        return np.maximum(self.slot[entries], floors(self.order)[self.entries.key[entries]])

    def _judged(self, steps: Steps) -> tuple[Steps, int]:
        """The steps that can be judged, and how many cannot since the process was subscribed."""
        tables, op = self.tables, self.entries.op
        if not len(steps.size):
            return steps, 0
        key, process = self.entries.key[steps.after], tables.process[op[steps.after]]
        first, last = tables.end[op[steps.before]], tables.end[op[steps.after]]
        held = ~tables.assigns.dropped(process, key, first, last)
        if self.verb == "sent":
            return steps.where(held), 0
        subscribed = tables.assigns.subscribed(process, first, last)
        return steps.where(held & ~subscribed), int((held & subscribed).sum())

    def _rebalanced(self, steps: Steps) -> Bools:
        """Whether the key of each step was rebalanced during its operation."""
        excused = np.zeros(len(steps.size), np.bool_)
        if self.verb == "polled":
            op, key = self.entries.op[steps.after], self.entries.key[steps.after]
            for place in np.flatnonzero(self.tables.has_extra[op]).tolist():
                excused[place] = self.tables.rebalanced(int(op[place]), int(key[place]))
        return excused

    # -- cases -----------------------------------------------------------------------------------

    def skips(self, kind: str) -> Cases:
        """Steps, "internal" or "external", over a slot or more; the longest first."""
        steps: Steps = getattr(self, kind)
        steps = steps.where(steps.size > 1)
        return self._cases(steps, np.argsort(-steps.size, kind="stable"), is_skip=True)

    def reversals(self, kind: str) -> Cases:
        """Steps, "internal" or "external", to the same slot or back; the longest first."""
        steps: Steps = getattr(self, kind)
        steps = steps.where(steps.size < 1)
        return self._cases(steps, np.argsort(steps.size, kind="stable"), is_skip=False)

    def _cases(self, steps: Steps, worst_first: Ints, *, is_skip: bool) -> Cases:
        before, after = steps.before[worst_first], steps.after[worst_first]

        def make(number: int) -> Case:
            return self._case(int(before[number]), int(after[number]), is_skip)

        return Cases(self.entries.key[after], make, self._windows(before, after, is_skip))

    def _windows(self, before: Ints, after: Ints, is_skip: bool) -> Windows | None:
        if not len(before):
            return None
        slots: tuple[Ints, ...] = (self.slot[before], self.slot[after])
        if is_skip:
            slots = (*slots, self._passed(before) + 1)
        ops = (self.entries.op[before], self.entries.op[after])
        # A sender is set back where its last message is lost, so not where that can be read.
        settled = np.zeros(len(before), np.bool_)
        if self.verb == "sent":
            settled = polled_there(self.order, self.message[before], self.slot[before])
        return of_steps(self.order, ops, slots, settled)

    def _case(self, before: int, after: int, is_skip: bool) -> Case:
        proofs, key = Proofs(self.order), int(self.entries.key[after])
        one, other = int(self.message[before]), int(self.message[after])
        steps = [self._step(proofs, before), self._step(proofs, after)]
        what = (
            f"{proofs.who(int(self.entries.op[after]))} {self.verb} {proofs.message(one)} of "
            f"{proofs.key(key)}"
        )
        if is_skip:
            steps.append(self._between(proofs, before, after))
            claim = f"{what} and next {proofs.message(other)}, past what lies between them"
            law = "a consumer gets every message in turn"
        else:
            next_one = "again" if one == other else f"and next {proofs.message(other)}"
            claim = f"{what} {next_one}, which is not behind it"
            law = f"what a process {self.verb} next is behind what it {self.verb} before"
        because = [sentence for step in steps for sentence in step.sentences]
        because.append(f"however, {law}: {CONTRADICTION}")
        return Case(
            key,
            claim,
            tuple(dict.fromkeys(because)),
            proofs.events(op for step in steps for op in step.ops),
            (one, other),
        )

    def _step(self, proofs: Proofs, entry: int) -> Proof:
        """That the entry's operation polled (or sent) its message, and where that lies."""
        op, message, slot = (
            int(column[entry]) for column in (self.entries.op, self.message, self.slot)
        )
        said = f"{proofs.at(op)}: {proofs.who(op)} {self.verb} {proofs.message(message)}"
        proof = proofs.lies(message, slot, op)
        if proof.ops == (op,):
            where = f", {proofs.offset(slot)} of {proofs.key(int(self.entries.key[entry]))}"
            return Proof((op,), (said + where,))
        return Proof((op, *proof.ops), (said, *proof.sentences))

    def _between(self, proofs: Proofs, before: int, after: int) -> Proof:
        """That something lies between two entries."""
        slot = int(self._passed(np.array([before]))[0]) + 1
        assert slot < self.slot[after]
        return proofs.lies(int(self.order.distinct_messages(slot)[0]), slot)
