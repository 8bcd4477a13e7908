"""From the words of a command line to the parts of a test: names looked up, options typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import catalog, node_logs, provenance
from harness.checker import Check
from harness.cluster.contract import Ability, Cluster
from harness.errors import UsageError
from harness.guarantees import OF_ALL, derive
from harness.jury import Jury
from harness.nemesis import Package
from harness.run import Test
from harness.sim.links import Weather
from harness.store import RunFolder
from harness.system import System
from harness.tape import Tape
from harness.workload import Load, Workload, parse_options
from nemeses.compose import compose
from nemeses.losses import losses_max
from nemeses.rhythm import Rhythm

WORLD = "sim."
"""Options of a simulated world begin so."""

LOG_PATTERN = "log-pattern"

ALWAYS = ("crash", "faults", "quorum")
"""Checkers that judge every run, whatever its workload."""


def parse_test(arguments: argparse.Namespace, seed: int, *, keep: bool = True) -> Test:
    """Everything that decides a run. Without `keep` a simulated one leaves its history only.

    Raises:
        UsageError: names, options or combinations that cannot be.
    """
    given, node_options = split_options(arguments.options)
    limits = {name: given.pop(name) for name in OF_ALL if name in given}
    if arguments.cluster != "sim" and (
        own := [o for o in arguments.options if o.startswith(WORLD)]
    ):
        raise UsageError(f"-o {own[0]}: only --cluster sim has such a world")
    weather(arguments.options)
    system = find_system(arguments.system, arguments.bug)
    module = catalog.find("workloads", arguments.workload)
    concurrency = parse_concurrency(arguments.concurrency, arguments.nodes)
    load = Load(arguments.nodes, concurrency, arguments.rate, seed)
    library = virtual(system, arguments.client) if arguments.cluster == "sim" else arguments.client
    port = system.port(arguments.workload.rpartition(":")[2], library)
    workload: Workload = module.workload(parse_options(module.Options, given), load, port)
    more = ["liveness"] if arguments.liveness is not None else []
    more += limits
    checks = {**workload.checks, **checkers([*more, *arguments.checkers])}
    workload = replace(workload, checks=checks)
    most = None if arguments.beyond_contract else losses_max(workload.promises)
    rhythm = Rhythm(interval_s=arguments.nemesis_interval, losses_max=most)
    package = parse_nemesis(arguments.nemesis, rhythm)
    disk = arguments.disk or ("volatile" if Ability.POWER_OFF in package.needs else "real")
    if disk == "volatile":
        # To kill a node is a power failure now, so that fewer may be hit at once.
        package = parse_nemesis(arguments.nemesis, replace(rhythm, volatile=True))
    promises = {**workload.promises, **limits, "disk": disk}
    return Test(
        workload=workload,
        system=system,
        package=package,
        cluster=partial(make_cluster, arguments, system, node_options, seed, disk, keep=keep),
        contract=derive(workload.name, promises, arguments.contract),
        seed=seed,
        concurrency=concurrency,
        rate=arguments.rate,
        time_limit_s=arguments.time_limit,
        leave_running=arguments.leave_running,
        liveness_s=arguments.liveness,
        tape=None if arguments.tape is None else load_tape(arguments.tape, concurrency),
        bug=arguments.bug,
        of_folder=partial(with_logs, checks),
        record=provenance.record(arguments, seed, disk, package, workload),
    )


def load_tape(path: Path, concurrency: int) -> Tape:
    """Raises UsageError: it is none, or there are too few processes to play it: operations of the
    others would never come, and the run would wait for them for ever."""
    tape = Tape.load(path)
    threads = max((event.thread for event in tape.clients), default=-1) + 1
    if threads > concurrency:
        raise UsageError(
            f"the tape {path} has operations of {threads} processes, and there are {concurrency}: "
            f"give --concurrency {threads}"
        )
    return tape


def find_system(name: str, bug: str | None) -> System:
    """The system, with a bug planted if one is named.

    Raises:
        UsageError: there is no such system or bug, or its nodes are none of ours.
    """
    make = catalog.find("systems", name)
    if not bug:
        system: System = make()
        return system
    catalog.find("bugs", bug)
    if not getattr(make, "own", False):
        raise UsageError(f"--bug {bug}: bugs can be planted in this project's own nodes only")
    planted: System = make(bug=bug)
    return planted


def virtual(system: System, library: str | None) -> str:
    """The client library for a simulated world.

    Raises:
        UsageError: it blocks its thread, or the system is none of this project's.
    """
    able = system.virtual_libraries if system.own else ()
    if not able:
        raise UsageError(
            f"{system.name} cannot run in a simulated world; use --cluster local or docker"
        )
    if library is not None and library not in able:
        raise UsageError(
            f"{library} blocks its thread, which a simulated world cannot have: "
            f"use --client {able[0]}, or another --cluster"
        )
    return library or able[0]


def checkers(more: Iterable[str]) -> Mapping[str, Check]:
    """The checkers named in ALWAYS, and `more` of them."""
    return {name: catalog.find("checkers", name) for name in (*ALWAYS, *more)}


def with_logs(checks: Mapping[str, Any], folder: RunFolder) -> Mapping[str, Check]:
    """Those of the checkers that read the nodes' logs, with the logs of a run."""
    if LOG_PATTERN not in checks:
        return {}
    return {LOG_PATTERN: partial(checks[LOG_PATTERN], logs=node_logs.read(folder.path))}


