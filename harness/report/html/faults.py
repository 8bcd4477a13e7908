"""What stands behind every picture of a run: its faults as bands, its phases, its crashes.

A band is a spell of a fault (`harness.spells`) with its colour; the packages of a run declare
colours in `test.json`, by the operations that begin a fault. Times are nanoseconds of the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from harness.history import History
from harness.spells import Spell, operations, spells

LINKS: Final = "links"
"""The lane of faults that hit links, or nobody knows what."""

_COLOURS: Final = {
    "crash": "#b42318",
    "kill": "#c0392b",
    "power-off": "#8e44ad",
    "pause": "#d68910",
    "partition": "#2980b9",
}
_OTHER: Final = "#7f8c8d"


@dataclass(frozen=True, slots=True)
class Band:
    """A fault from its invocation until it was over; `target` is a node or LINKS."""

    name: str
    target: str
    about: str
    colour: str
    begin: int
    end: int

    def meets(self, begin: int, end: int) -> bool:
        """Whether it was on at some time of [begin, end]."""
        return self.begin <= end and self.end >= begin


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the run; `complete` is None while nobody said that it was."""

    name: str
    begin: int
    end: int
    complete: bool | None


@dataclass(frozen=True, slots=True)
class Faults:
    """All that the pictures of one run share.

    Attributes:
        end: time of the last event; where what is open ends.
    """

    bands: Sequence[Band]
    phases: Sequence[Phase]
    end: int

    def shades(self) -> list[Band]:
        """The bands without overlaps of one kind: three nodes that are down at once are one shade.

        Each keeps the name and the colour of its kind; `about` says all that it is made of.
        """
        merged: list[Band] = []
        for name in self.kinds():
            of_kind = sorted((b for b in self.bands if b.name == name), key=lambda b: b.begin)
            last = of_kind[0]
            for band in of_kind[1:]:
                if band.begin <= last.end:
                    about = f"{last.about}, {band.about}"
                    last = replace(last, about=about, end=max(last.end, band.end))
                else:
                    merged.append(last)
                    last = band
            merged.append(last)
        return merged

    def during(self, begin: int, end: int) -> list[Band]:
        """The bands that were on at some time of [begin, end]."""
        return [band for band in self.bands if band.meets(begin, end)]

    def kinds(self) -> dict[str, str]:
        """Each fault that occurs → its colour, in order of appearance."""
        return {band.name: band.colour for band in self.bands}


def read(history: History, declared: Sequence[Mapping[str, Any]]) -> Faults:
    """The faults of a history; `declared` as `bands` in test.json."""
    end = int(history.time.max()) if len(history) else 0
    colours = {f: str(band.get("colour")) for band in declared for f in band.get("start", ())}
    found = [_band(spell, history[spell.position].f, colours) for spell in spells(history)]
    return Faults(found, _phases(history, end), end)


def _band(spell: Spell, f: str, colours: Mapping[str, str]) -> Band:
    colour = colours.get(f) or _COLOURS.get(spell.kind, _OTHER)
    return Band(
        spell.kind, spell.node or LINKS, spell.describe(), _colour(colour), spell.begin, spell.end
    )


def _colour(declared: str) -> str:
    """A colour as #rrggbb; anything else would be a word of a plugin inside our style."""
    digits = declared.removeprefix("#")
    fine = len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
    return f"#{digits}" if fine else _OTHER


def _phases(history: History, end: int) -> list[Phase]:
    found: list[Phase] = []
    open_: dict[str, int] = {}
    for begun, ended in operations(history):
        if begun.f != "phase" or not isinstance(begun.value, str):
            continue
        extra = begun.extra or (ended.extra if ended is not None else None) or {}
        if extra.get("at") == "begin":
            open_[begun.value] = begun.time
        elif begun.value in open_:
            complete = extra.get("complete")
            found.append(
                Phase(
                    begun.value,
                    open_.pop(begun.value),
                    begun.time,
                    complete if isinstance(complete, bool) else None,
                )
            )
    found += [Phase(name, begin, end, None) for name, begin in open_.items()]
    return sorted(found, key=lambda phase: phase.begin)
