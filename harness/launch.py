"""`assay run` and `assay up`: tests under way, signals, and exit statuses."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import catalog, seeds
from harness.arguments import jury, make_cluster, parse_test, split_options, weather
from harness.cluster.contract import Cluster
from harness.errors import AssayError, UsageError
from harness.index import write_index
from harness.progress import Silent, Terminal
from harness.report import junit, text, write_report
from harness.run import Run, require_abilities
from harness.sim.world import World
from harness.store import RunFolder
from harness.verdict import Outcome, Verdict

EXIT_FAILED = 4

Shape = dict[str, Any]


def run_command(arguments: argparse.Namespace) -> int:
    """One run, or `--test-count` of them; each has a folder and a seed of its own."""
    console = Console(stderr=True, quiet=arguments.json)
    first = seeds.fresh() if arguments.seed is None else arguments.seed
    statuses: list[int] = []
    shapes: list[Shape] = []
    for seed in range(first, first + arguments.test_count):
        try:
            status, shape, interrupted = _run_one(arguments, seed, console)
        except UsageError:
            raise
        except AssayError as error:
            print(f"assay: {error}", file=sys.stderr)
            status, shape, interrupted = EXIT_FAILED, _failed(error), False
        statuses.append(status)
        shapes.append(shape)
        if interrupted:
            break
    if arguments.json:
        print(json.dumps(shapes[0] if arguments.test_count == 1 else shapes, default=str))
    elif len(statuses) > 1:
        print(tally(statuses))
    return worst(statuses)


def worst(statuses: Sequence[int]) -> int:
    """4 if any could not run, else 1 over 3 over 0.

    >>> worst([0, 3, 1]), worst([0, 3]), worst([1, 4])
    (1, 3, 4)
    """
    return max(statuses, key=[0, 3, 1, 4].index)


def tally(statuses: Sequence[int]) -> str:
    """How several runs went.

    >>> tally([0, 0, 1])
    '3 runs: 2 valid, 1 invalid'
    """
    words = {0: "valid", 1: "invalid", 3: "unknown", 4: "failed"}
    said = [f"{statuses.count(s)} {word}" for s, word in words.items() if s in statuses]
    return f"{len(statuses)} runs: {', '.join(said)}"


def _failed(error: AssayError) -> Shape:
    """The JSON shape of a run of which there is nothing to judge."""
    shape = Verdict(Outcome.UNKNOWN, doubts=(f"the run failed: {error}",)).to_json()
    return {**shape, "run": None}


def _run_one(arguments: argparse.Namespace, seed: int, console: Console) -> tuple[int, Shape, bool]:
    """Exit status, JSON shape, and whether somebody wants no more of it."""
    test = parse_test(arguments, seed)
    require_abilities(test.package, test.cluster(RunFolder(Path.cwd())))
    folder = RunFolder.create(arguments.results, test.workload.name)
    bands = {band.name: band for band in test.package.bands}
    progress = Silent() if arguments.json else Terminal(console, bands)
    title = f"{test.workload.name} / {test.package.name} / {arguments.cluster}, seed {seed}"
    began = time.monotonic()
    with ground(arguments, seed) as on:
        run = Run(test, folder, progress, on.now_ns)
        with progress if isinstance(progress, Terminal) else contextlib.nullcontext():
            on.go(execute(run))
            # From here on a signal ends us at once: everything is on disk, and can be checked.
            verdict = run.judge(jury(arguments).judge)
        if verdict.outcome is Outcome.VALID and not test.leave_running:
            folder.drop_data()
        shape = store_verdict(folder, verdict, title, time.monotonic() - began)
        write_index(arguments.results)
        if not arguments.json:
            repeat = test.record["command"]
            print(text.render(verdict, title, repeat=repeat, report=_short(folder.report)))
        if run.failure is not None:
            print(f"assay: {run.failure}", file=sys.stderr)
        elif test.leave_running and run.interrupted is None:
            on.go(_hold(run))
    # A node that crashed may be what the run failed of: that is a finding, and not the failure.
    failed = run.failure is not None and verdict.outcome is not Outcome.INVALID
    status = EXIT_FAILED if failed else verdict.outcome.exit_status
    return status, shape, run.interrupted is not None


@dataclass(frozen=True, slots=True)
class Ground:
    """What a run's coroutines run on.

    Attributes:
        go: runs one to its end. now_ns: the clock. world: None on this machine.
    """

    go: Callable[[Coroutine[Any, Any, None]], None]
    now_ns: Callable[[], int]
    world: World | None = None


@contextlib.contextmanager
def ground(arguments: argparse.Namespace, seed: int) -> Iterator[Ground]:
    """This machine, or a world of its own, as `--cluster` says."""
    if arguments.cluster == "sim":
        if arguments.leave_running:
            raise UsageError("a simulated cluster ends with its run: leave out --leave-running")
        with World(seed, weather(arguments.options)) as world:
            yield Ground(world.run, world.now_ns, world)
    else:
        with asyncio.Runner() as runner:
            yield Ground(runner.run, time.monotonic_ns)


async def execute(run: Run) -> None:
    """The run; SIGINT and SIGTERM interrupt it, so that it heals and can be judged."""
    with _signals(run.interrupt):
        await run.execute()


async def _hold(run: Run) -> None:
    """Leave the nodes running until a signal comes."""
    interrupted = asyncio.Event()
    with _signals(lambda reason: interrupted.set()):
        print("the nodes are left running; Ctrl-C ends them", file=sys.stderr, flush=True)
        await interrupted.wait()
    await run.stop()


@contextlib.contextmanager
def _signals(react: Callable[[str], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `react` with their name, on the running loop."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, react, signal.Signals(signum).name)
    try:
        yield
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)


def store_verdict(folder: RunFolder, verdict: Verdict, title: str, time_s: float) -> Shape:
    """Write verdict.json, junit.xml and the report; the JSON shape.

    Raises:
        EnvironmentFailure: the disk is full, say.
    """
    shape = {**verdict.to_json(), "run": str(folder.path)}
    folder.save("verdict.json", shape)
    folder.save_text("junit.xml", junit.render(verdict, title, time_s))
    if folder.history.exists():
        write_report(folder)
    return shape


def up_command(arguments: argparse.Namespace) -> int:
    """A cluster for a person, until Ctrl-C."""
    system = catalog.find("systems", arguments.system)()
    workload_options, node_options = split_options(arguments.options)
    if workload_options:
        raise UsageError(f"-o {next(iter(workload_options))}: options of nodes have a dot in them")
    folder = RunFolder.create(arguments.results, f"up-{system.name}")
    cluster = make_cluster(arguments, system, node_options, seeds.fresh(), "real", folder)
    asyncio.run(_up(cluster))
    return 0


async def _up(cluster: Cluster) -> None:
    ended = asyncio.Event()
    with _signals(lambda reason: ended.set()):
        starting = asyncio.create_task(cluster.start())
        ending = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                _print_addresses(cluster)
                await ending
        finally:
            starting.cancel()
            ending.cancel()
            await asyncio.gather(starting, ending, return_exceptions=True)
            await cluster.stop()


def _print_addresses(cluster: Cluster) -> None:
    host = cluster.clients[0]
    for node in cluster.nodes:
        print(f"{node}  {cluster.address(node, host)}  admin http://{cluster.admin(node)}")
    print("Ctrl-C ends it", flush=True)


def _short(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
