"""One run of `assay run … --cluster sim` in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.arguments import parse_test, weather
from harness.cli import parser
from harness.progress import Silent
from harness.run import Run
from harness.sim.world import World
from harness.store import RunFolder


def executed(words: Sequence[str], seed: int, results: Path) -> RunFolder:
    """The folder of a run to its end, not judged yet."""
    common = ("run", *words, "--cluster", "sim", "--seed", str(seed), "--results", str(results))
    arguments = parser().parse_args(common)
    test = parse_test(arguments, seed)
    folder = RunFolder.create(arguments.results, test.workload.name)
    with World(seed, weather(arguments.options)) as world:
        run = Run(test, folder, Silent(), world.now_ns)
        world.run(run.execute())
    assert run.failure is None, run.failure
    return folder
