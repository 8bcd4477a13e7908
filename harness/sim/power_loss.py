"""What is left of un-synced changes when the power goes: one of the outcomes a real disk may show.

Of a file. Its size is metadata, written in order: it is what it was after some number of the
changes. Its pages are written back in any order and at any time: each is as it was after some
number of the changes, whatever the others are. Where the size covers what no kept page holds, zeros
are read. One page may have been under way: some of its sectors are old. A truncation is metadata,
too: it frees blocks, so no page shows what a kept truncation cut off, or what was written to it
after a truncation that is not kept.

    changes   1: write page 0   2: write page 1   3: write pages 1 and 2
    a legal   size after 3      page 0 after 0 (old)   page 1 after 2   page 2 after 0 (zeros)

Of a directory. Creations, renames and removals of files and directories in it are journalled: a
prefix of them is kept. A rename is there as a whole or not at all.

Source: ext4 and XFS without fsync (data=writeback at the harsher end); Pillai et al., "All File
Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from harness.sim.content import Change, redo, resize

POLICIES = ("nothing", "all", "prefix", "pages", "size")
"""How a file comes out: as at its last fsync; as last seen; as after some change; each page on its
own; with its size, and without what was written. Equally likely, as each finds other bugs."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Bytes that are written back together, and bytes that are written whole or not at all."""

    page: int = 4096
    sector: int = 512


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a file's changes.

    Attributes:
        size_after: after how many changes the size is that of the file.
        pages: after how many changes each page is written, for pages that were changed.
        torn: a page of which only some sectors are so, and the others as after `torn_after`.
    """

    policy: str
    size_after: int
    pages: dict[int, int] = field(default_factory=dict)
    torn: int | None = None
    torn_after: int = 0
    sectors: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Page:
    """The numbers of the changes, from 1, that changed a page, and of those that cut it."""

    changed: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)

    def bounds(self, size_after: int) -> tuple[int, int]:
        """The first and the last number of changes after which the page can have been written."""
        kept = bisect_right(self.cut, size_after)
        first = self.cut[kept - 1] if kept else 0
        last = self.cut[kept] - 1 if kept < len(self.cut) else self.changed[-1]
        assert first <= last, "what the kept size cut off stays cut off"
        return first, last

    def draw(self, rng: Random, first: int, last: int) -> int:
        """Old and new are as likely as all between: else small appends would always be between."""
        kind = rng.randrange(3)
        if kind == 0:
            return first
        if kind == 1:
            return last
        return rng.choice([first, *(n for n in self.changed if first < n <= last)])


def choose(rng: Random, changes: Sequence[Change], geometry: Geometry) -> Outcome:
    """Draw an outcome. `changes` is not empty."""
    count = len(changes)
    policy = rng.choice(POLICIES)
    pages = _pages(changes, geometry)
    if policy == "pages":
        return _write_back(rng, pages, count, geometry)
    if policy == "size":
        size_after = rng.randint(1, count)
        kept = {n: page.bounds(size_after)[0] for n, page in pages.items()}
        return Outcome(policy, size_after, kept)
    after = {"nothing": 0, "all": count, "prefix": rng.randint(0, count)}[policy]
    return Outcome(policy, after, dict.fromkeys(pages, after))


def survive(
    durable: bytearray, changes: Sequence[Change], outcome: Outcome, geometry: Geometry
) -> bytearray:
    """The file as the next incarnation finds it."""
    due: dict[int, list[int]] = {}
    for page, after in outcome.pages.items():
        due.setdefault(after, []).append(page)
    image, left, size = bytearray(durable), bytearray(durable), len(durable)
    for number, (offset, data, _, _) in enumerate(changes, 1):
        redo(image, offset, data)
        if number == outcome.size_after:
            size = len(image)
        if number == outcome.torn_after and outcome.torn is not None:
            _copy(image, left, outcome.torn * geometry.page, geometry.page)
        for page in due.get(number, ()):
            if page != outcome.torn:
                _copy(image, left, page * geometry.page, geometry.page)
                continue
            for sector in outcome.sectors:
                begin = page * geometry.page + sector * geometry.sector
                _copy(image, left, begin, geometry.sector)
    resize(left, size)
    return left


def keep_of(rng: Random, count: int) -> int:
    """How many of a directory's changes are kept: none, all and some are equally likely."""
    return rng.choice((0, count, rng.randint(0, count)))


def _write_back(rng: Random, pages: dict[int, _Page], count: int, geometry: Geometry) -> Outcome:
    size_after = rng.choice((0, count, rng.randint(0, count)))
    bounds = {n: page.bounds(size_after) for n, page in pages.items()}
    after = {n: page.draw(rng, *bounds[n]) for n, page in pages.items()}
    written = [n for n in after if after[n] > bounds[n][0]]
    if not written or rng.randrange(2):
        return Outcome("pages", size_after, after)
    torn = rng.choice(written)
    sectors = range(geometry.page // geometry.sector)
    whole = frozenset(n for n in sectors if rng.randrange(2))
    return Outcome("pages", size_after, after, torn, bounds[torn][0], whole)


def _pages(changes: Sequence[Change], geometry: Geometry) -> dict[int, _Page]:
    """Every page that was changed, in order. A gap that a write leaves is zeros in any case."""
    pages: dict[int, _Page] = {}
    for number, (offset, data, _, size) in enumerate(changes, 1):
        end = size if data is None else offset + len(data)
        for n in range(offset // geometry.page, -(-end // geometry.page)):
            page = pages.setdefault(n, _Page())
            page.changed.append(number)
            if data is None:
                page.cut.append(number)
    return dict(sorted(pages.items()))


def _copy(source: bytearray, target: bytearray, begin: int, size: int) -> None:
    if len(target) < begin + size:
        resize(target, begin + size)
    target[begin : begin + size] = bytes(source[begin : begin + size]).ljust(size, b"\0")
