"""`assay doctor`: what this machine can do, and removal of what a killed harness left behind.

Whatever can be tried is tried, in a network namespace of its own that ends at once: that `nft` is
installed says nothing of the kernel beneath it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from harness.errors import EnvironmentFailure

TRY_TIMEOUT_S = 15.0
FREE_GIB = 2.0  # a run of an hour with its histories and its nodes' logs
OPEN_FILES = 1024  # three nodes, each link with two proxied connections for each client


class Finding(NamedTuple):
    """One thing that was looked at. `ok` is None for what is optional and absent."""

    name: str
    ok: bool | None
    detail: str


def doctor_command(arguments: argparse.Namespace) -> int:
    """0 when everything that `--cluster local` needs is there, 4 otherwise.

    Raises:
        EnvironmentFailure: `--clean` is wanted and no Docker Engine answers.
    """
    findings = examine()
    cleaned = clean() if arguments.clean else None
    if arguments.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps({"checks": rows, **({} if cleaned is None else {"removed": cleaned})}))
    else:
        _print(findings, cleaned)
    return 4 if any(finding.ok is False for finding in findings) else 0


def _print(findings: Sequence[Finding], cleaned: Sequence[str] | None) -> None:
    for finding in findings:
        mark = {True: "ok     ", False: "MISSING", None: "-      "}[finding.ok]
        print(f"{mark}  {finding.name:<18} {finding.detail}")
    for name in cleaned or ():
        print(f"removed  {name}")
    if cleaned is not None and not cleaned:
        print("nothing was left behind")


def examine() -> list[Finding]:
    """What the clusters need, in the order in which a person would miss it."""
    return [
        Finding("python", sys.version_info >= (3, 11), platform.python_version()),
        Finding("platform", sys.platform == "linux", _platform()),
        _disk(),
        _open_files(),
        _library("kafka", "kafka-python, the default client"),
        _library("aiokafka", "the asyncio client"),
        _library("confluent_kafka", "librdkafka, --client confluent", optional=True),
        _tool("toxiproxy-server", "the real Toxiproxy; an embedded one is used without it"),
        _docker(),
        Finding("root", os.geteuid() == 0 or None, "--cluster docker breaks containers from here"),
        _tool("nsenter", "faults in containers' network namespaces"),
        _kernel("nft", "partitions on docker", "nft add table inet assay"),
        _kernel("netem", "packet delays", "tc qdisc add dev lo root netem delay 1ms"),
        _tool("chromium", "tests of the report"),
    ]


def clean() -> list[str]:
    """Remove containers and networks of runs whose harness is gone, old images, and what killed
    explorations left in memory; their names.

    Node processes of `local` need no cleaning: they die with the harness.

    Raises:
        EnvironmentFailure: no Docker Engine answers.
    """
    from docker.errors import DockerException

    from harness.cluster.leftovers import remove_orphans
    from harness.explore.campaign import sweep

    swept = sweep()
    if shutil.which("docker") is None and not Path("/var/run/docker.sock").exists():
        return swept  # nobody can have left anything in it
    try:
        return [*swept, *remove_orphans()]
    except (DockerException, OSError) as error:
        raise EnvironmentFailure(f"cannot clean up: no Docker Engine answers: {error}") from error


def _platform() -> str:
    needs = "" if sys.platform == "linux" else "; pidfds and /proc are Linux's"
    return platform.platform() + needs


def _disk() -> Finding:
    """Where runs are stored, and where pytest and image builds work."""
    free = {
        str(where): shutil.disk_usage(where).free / 2**30
        for where in (Path.cwd(), Path(tempfile.gettempdir()))
    }
    shown = ", ".join(f"{gib:.1f} GiB free in {where}" for where, gib in free.items())
    return Finding("disk space", min(free.values()) >= FREE_GIB, shown)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES
    advice = "" if enough else f"; raise it with `ulimit -n {OPEN_FILES}` (at most {hard})"
    return Finding("open files", enough, f"limit {soft}{advice}")


def _library(module: str, about: str, *, optional: bool = False) -> Finding:
    there = find_spec(module) is not None
    return Finding(module, there or (None if optional else False), about)


def _tool(name: str, about: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, True if path else None, f"{about}{f' ({path})' if path else ''}")


def _kernel(name: str, about: str, command: str) -> Finding:
    """Whether a command of root's works, in a network namespace that nobody else sees."""
    tool = command.split()[0]
    if shutil.which(tool) is None or shutil.which("unshare") is None:
        return Finding(name, None, f"{about}; {tool} or unshare is not installed")
    done = _try(["unshare", "--net", *command.split()])
    return Finding(name, done is None or None, about if done is None else f"{about}; {done}")


def _docker() -> Finding:
    if shutil.which("docker") is None and not Path("/var/run/docker.sock").exists():
        return Finding("docker", None, "no Docker Engine: --cluster docker is not possible")
    trouble = _try(["docker", "version", "--format", "{{.Server.Version}}"])
    if trouble is not None:
        return Finding("docker", None, f"does not answer: {trouble}")
    return Finding("docker", True, "an engine answers: --cluster docker")


def _try(command: Sequence[str]) -> str | None:
    """None if the command works, else its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRY_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1][:160]
