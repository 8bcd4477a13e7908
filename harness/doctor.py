"""`assay doctor`: what this machine can do, and removal of what a killed harness left behind."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at. `ok` is None for what is optional and absent."""

    name: str
    ok: bool | None
    detail: str


def doctor_command(arguments: argparse.Namespace) -> int:
    """0 when everything that `local` needs is there, 4 otherwise."""
    findings = examine()
    cleaned = clean() if arguments.clean else []
    if arguments.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps({"checks": rows, "cleaned": list(cleaned)}))
    else:
        for finding in findings:
            mark = {True: "ok     ", False: "MISSING", None: "-      "}[finding.ok]
            print(f"{mark}  {finding.name:<18} {finding.detail}")
        for line in cleaned:
            print(f"removed  {line}")
        if arguments.clean and not cleaned:
            print("nothing was left behind")
    return 4 if any(finding.ok is False for finding in findings) else 0


def examine() -> list[Finding]:
    """What the clusters need, in the order in which a person would miss it."""
    return [
        Finding("python", sys.version_info >= (3, 11), platform.python_version()),
        Finding("platform", sys.platform == "linux" or None, _platform()),
        _library("kafka", "kafka-python, the default client"),
        _library("aiokafka", "the asyncio client"),
        _library("confluent_kafka", "librdkafka, --client confluent", optional=True),
        _tool("toxiproxy-server", "the real Toxiproxy; an embedded one is used without it"),
        _docker(),
        Finding("root", os.geteuid() == 0 or None, "packet-level faults on docker need it"),
        _tool("nsenter", "faults in containers' network namespaces"),
        _tool("nft", "partitions on docker"),
        _tool("chromium", "tests of the report"),
    ]


def clean() -> Sequence[str]:
    """Remove containers and networks of runs whose harness is gone; what was removed, by name.

    Node processes need no cleaning: they die with the harness.
    """
    if _docker().ok is not True:
        return []
    from harness.cluster.docker import remove_leftovers

    return remove_leftovers()


def _platform() -> str:
    note = "" if sys.platform == "linux" else "; processes outlive a killed harness here"
    return platform.platform() + note


def _library(module: str, about: str, *, optional: bool = False) -> Finding:
    there = find_spec(module) is not None
    return Finding(module, there or (None if optional else False), about)


def _tool(name: str, about: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, True if path else None, f"{about}{f' ({path})' if path else ''}")


def _docker() -> Finding:
    if shutil.which("docker") is None and not Path("/var/run/docker.sock").exists():
        return Finding("docker", None, "no Docker Engine: --cluster docker is not possible")
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("docker", None, f"does not answer: {error}")
    if asked.returncode != 0:
        return Finding("docker", None, f"does not answer: {asked.stderr.strip()[:120]}")
    return Finding("docker", True, f"engine {asked.stdout.strip()}")
