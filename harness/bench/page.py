"""What was measured, as Markdown for docs/performance.md: `assay bench checkers`."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.bench.measure import CPU_S, MEMORY_BYTES, Checked
from harness.bench.porcupine import Answer
from harness.bench.rows import BYTES_MAX, DECODE_S, GROWTH_MAX, LOAD_S, MILLION, Row


@dataclass(frozen=True)
class Line:
    """A row as it was measured.

    Attributes:
        operations: how many each history had.
        decode_s: JSONL to columns. load_s: the columns' file, the source's checksum included.
        best: the cheapest of the checks.
        growth: of the check's time at twice the length; None where that was not measured.
        peer: None if it was not asked.
    """

    row: Row
    operations: int
    decode_s: float
    load_s: float
    best: Checked
    growth: float | None
    peer: Answer | None

    @property
    def over(self) -> float:
        """Bytes an operation."""
        return self.best.over_bytes / (self.operations * self.row.histories)

    def missed(self) -> Iterator[str]:
        """The targets that were missed, and what was found wrongly."""
        row, best = self.row, self.best
        if best.counts != dict(row.anomalies):
            yield f"found {best.counts}"
        if row.check_s is not None and best.check_s > row.check_s:
            yield "time"
        if row.peak_mb is not None and best.peak_mb > row.peak_mb:
            yield "peak"
        if self.over > BYTES_MAX and self.operations == MILLION:
            yield "memory"
        if self.growth is not None and self.growth > GROWTH_MAX:
            yield "growth"
        if row.checker == "log" and self.decode_s > DECODE_S:
            yield "decode"
        if row.checker == "log" and self.load_s > LOAD_S:
            yield "load"


HEAD = (
    "| work | operations | decode, s | load, s | check, s | target, s | bytes an op | peak, MB "
    "| growth | missed | others |"
)


def page(lines: Sequence[Line], missing: str) -> str:
    """All of it; `missing` says why there is no peer, if there is none."""
    return "\n".join([*_intro(missing), HEAD, "|---" * 11 + "|", *map(shown, lines)]) + "\n"


def shown(line: Line) -> str:
    """A line of the table."""
    row, best = line.row, line.best
    cells = [
        row.name,
        f"{row.histories} × {line.operations}" if row.histories > 1 else f"{line.operations:,}",
        f"{line.decode_s:.2f}",
        f"{line.load_s:.2f}",
        f"{best.check_s:.2f}",
        "–" if row.check_s is None else f"{row.check_s:g}",
        f"{line.over:.0f}",
        f"{best.peak_mb:.0f}",
        "–" if line.growth is None else f"{line.growth:.1f}",
        ", ".join(line.missed()) or "–",
        _others(line),
    ]
    return "| " + " | ".join(cells) + " |"


def _others(line: Line) -> str:
    told = [f"{line.row.told} ¹"] if line.row.told else []
    if line.peer is not None:
        told.append("Porcupine: " + _answer(line.peer))
    return "; ".join(told) or "–"


def _answer(answer: Answer) -> str:
    if answer.check_s is None:
        return answer.why
    results = ", ".join(f"{count} {name}" for name, count in answer.results)
    return f"{answer.check_s:.2f} s, {answer.peak_mb:.0f} MB ({results})"


def _intro(missing: str) -> Iterator[str]:
    yield from ("# How fast histories are judged", "")
    yield "Printed by `assay bench checkers > docs/performance.md`; histories are drawn by seed,"
    yield "so that everybody measures the same ones. Seconds are of the processor, of all"
    yield "processes together, and the best of three, each in a new process: the machine is shared,"
    yield "and on another day figures are a third higher or lower. Imports are not in them."
    yield ""
    yield "- *decode*: `history.jsonl` to columns, measured once; *load*: the file of columns that"
    yield "  is written beside it, with the checksum of the source; *check*: the checker, with all"
    yield "  the arguments it gives. End to end is decode or load, and check."
    yield f"- *bytes an op*: at the peak of the check, over the columns; at most {BYTES_MAX} is"
    yield f"  aimed at for {MILLION:,} operations (shorter histories pay for modules and buffers)."
    yield "  An operation of `append` and `wr` is a whole transaction. *peak*: the whole process."
    yield f"- *growth*: a check's time over that of half as many operations; at most {GROWTH_MAX}."
    yield "- *missed*: which targets were. A history with a planted flaw must show just that one."
    yield "- A row that is new or has changed is measured alone (`--only NAME`), its line put in:"
    yield "  lines may be of different days."
    yield f"- A process, ours or the peer's, may take {CPU_S} s and {MEMORY_BYTES >> 30} GB. What"
    yield "  is said of Porcupine is its check alone, on the same file, by a program of ours on its"
    yield "  library, with its partitions by key."
    yield "- ¹ measured once, before, on a machine of this kind and with other histories; not here."
    yield ""
    if missing:
        yield from (f"Porcupine was not asked: {missing}.", "")
    yield f"{_processor()}, {platform.machine()}; Python {platform.python_version()},"
    yield f"NumPy {np.__version__}."
    yield ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor() or "a processor"
