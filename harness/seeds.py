"""Chance, one named stream per consumer, so that a new draw in one leaves the others alone.

Every stream is a function of the run's seed and of the stream's name, and of nothing else: not of
`PYTHONHASHSEED`, of the order in which streams are made, or of the machine.
"""

from __future__ import annotations

import hashlib
import secrets
from random import Random


def fresh() -> int:
    """A seed for a run that was given none; small enough to type."""
    return secrets.randbelow(2**31)


def draw(seed: int, *names: object) -> int:
    """A 64-bit number that depends on the seed and the names only.

    >>> draw(7, "network", "n1", 0) == draw(7, "network", "n1", 0)
    True
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def stream(seed: int, *names: object) -> Random:
    """A generator of random numbers of its own for the consumer named by `names`."""
    return Random(draw(seed, *names))
