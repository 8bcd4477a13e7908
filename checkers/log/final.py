"""Final reads, as the run journals them: when they began and ended, and whether they read all."""

from __future__ import annotations

from dataclasses import dataclass

from harness.history import History


@dataclass(frozen=True, slots=True)
class FinalReads:
    """Attributes:
    begin, end: positions of the events of the marks; `end` is empty while they go on.
    complete: everything was read to its end.
    stuck: what was not, in words.
    """

    begin: tuple[int, ...]
    end: tuple[int, ...]
    complete: bool
    stuck: tuple[str, ...]


def phases(history: History) -> dict[str, list[tuple[int, ...]]]:
    """The marks of each phase of a run, in order; empty for histories of other tools."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for position in history.select(f="phase").tolist():
        mark = history.operation(position)
        if history.process[position] < 0 and mark[0] == position:
            found.setdefault(str(history.values.get(position)), []).append(mark)
    return found


def final_reads(history: History) -> FinalReads | None:
    """The last final reads of a history, None if it has none."""
    begin: tuple[int, ...] | None = None
    final = None
    for mark in phases(history).get("final-reads", []):
        extra = history[mark[0]].extra or {}
        if extra.get("at") == "begin":
            begin, final = mark, FinalReads(mark, (), False, ())
        elif begin is not None:
            stuck = tuple(map(str, extra.get("stuck") or ()))
            final = FinalReads(begin, mark, extra.get("complete") is True, stuck)
    return final
