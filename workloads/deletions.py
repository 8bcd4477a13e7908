"""Deletes the older messages of a key (DeleteRecords), never all of them."""

from __future__ import annotations

from random import Random

from harness import generator as gen
from workloads.filled import Filled, Known

F = "delete-records"
DELETE = gen.Call(F, {})


def older(known: Known, rng: Random) -> dict[str, int]:
    """Of a key, an offset in its first half: something is left for final reads to end with."""
    keys = [key for key in sorted(known) if known[key].offset > 0]
    if not keys:
        return {}
    key = rng.choice(keys)
    return {str(key): rng.randint(0, (known[key].offset + 1) // 2)}


def chosen(child: gen.Generator) -> gen.Generator:
    return Filled(child, F, older, {})
