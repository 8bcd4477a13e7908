"""Reads that wait for their leader to be confirmed (thesis, §6.4: ReadIndex)."""

from __future__ import annotations


class Reads:
    """The reads that a leader was asked for, by their callers' ids."""

    def __init__(self) -> None:
        self._early: list[int] = []
        self._asked: list[tuple[int, int]] = []  # (id, the round that confirms it)

    def ask_early(self, id: int) -> None:
        """Before the first commit of its term a leader does not know what is committed."""
        self._early.append(id)

    def ask(self, id: int, round: int) -> None:
        """To be confirmed by answers of a majority to the heartbeat `round`, sent after it."""
        self._asked.append((id, round))

    def take_early(self) -> list[int]:
        early, self._early = self._early, []
        return early

    def confirm(self, round: int) -> list[int]:
        """A majority answered heartbeat `round`: the ids of the reads that this confirms."""
        confirmed = [id for id, asked in self._asked if asked <= round]
        self._asked = [read for read in self._asked if read[1] > round]
        return confirmed

    def lose(self) -> list[int]:
        """The node leads no more: the ids of all that nobody will answer."""
        lost = [id for id, _ in self._asked] + self._early
        self._asked, self._early = [], []
        return lost
