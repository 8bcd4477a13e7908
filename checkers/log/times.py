"""What is looked up by time is the first message that is not older than that.

Reads `offsets-for-times` ({"k": v} → {"k": [offset, v'] or null}, where times are told as values:
a message is as old as its value says, see `workloads.log`), and `send`, `poll` and `txn` for what
lies where. It judges by messages that lay at their offsets throughout: known to lie there before
the question, polled there after the answer.

Anomalies, of an answer:
    listoffsets-too-late    it passes over a message that is not older than what was asked for, or
                            finds nothing, where there is such a message
    listoffsets-too-early   it names a message that is older

Never flagged: what may have been deleted on request (who polls it after that may have fetched it
before); an answer of what lay elsewhere before or after; a partition without an answer; an
acknowledged message that was not polled before the question, but with acks=all.

Blind to: what nobody polled after the answer, so that runs of ours are judged by their final reads;
histories of other tools, which ask in milliseconds.
Cost: questions times messages of a key, in columns; nothing without a question.
Source: Kafka's ListOffsets; the catalogue of known bugs (K52).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.log.codes import Ints
from checkers.log.deletions import deletions
from checkers.log.tables import UNKNOWN, Tables
from harness.guarantees import Contract
from harness.history import History
from harness.op import OK, Kind
from harness.verdict import EXAMPLES_MAX, Finding, Verdict
from harness.windows import Windows

F = "offsets-for-times"
LATE, EARLY = "listoffsets-too-late", "listoffsets-too-early"


@dataclass(frozen=True, slots=True)
class Question:
    """One key of an operation. `found` is (offset, value or None); None if nothing was found."""

    events: tuple[int, ...]
    process: Any
    key: str
    value: int
    found: tuple[int, int | None] | None

    @property
    def begin(self) -> int:
        return self.events[0]

    @property
    def end(self) -> int:
        return self.events[-1]

    @property
    def words(self) -> str:
        asked = f"op {self.end}: process {self.process} asked where key {self.key} holds the first "
        asked += f"message that is not older than message {self.value}, "
        if self.found is None:
            return asked + "and was told that there is none"
        offset, value = self.found
        return asked + f"and was told offset {offset}" + ("" if value is None else f", of {value}")


@dataclass(frozen=True, slots=True)
class Lying:
    """Messages of a key by offset; a row is an offset and a value.

    Attributes:
        offset, value: int64[rows].
        known, by: int64[rows]; where the first operation ends that proves it, and its row.
        seen, seer: int64[rows]; where the last poll of it begins, and its row; -1 without one.
    """

    offset: Ints
    value: Ints
    known: Ints
    by: Ints
    seen: Ints
    seer: Ints

    def throughout(self, question: Question) -> Ints:
        """Rows, ascending by offset."""
        return np.flatnonzero((self.known < question.begin) & (self.seen > question.end))


def check(history: History, contract: Contract) -> Verdict:
    """Every wrong answer."""
    questions = list(_questions(history))
    if not questions:
        return Verdict.of([])
    tables = Tables.of(history)
    lying = _lying(tables, acks_all=contract.promises.get("acks", "all") == "all")
    found = [finding for q in questions if (finding := _judge(q, tables, lying.get(q.key)))]
    counts, windows, shown = {}, {}, []
    for name in (LATE, EARLY):
        # Those that found something first: nothing excuses them.
        of = sorted((f for f in found if f.anomaly == name), key=lambda f: not _settled(f))
        if of:
            counts[name] = len(of)
            windows[name] = _joined([finding.window for finding in of if finding.window])
            shown += of[:EXAMPLES_MAX]
    stats = {"looked up by time": len(questions)}
    return Verdict.of(shown, counts=counts, stats=stats, windows=windows)


def _questions(history: History) -> Iterator[Question]:
    for position in history.select(f=F).tolist():
        op = history[position]
        if op.type is not Kind.OK or not isinstance(op.process, int):
            continue
        events = history.operation(position)
        asked = history[events[0]].value
        if not isinstance(asked, Mapping) or not isinstance(op.value, Mapping):
            continue
        for key, found in op.value.items():
            if key in asked:
                at = None if found is None else (int(found[0]), found[1])
                yield Question(events, op.process, key, int(asked[key]), at)


def _judge(question: Question, tables: Tables, lying: Lying | None) -> Finding | None:
    found = question.found
    if found is not None and found[1] is not None and found[1] < question.value:
        because = ("however, that is older, by its own word: a contradiction",)
        return _finding(EARLY, question, tables, f"message {found[1]}, which is older", because)
    if lying is None:
        return None
    rows = lying.throughout(question)
    if found is not None:
        older = rows[(lying.offset[rows] == found[0]) & (lying.value[rows] < question.value)]
        if len(older):
            what = f"offset {found[0]}, where older message {lying.value[older[0]]} lies"
            return _argued(EARLY, question, tables, lying, int(older[0]), what)
    late = lying.value[rows] >= question.value
    if found is not None:
        late &= lying.offset[rows] < found[0]
    if not late.any():
        return None
    first = int(rows[late][0])
    what = "nothing" if found is None else f"offset {found[0]}"
    what += f", passing over message {lying.value[first]} at offset {lying.offset[first]}"
    return _argued(LATE, question, tables, lying, first, what)


def _argued(
    name: str, question: Question, tables: Tables, lying: Lying, row: int, what: str
) -> Finding:
    """With the operations that prove where the message lay before and after."""
    before, after = int(lying.by[row]), int(lying.seer[row])
    there = f"message {lying.value[row]} at offset {lying.offset[row]} of key {question.key}"
    one, other = tables.events(before), tables.events(after)
    because = (
        f"op {one[-1]}: process {tables.process[before]} found {there} before that",
        f"op {other[-1]}: however, process {tables.process[after]} polled it there after that, "
        "so that it lay there all the time: a contradiction",
    )
    return _finding(name, question, tables, what, because, one, other)


def _finding(
    name: str,
    question: Question,
    tables: Tables,
    what: str,
    because: tuple[str, ...],
    *more: tuple[int, ...],
) -> Finding:
    every = sorted({*question.events, *(event for events in more for event in events)})
    time = tables.history.time
    begin = min(int(time[event]) for event in (*question.events, *(more[0] if more else ())))
    end = int(time[question.end])
    return Finding(
        name,
        f"asked for the time of message {question.value} of key {question.key}, "
        f"the answer was {what}",
        (question.words, *because),
        tuple(every),
        key=question.key,
        span=(begin, end),
        window=Windows.of([begin], [end], settled=[question.found is not None]),
    )


def _settled(finding: Finding) -> bool:
    return finding.window is not None and bool(finding.window.settled[0])


def _joined(windows: list[Windows]) -> Windows:
    return Windows.of(
        np.concatenate([window.begin for window in windows]),
        np.concatenate([window.end for window in windows]),
        settled=np.concatenate([window.settled for window in windows]),
    )


def _lying(tables: Tables, *, acks_all: bool) -> dict[str, Lying]:
    """By key, as text. What is acknowledged by less than all may not be committed yet."""
    sent, polled = tables.sent, tables.polled
    acked = (tables.status[sent.op] == OK) & (sent.offset != UNKNOWN) & acks_all
    read = (tables.status[polled.op] == OK) & (polled.offset != UNKNOWN)
    op = np.concatenate([sent.op[acked], polled.op[read]])
    key = np.concatenate([sent.key[acked], polled.key[read]])
    code = np.concatenate([sent.value[acked], polled.value[read]])
    offset = np.concatenate([sent.offset[acked], polled.offset[read]])
    is_poll = np.repeat([False, True], [int(acked.sum()), int(read.sum())])
    kept = dict.fromkeys(range(len(tables.keys)), 0)
    for deletion in deletions(tables):
        kept[deletion.key] = max(kept[deletion.key], deletion.upto)
    found = {}
    for row, name in enumerate(tables.keys):
        here = np.flatnonzero((key == row) & (offset >= kept[row]))
        if len(here):
            ends, begins = tables.end[op[here]], tables.begin[op[here]]
            begins = np.where(is_poll[here], begins, -1)
            found[str(name)] = _of_key(tables, op[here], code[here], offset[here], ends, begins)
    return found


def _of_key(tables: Tables, op: Ints, code: Ints, offset: Ints, end: Ints, begin: Ints) -> Lying:
    pairs, row = np.unique(np.stack([offset, code]), axis=1, return_inverse=True)
    row = row.reshape(-1)
    known, by, seen, seer = (np.full(pairs.shape[1], UNKNOWN, np.int64) for _ in range(4))
    first, last = np.argsort(-end, kind="stable"), np.argsort(begin, kind="stable")
    known[row[first]], by[row[first]] = end[first], op[first]  # the last assignment holds
    seen[row[last]], seer[row[last]] = begin[last], op[last]
    values = [tables.value(each) for each in pairs[1].tolist()]
    ours = np.array([isinstance(value, int) for value in values], np.bool_)
    numbers = np.array([value if isinstance(value, int) else 0 for value in values], np.int64)
    return Lying(pairs[0][ours], numbers[ours], known[ours], by[ours], seen[ours], seer[ours])
