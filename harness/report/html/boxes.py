"""Transactions of a cycle as boxes of a drawing: what they did, and what of it shows something.

Blind to: fonts. A character is as wide as in usual monospaced ones, a wide one of East Asia twice
as wide; a line that may be of another font is squeezed to where it belongs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from harness.cycle import Cycle, Transaction
from harness.report.html.markup import text
from harness.report.visible import visible

WIDTH = 300
HEAD, LINE, PAD = 26, 17, 8
"""Heights: of the head, of a line, and of what is left free below."""

CELL = 7.23
"""Width of a character of 12 px."""

CELLS_MAX, LINES_MAX = 37, 2
"""Of a micro-operation; of a longer one the middle is left out."""

ABOUT_MAX, NAME_MAX = 44, 6
"""Characters of what stands in the head of a box."""

OTHERS_MAX = 3
"""Micro-operations that show nothing, in a box."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a box. `whole` is what it was cut from."""

    said: str
    whole: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Box:
    """What stands in a box, and where; `transaction` is None for those that are left out."""

    transaction: Transaction | None
    lines: Sequence[Line]
    left: float = 0
    top: float = 0

    @property
    def height(self) -> float:
        return HEAD + LINE * len(self.lines) + PAD

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def middle(self) -> float:
        return self.top + self.height / 2

    def at(self, left: float, top: float) -> Box:
        return replace(self, left=left, top=top)


def contents(cycle: Cycle, at: int | None) -> Box:
    """The box of a transaction, without a place: what shows something, and a little more."""
    if at is None:
        return Box(None, ())
    transaction, marked = cycle.transactions[at], cycle.marked(at)
    others = [mop for mop in transaction.mops if mop not in marked][:OTHERS_MAX]
    shown = sorted({*others, *(mop for mop in transaction.mops if mop in marked)})
    lines = []
    for mop in shown:
        whole = visible(transaction.mops[mop])
        lines += [Line(said, whole, mop in marked) for said in _folded(whole)]
    hidden = transaction.size - len(shown)
    if hidden > 0:
        lines.append(Line(f"… and {hidden} more", f"{hidden} that show nothing here", False))
    return Box(transaction, lines)


def _folded(said: str) -> list[str]:
    """Lines that fit into a box.

    >>> _folded("read key 7: [" + "9, " * 100 + "9]")
    ['read key 7: [9, 9, 9, 9, 9, 9, 9, 9…,', '9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]']
    """
    most = CELLS_MAX * LINES_MAX - 4  # a fold may leave some of the first line free
    said = " ".join(said.split())
    if len(said) > most:
        said = f"{said[: most // 2]}…{said[1 - most // 2 :]}"  # no space: a word may be cut
    lines = [said]
    if _cells(said) > CELLS_MAX:
        lines = wrap(said, CELLS_MAX, break_on_hyphens=False)
    if len(lines) <= LINES_MAX:
        return lines
    return [said[:CELLS_MAX], said[CELLS_MAX:]]


def _cells(said: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in said)


def draw(box: Box, left_out: int, kind: str = "txn") -> str:
    if box.transaction is None:
        return (
            f'<g class="omitted">{_frame(box)}<text x="{box.left + 12:.1f}" '
            f'y="{box.middle + 4:.1f}">… {left_out} steps more …</text></g>'
        )
    one = box.transaction
    events = "–".join(map(str, one.events))
    ends = {"fail": " · failed", "info": " · outcome unknown"}.get(one.outcome, "")
    about = f"op {events} · process {one.process}{ends}"[:ABOUT_MAX]
    head = (
        f'<text class="head" x="{box.left + 12:.1f}" y="{box.top + 18:.1f}">'
        f"{text(one.name[:NAME_MAX])}</text>"
        f'<a href="#op-{one.events[0]}"><text class="about" x="{box.left + WIDTH - 12:.1f}" '
        f'y="{box.top + 18:.1f}" text-anchor="end">{text(about)}</text></a>'
    )
    said = "".join(_line(box, number, line) for number, line in enumerate(box.lines))
    return f'<g class="{kind}">{_frame(box)}{head}{said}</g>'


def _frame(box: Box) -> str:
    return (
        f'<rect class="box" x="{box.left:.1f}" y="{box.top:.1f}" width="{WIDTH}" '
        f'height="{box.height:.1f}" rx="5"/>'
    )


def _line(box: Box, number: int, line: Line) -> str:
    top = box.top + HEAD + LINE * number
    cells = _cells(line.said)
    # What is not plain may be of another font: it is squeezed, or stretched, to where it belongs.
    plain = line.said.isascii() or set(line.said) <= {"…", *map(chr, range(32, 127))}
    width = min(cells, CELLS_MAX) * CELL
    fit = "" if plain and cells <= CELLS_MAX else f' textLength="{width:.1f}"'
    fit += ' lengthAdjust="spacingAndGlyphs"' if fit else ""
    mark = (
        f'<rect class="mark" x="{box.left + 6:.1f}" y="{top + 1:.1f}" width="{WIDTH - 12}" '
        f'height="{LINE}"/><rect class="bar" x="{box.left + 6:.1f}" y="{top + 1:.1f}" width="3" '
        f'height="{LINE}"/>'
    )
    kind = "mop shown" if line.marked else "mop"
    return (
        f'{mark if line.marked else ""}<text class="{kind}" x="{box.left + 14:.1f}" '
        f'y="{top + 13.5:.1f}"{fit}>{text(line.said)}<title>{text(line.whole)}</title></text>'
    )