def jury(arguments: argparse.Namespace) -> Jury:
    """Who judges a run or a history."""
    return Jury(memory_bytes=arguments.checker_memory, time_s=arguments.checker_time)


def make_cluster(
    arguments: argparse.Namespace,
    system: System,
    node_options: Mapping[str, Any],
    seed: int,
    disk: str,
    folder: RunFolder,
    *,
    keep: bool = True,
) -> Cluster:
    """The cluster that `--cluster` names, not started yet.

    Raises:
        UsageError: it is not built yet, or cannot do with these options.
    """
    common: Mapping[str, Any] = {
        "nodes": arguments.nodes,
        "folder": folder.path,
        "seed": seed,
        "options": node_options,
        "disk": disk,
    }
    match arguments.cluster:
        case "local":
            from harness.cluster.local import LocalCluster

            return LocalCluster(system, **common)
        case "docker":
            from harness.cluster.docker import DockerCluster

            return DockerCluster(system, **common)
        case "sim":
            from harness.cluster.sim import SimCluster

            return SimCluster(system, **common, keep=keep)
        case other:
            raise AssertionError(f"argparse knows no cluster {other}")


def parse_nemesis(text: str, rhythm: Rhythm) -> Package:
    """`kill:leader|all,partition` → the composed package.

    Raises:
        UsageError: an unknown name or target, or an empty one.
    """
    packages = []
    parts = text.split(",")
    rhythm = replace(rhythm, packages=len(parts))
    for part in parts:
        name, _, targets = part.strip().partition(":")
        if name.endswith(".py"):  # FILE:NAME has a colon of its own
            name, targets = part.strip(), ""
        own = rhythm
        if targets:
            chosen = tuple(targets.split("|"))
            own = replace(rhythm, targets=chosen, grudges=chosen, behaviours=chosen)
        packages.append(catalog.find("nemeses", name)(own))
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
    """Options of the workload and of the nodes; the latter have a dot in their key. Those of a
    simulated world are `weather`'s.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    workload: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for each in given:
        key, value = key_value("-o", each)
        if not key.startswith(WORLD):
            (nodes if "." in key else workload)[key] = value
    return workload, nodes


def key_value(flag: str, text: str) -> tuple[str, str]:
    """Raises UsageError: it is not KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{flag} {text} is not KEY=VALUE, as in {flag} acks=1")
    return key, value


def positive(number: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type of an argument: a number of that kind that is finite and greater than 0."""

    def parse(text: str) -> Any:
        value = number(text)
        if not 0 < value < math.inf:
            wrong = "not finite" if value > 0 else "not greater than 0"
            raise argparse.ArgumentTypeError(f"{text} is {wrong}")
        return value

    parse.__name__ = number.__name__  # argparse names it in its message
    return parse


def weather(given: Sequence[str]) -> Weather:
    """How links are in good order, from options like `sim.latency-us=500`.

    Raises:
        UsageError: an unknown one, or no number.
    """
    chosen = Weather()
    for each in given:
        key, _, value = each.partition("=")
        if not key.startswith(WORLD):
            continue
        try:
            match key.removeprefix(WORLD):
                case "latency-us":
                    mean_ns = round(_between(each, value, 0, 60e6) * 1000)
                    chosen = replace(chosen, least_ns=mean_ns // 4, mean_ns=mean_ns)
                case "split":
                    chosen = replace(chosen, split=_between(each, value, 0, 1))
                case other:
                    raise UsageError(f"sim.{other} is none of sim.latency-us, sim.split")
        except ValueError:
            raise UsageError(f"-o {each}: {value!r} is no number") from None
    return chosen


def _between(option: str, text: str, least: float, most: float) -> float:
    """Raises ValueError: no number. UsageError: none of these."""
    value = float(text)
    if not least <= value <= most:
        raise UsageError(f"-o {option}: {text} is not between {least:g} and {most:g}")
    return value
