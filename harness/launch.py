"""`assay run` and `assay up`: from arguments to tests, signals and exit statuses."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import catalog, seeds
from harness.checker import Check
from harness.cluster.contract import Ability, Cluster
from harness.cluster.local import LocalCluster
from harness.errors import AssayError, EnvironmentFailure, UsageError
from harness.guarantees import derive
from harness.nemesis import Package
from harness.progress import Progress, Silent, Terminal
from harness.report import junit, text, write_report
from harness.run import Run, Test, check
from harness.store import RunFolder
from harness.system import System
from harness.verdict import Outcome, Verdict
from harness.workload import Load, Workload, parse_options
from nemeses.compose import compose
from nemeses.losses import losses_max
from nemeses.rhythm import Rhythm

EXIT_FAILED = 4

ALWAYS = ("crash", "faults")
"""Checkers that judge every run, whatever its workload."""


def run_command(arguments: argparse.Namespace) -> int:
    """One run, or `--test-count` of them; each has a folder and a seed of its own."""
    console = Console(stderr=True, quiet=arguments.json)
    first = seeds.fresh() if arguments.seed is None else arguments.seed
    statuses, shapes = [], []
    for number in range(arguments.test_count):
        seed = first + number
        try:
            status, shape = _run_one(arguments, seed, console)
        except UsageError:
            raise
        except AssayError as error:
            print(f"assay: {error}", file=sys.stderr)
            status, shape = EXIT_FAILED, {"valid": "unknown", "error": str(error)}
        statuses.append(status)
        shapes.append(shape)
        if shape.get("interrupted"):
            break
    if arguments.json:
        print(json.dumps(shapes[0] if arguments.test_count == 1 else shapes, default=str))
    return worst(statuses)


def worst(statuses: Sequence[int]) -> int:
    """4 if any could not run, else 1 over 3 over 0.

    >>> worst([0, 3, 1]), worst([0, 3]), worst([1, 4])
    (1, 3, 4)
    """
    return max(statuses, key=[0, 3, 1, 4].index)


def up_command(arguments: argparse.Namespace) -> int:
    """A cluster for a person, until Ctrl-C."""
    system = catalog.find("systems", arguments.system)()
    _, node_options = split_options(arguments.options)
    folder = RunFolder.create(arguments.results, f"up-{system.name}")
    cluster = _cluster(arguments, system, node_options, seeds.fresh(), "real", folder)

    async def up() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        try:
            starting = asyncio.ensure_future(cluster.start())
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
            else:
                await starting
                _print_addresses(cluster)
            await stopping
        finally:
            await cluster.stop()

    asyncio.run(up())
    return 0


def _print_addresses(cluster: Cluster) -> None:
    host = cluster.clients[0]
    for node in cluster.nodes:
        print(f"{node}  {cluster.address(node, host)}  admin http://{cluster.admin(node)}")
    print("Ctrl-C ends it", flush=True)


def _run_one(
    arguments: argparse.Namespace, seed: int, console: Console
) -> tuple[int, dict[str, Any]]:
    test = compose_test(arguments, seed)
    folder = RunFolder.create(arguments.results, test.workload.name)
    began = time.monotonic()
    bands = {band.name: band for band in test.package.bands}
    progress = Silent() if arguments.json else Terminal(console, bands)
    with progress if isinstance(progress, Terminal) else contextlib.nullcontext():
        verdict, interrupted = asyncio.run(_drive(test, folder, progress))
    if verdict is None:
        verdict = Verdict(Outcome.UNKNOWN, doubts=(f"interrupted ({interrupted}) before it began",))
    title = f"{test.workload.name} / {test.package.name} / {arguments.cluster}, seed {seed}"
    shape = store_verdict(folder, verdict, title, time.monotonic() - began)
    if not arguments.json:
        repeat = test.record["command"]
        print(text.render(verdict, title, repeat=repeat, report=_short(folder.report)))
    if interrupted:
        shape["interrupted"] = interrupted
    return verdict.outcome.exit_status, shape


def store_verdict(folder: RunFolder, verdict: Verdict, title: str, time_s: float) -> dict[str, Any]:
    """Write verdict.json, junit.xml and the report; the JSON shape."""
    shape = {**verdict.to_json(), "run": str(folder.path)}
    folder.save("verdict.json", shape)
    folder.save_text("junit.xml", junit.render(verdict, title, time_s))
    write_report(folder)
    if verdict.outcome is Outcome.VALID:
        folder.drop_data()
    return shape


async def _drive(
    test: Test, folder: RunFolder, progress: Progress
) -> tuple[Verdict | None, str | None]:
    run = Run(test, folder, progress)
    with _signals(run):
        verdict = await run.execute()
        if test.leave_running:
            print("the nodes are left running; Ctrl-C ends them", file=sys.stderr)
            with contextlib.suppress(asyncio.CancelledError):
                await run.wait_interrupted()
            await run.stop()
    return verdict, run.interrupted


@contextlib.contextmanager
def _signals(run: Run) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, run.interrupt, signal.Signals(signum).name)
    try:
        yield
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)


def compose_test(arguments: argparse.Namespace, seed: int) -> Test:
    """Everything that decides the run, from the command line.

    Raises:
        UsageError: names, options or combinations that cannot be.
    """
    given, node_options = split_options(arguments.options)
    system: System = catalog.find("systems", arguments.system)()
    module = catalog.find("workloads", arguments.workload)
    concurrency = parse_concurrency(arguments.concurrency, arguments.nodes)
    load = Load(arguments.nodes, concurrency, arguments.rate, seed)
    port = system.port(arguments.workload, arguments.client)
    workload: Workload = module.workload(parse_options(module.Options, given), load, port)
    workload = replace(workload, checks={**workload.checks, **_always()})
    rhythm = Rhythm(arguments.nemesis_interval, losses_max=losses_max(workload.promises))
    package = parse_nemesis(arguments.nemesis, rhythm)
    disk = arguments.disk or ("volatile" if Ability.POWER_OFF in package.needs else "real")
    if disk == "volatile":
        package = parse_nemesis(arguments.nemesis, replace(rhythm, volatile=True))
    if arguments.bug:
        raise UsageError(f"there is no bug {arguments.bug!r}: assay list bugs")
    return Test(
        workload=workload,
        system=system,
        package=package,
        cluster=partial(_cluster, arguments, system, node_options, seed, disk),
        contract=derive(workload.name, workload.promises, arguments.contract),
        seed=seed,
        concurrency=concurrency,
        rate=arguments.rate,
        time_limit_s=arguments.time_limit,
        leave_running=arguments.leave_running,
        record=_record(arguments, seed, package, workload),
    )


def _always() -> Mapping[str, Check]:
    return {name: catalog.find("checkers", name) for name in ALWAYS}


def _cluster(
    arguments: argparse.Namespace,
    system: System,
    node_options: Mapping[str, Any],
    seed: int,
    disk: str,
    folder: RunFolder,
) -> Cluster:
    match arguments.cluster:
        case "local":
            return LocalCluster(
                system,
                nodes=arguments.nodes,
                folder=folder.path,
                seed=seed,
                options=node_options,
                disk=disk,
            )
        case "docker":
            from harness.cluster.docker import DockerCluster

            return DockerCluster(
                system,
                nodes=arguments.nodes,
                folder=folder.path,
                seed=seed,
                options=node_options,
                disk=disk,
            )
        case other:
            raise EnvironmentFailure(f"the {other} cluster is not built yet; use --cluster local")


def parse_nemesis(text: str, rhythm: Rhythm) -> Package:
    """`kill:leader|all,partition` → the composed package.

    Raises:
        UsageError: an unknown name or an empty one.
    """
    packages = []
    for part in text.split(","):
        name, _, targets = part.strip().partition(":")
        if name.endswith(".py"):  # FILE:NAME has a colon of its own
            name, targets = part.strip(), ""
        its = rhythm
        if targets:
            chosen = tuple(targets.split("|"))
            its = replace(rhythm, targets=chosen, grudges=chosen, behaviours=chosen)
        packages.append(catalog.find("nemeses", name)(its))
    return packages[0] if len(packages) == 1 else compose(packages)


def parse_concurrency(text: str, nodes: int) -> int:
    """`6` or `2n`.

    >>> parse_concurrency("2n", 3)
    6
    """
    try:
        count = int(text[:-1] or 1) * nodes if text.endswith("n") else int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"--concurrency {text} is neither a number nor a multiple of n, as in 2n")
    return count


def split_options(given: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the workload and of the nodes; the latter have a dot in their key.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    workload: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise UsageError(f"-o {each} is not KEY=VALUE")
        (nodes if "." in key else workload)[key] = value
    return workload, nodes


def _record(
    arguments: argparse.Namespace, seed: int, package: Package, workload: Workload
) -> dict[str, Any]:
    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "seed")}
    return {
        "name": workload.name,
        "workload": arguments.workload,
        "seed": seed,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in options.items()},
        "workload options": dict(_options_json(workload.options).items()),
        "bands": [
            {"name": b.name, "start": sorted(b.start), "stop": sorted(b.stop), "colour": b.colour}
            for b in package.bands
        ],
        "versions": _versions(),
        "command": _repeat(arguments, seed),
    }


def _options_json(options: Any) -> dict[str, Any]:
    import msgspec

    shape = msgspec.to_builtins(options)
    assert isinstance(shape, dict)
    return shape


def _repeat(arguments: argparse.Namespace, seed: int) -> str:
    """The command line that runs this test again."""
    words = ["assay", "run", arguments.workload]
    flags: Mapping[str, Any] = {
        "--system": arguments.system,
        "--cluster": arguments.cluster,
        "--nodes": arguments.nodes,
        "--nemesis": arguments.nemesis,
        "--nemesis-interval": f"{arguments.nemesis_interval:g}",
        "--time-limit": f"{arguments.time_limit:g}",
        "--rate": f"{arguments.rate:g}",
        "--concurrency": arguments.concurrency,
        "--client": arguments.client,
        "--contract": arguments.contract,
        "--disk": arguments.disk,
        "--bug": arguments.bug,
        "--seed": seed,
    }
    for flag, value in flags.items():
        if value is not None:
            words += [flag, str(value)]
    for each in arguments.options:
        words += ["-o", each]
    return shlex.join(words)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("assay", "kafka-python", "aiokafka", "confluent-kafka", "numpy", "msgspec"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    commit = _commit()
    if commit:
        found["commit"] = commit
    return found


def _commit() -> str | None:
    """The commit of our own sources, with + when they were changed; None outside a checkout."""
    here = Path(__file__).parent
    try:
        ask = partial(subprocess.run, cwd=here, capture_output=True, text=True, timeout=5)
        head = ask(["git", "rev-parse", "HEAD"])
        if head.returncode != 0:
            return None
        dirty = ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty else "")


def _short(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


__all__ = ["check", "compose_test", "run_command", "up_command"]
