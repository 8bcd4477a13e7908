"""A cycle as inline SVG: a box for each transaction, an arrow for each step, the way round.

The boxes stand in two columns: down on the right, up on the left, so that every arrow leads from a
box to its neighbour, whatever the length of the cycle. Who shows something without being on the way
stands below. Kinds of steps differ by their lines and their labels, not by colour alone.

No ids, markers or scripts, so that a page can have many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.cycle import Cycle, Step
from harness.report.html import boxes
from harness.report.html.boxes import Box, contents, draw
from harness.report.html.markup import text

WIDTH, MARGIN = 860, 8
DOWN = 58
"""Between boxes of a column: an arrow and its label."""

LABEL_MAX = 34
"""Characters that fit between the columns."""

KINDS = {
    "ww": "the second wrote on top of what the first had written",
    "wr": "the second saw what the first had written",
    "rw": "the first did not see what the second wrote",
    "process": "one process did the first before the second",
    "realtime": "the first had ended before the second began",
    "link": "the second says that it follows the first",
    "cf": "somebody knew the first, and had the value of the second all the same",
}
"""What an arrow means; a kind of others is drawn plain."""


def read(shape: Any) -> Cycle | None:
    """The cycle of a finding in JSON, if it has one and that can be drawn."""
    if shape is None:
        return None
    try:
        return Cycle.from_json(shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None  # a file that was changed by hand: the sentences are all there is


def render(cycle: Cycle) -> str:
    """The figure, as HTML."""
    return f"<figure class=ring>{_drawing(cycle)}<figcaption>{_legend(cycle)}</figcaption></figure>"


def _drawing(cycle: Cycle) -> str:
    ring = _placed([contents(cycle, at) for at in cycle.ring])
    bottom = max(box.bottom for box in ring)
    others = list(_others(cycle, bottom + DOWN))
    whole = max([bottom, *(box.bottom for box in others)]) + MARGIN
    arrows = ", ".join(cycle.arrow(step) for step in cycle.steps)
    return (
        f'<div class=wide><svg viewBox="0 0 {WIDTH} {whole:.0f}" role="group" '
        f'aria-label="{text(f"A cycle: {arrows}")}">'
        f"{''.join(_arrows(cycle, ring))}"
        f"{''.join(draw(box, cycle.left_out) for box in ring)}"
        f"{_divide(others)}{''.join(draw(box, 0, 'txn shows') for box in others)}</svg></div>"
    )


# -- places --------------------------------------------------------------------------------------


def _placed(ring: Sequence[Box]) -> list[Box]:
    """The boxes of a ring, in its order: the first on the left, then down on the right, then up."""
    right = len(ring) - len(ring) // 2
    down, up = ring[1 : right + 1], [ring[0], *ring[:right:-1]]
    height = max(_height(down), _height(up))
    up = _column(up, MARGIN, height)
    return [up[0], *_column(down, WIDTH - MARGIN - boxes.WIDTH, height), *up[:0:-1]]


def _height(column: Sequence[Box], between: int = DOWN) -> float:
    return sum(box.height for box in column) + between * (len(column) - 1)


def _column(column: Sequence[Box], left: float, height: float) -> list[Box]:
    """The boxes from the top to the height, at equal distances; one alone in the middle."""
    free = height - _height(column, 0)
    between = free / (len(column) - 1) if len(column) > 1 else 0.0
    top = MARGIN if len(column) > 1 else MARGIN + free / 2
    placed = []
    for box in column:
        placed.append(box.at(left, top))
        top = placed[-1].bottom + between
    return placed


def _others(cycle: Cycle, top: float) -> Iterator[Box]:
    """Boxes of those that are not on the way, in rows of two."""
    places = range(len(cycle.transactions))
    some = [contents(cycle, at) for at in places if at not in cycle.ring]
    for first in range(0, len(some), 2):
        row = [
            box.at(left, top)
            for box, left in zip(
                some[first : first + 2], (MARGIN, WIDTH - MARGIN - boxes.WIDTH), strict=False
            )
        ]
        yield from row
        top = max(box.bottom for box in row) + 2 * MARGIN


def _divide(others: Sequence[Box]) -> str:
    if not others:
        return ""
    y, said = others[0].top, "Not on the way, but needed to see why:"
    return (
        f'<path class="divide" d="M{MARGIN} {y - 30:.1f}H{WIDTH - MARGIN}"/>'
        f'<text class="note" x="{MARGIN}" y="{y - 12:.1f}">{said}</text>'
    )


# -- arrows --------------------------------------------------------------------------------------


def _arrows(cycle: Cycle, ring: Sequence[Box]) -> Iterator[str]:
    """An arrow from each box of the ring to the next one."""
    left = iter(cycle.steps)
    for number, one in enumerate(ring):
        other = ring[(number + 1) % len(ring)]
        whole = one.transaction is not None and other.transaction is not None
        step = next(left) if whole else None
        yield _arrow(cycle, step, *_ends(one, other, len(ring)))


def _is_left(box: Box) -> bool:
    return box.left == MARGIN


def _ends(one: Box, other: Box, size: int) -> tuple[float, float, float, float]:
    """Where an arrow begins and ends: x, y, x, y."""
    if _is_left(one) == _is_left(other):
        x = one.left + boxes.WIDTH / 2
        if one.top < other.top:
            return x, one.top + one.height, x, other.top
        return x, one.top, x, other.top + other.height
    begin, end = one.middle, other.middle
    forth = _is_left(one)  # the one that leads to the right lies above the one that comes back
    if size == 2:
        shift = min(one.height, other.height) / 4
        begin, end = (at - shift if forth else at + shift for at in (begin, end))
    elif size == 3:
        begin, end = (begin - one.height / 5, end) if forth else (begin, end + other.height / 5)
    edges = (one.left + boxes.WIDTH, other.left) if forth else (one.left, other.left + boxes.WIDTH)
    return edges[0], begin, edges[1], end


def _arrow(cycle: Cycle, step: Step | None, x1: float, y1: float, x2: float, y2: float) -> str:
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    bx, by = x2 - 11 * dx, y2 - 11 * dy  # where the head begins
    head = (
        f"M{x2:.1f} {y2:.1f}L{bx - 5 * dy:.1f} {by + 5 * dx:.1f}"
        f"L{bx + 5 * dy:.1f} {by - 5 * dx:.1f}Z"
    )
    drawn = (
        f'<path class="edge" d="M{x1:.1f} {y1:.1f}L{bx:.1f} {by:.1f}"/>'
        f'<path class="tip" d="{head}"/>'
    )
    if step is None:
        return f'<g class="missing">{drawn}</g>'
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    if abs(dx) < 0.1:  # upright: beside it
        place = f'x="{x + 12:.1f}" y="{y + 4:.1f}"'
    else:
        place = f'x="{x:.1f}" y="{y + (-9 if dx > 0 else 19):.1f}" text-anchor="middle"'
    kind = step.kind if step.kind in KINDS else "other"
    label = text(step.label[:LABEL_MAX])
    return (
        f'<g class="step {kind}">{drawn}<text class="label" {place}>{label}</text>'
        f"<title>{text(f'{cycle.arrow(step)}: {step.why}')}</title></g>"
    )


def _legend(cycle: Cycle) -> str:
    used = {step.kind for step in cycle.steps}
    rows = "".join(
        f'<span class="{kind}"><svg viewBox="0 0 40 10" aria-hidden="true">'
        f'<path class="edge" d="M1 5H30"/><path class="tip" d="M40 5L29 0V10Z"/></svg>'
        f"<b>{kind}</b> {text(meaning)}</span>"
        for kind, meaning in KINDS.items()
        if kind in used
    )
    return (
        "<p>An arrow leads to a transaction that must come later. Who follows the arrows comes "
        "back to the first one, so that each transaction would come before itself. What shows it "
        "is marked.</p>"
        f"<p class=legend>{rows}</p>"
    )
