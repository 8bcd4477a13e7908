"""When a system was whole again: faults that overlap, the last of which was healed.

A system is not whole while any fault is on, so what follows the healing of one of two faults says
little. Called by `checkers.recovery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.spells import Spell


@dataclass(frozen=True, slots=True)
class Healing:
    """Faults that overlapped, the last of which was healed.

    Attributes:
        at: when; until: when the next fault came, or the history ended.
        faults: all of them.
    """

    at: int
    until: int
    faults: tuple[Spell, ...]
    next: Spell | None

    def touching(self, node: str) -> Spell | None:
        """A fault that touched the node, the last to be healed."""
        touched = [spell for spell in self.faults if touches(spell, node)]
        return max(touched, key=lambda spell: spell.end, default=None)

    @property
    def last(self) -> Spell:
        return max(self.faults, key=lambda spell: spell.end)


def touches(spell: Spell, node: str) -> bool:
    """Whether the fault may have hit the node: itself, a link of it, or nobody knows what."""
    if spell.links:
        return any(node in link for link in spell.links)
    return spell.node is None or spell.node == node


def healings(faults: Sequence[Spell], last: int) -> list[Healing]:
    """Of faults, in order of their beginning; those that nobody healed are left out."""
    runs: list[list[Spell]] = []
    end = -1
    for spell in faults:
        if not runs or spell.begin > end:
            runs.append([])
        runs[-1].append(spell)
        end = max(end, spell.end)
    found = []
    for number, run in enumerate(runs, start=1):
        if all(spell.healer is not None for spell in run):
            after = runs[number][0] if number < len(runs) else None
            until = last if after is None else after.begin
            found.append(Healing(max(spell.end for spell in run), until, tuple(run), after))
    return found
