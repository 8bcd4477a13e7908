"""Long walks through the steps of a machine, by a seed and weights: deeper than a search begins.

    python -m tests.nodes.broker.replication.walks FlushingMachine 1000 500

walks with the seeds 1000 to 1499, and ends at the first that finds something.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from tests.host.running import run
from tests.nodes.broker.replication import machines
from tests.nodes.broker.replication.machines import ALL, ReplicationMachine

WEIGHTS: Mapping[str, int] = {
    "produce": 8,
    "produce_or_retry": 8,
    "delete_records": 1,
    "replicate": 10,
    "deliver": 10,
    "lose": 3,
    "commit": 6,
    "time_out": 1,
    "learn_one": 8,
    "learn_all": 3,
    "fence": 1,
    "unfence": 4,
    "elect_preferred": 1,
    "lag": 2,
    "checkpoint": 1,
    "disk_fails": 1,
    "change": 2,
    "start": 5,
    "kill": 1,
    "power_off": 1,
    "stop": 1,
}
STEPS_MAX = 300


class Draws:
    """Stands in for `hypothesis.strategies.data()`, for integers."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def draw(self, strategy: Any) -> int:
        strategy = getattr(strategy, "wrapped_strategy", strategy)
        return self._rng.randint(strategy.start, strategy.end)


def walk(kind: type[ReplicationMachine], seed: int) -> ReplicationMachine:
    """A machine after its walk, healed; its world has ended."""
    rng = Random(seed)
    machine: Any = kind()
    machine.begin(rng.choice([1024, 100_000]))
    draw: Mapping[str, Callable[[], tuple[Any, ...]]] = {
        "produce": lambda: (rng.randint(1, 3), rng.choice([ALL, ALL, 1]), rng.randint(1, 2)),
        "produce_or_retry": lambda: (rng.randint(1, 3), rng.randint(1, 3)),
        "delete_records": lambda: (rng.randint(1, 3), Draws(rng)),
        "replicate": lambda: (rng.randint(1, 3), rng.randint(1, 3)),
        "deliver": lambda: (rng.randint(0, 5),),
        "lose": lambda: (rng.randint(0, 5),),
        "commit": lambda: (rng.randint(0, 3), rng.random() < 0.7),
        "time_out": lambda: (rng.randint(0, 3),),
        "learn_all": lambda: (),
        "elect_preferred": lambda: (),
    }
    weights = {step: weight for step, weight in WEIGHTS.items() if hasattr(kind, step)}
    try:
        for _ in range(rng.randint(20, STEPS_MAX)):
            step = rng.choices(list(weights), list(weights.values()))[0]
            getattr(machine, step)(*draw.get(step, lambda: (rng.randint(1, 3),))())
            machine.everything_is_consistent()
        machine.heal()
    finally:
        run(machine.world.end())
    found: ReplicationMachine = machine
    return found


if __name__ == "__main__":
    name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for seed in range(first, first + count):
        print("seed", seed, flush=True)
        walk(getattr(machines, name), seed)
