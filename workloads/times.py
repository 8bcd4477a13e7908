"""Asks where the messages since some moment begin: the moment is that of a value."""

from __future__ import annotations

from random import Random

from harness import generator as gen
from workloads.filled import Filled, Known

F = "offsets-for-times"
ASK = gen.Call(F, {})
KEYS_MAX = 3


def moments(known: Known, rng: Random) -> dict[str, int]:
    """Of some keys a value up to the newest acknowledged one."""
    keys = sorted(rng.sample(sorted(known), min(len(known), KEYS_MAX)))
    return {str(key): rng.randint(0, known[key].value) for key in keys}


def asked(child: gen.Generator) -> gen.Generator:
    return Filled(child, F, moments, {})
