"""How patient a core is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """In ticks.

    Attributes:
        heartbeat: between two heartbeats of a leader.
        patience: a follower that hears no leader for a time drawn from [patience, 2 x patience)
            stands for election; a leader steps down when no majority answers for `patience`.
        election: a candidate begins anew after a time drawn from [election, 2 x election).
    """

    heartbeat: int = 2
    patience: int = 10
    election: int = 10

    def __post_init__(self) -> None:
        assert 0 < self.heartbeat < self.patience and self.election > 0
