"""What decided a run, for its `test.json`: options, seed, versions, the command that repeats it."""

from __future__ import annotations

import argparse
import contextlib
import platform
import shlex
import subprocess
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from harness.nemesis import Package
from harness.sim.process import hashes_alike
from harness.workload import Workload

LIBRARIES = ("assay", "kafka-python", "aiokafka", "confluent-kafka", "numpy", "msgspec")


def record(
    arguments: argparse.Namespace, seed: int, disk: str, package: Package, workload: Workload
) -> dict[str, Any]:
    """JSON only. `bands` are the colours of faults, for the report."""
    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "seed")}
    return {
        "name": workload.name,
        "workload": arguments.workload,
        "seed": seed,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in options.items()},
        "workload options": msgspec.to_builtins(workload.options),
        "disk": disk,
        "bands": [
            {"name": b.name, "start": sorted(b.start), "stop": sorted(b.stop), "colour": b.colour}
            for b in package.bands
        ],
        "versions": dict(versions()),
        **({"repeatable": hashes_alike()} if arguments.cluster == "sim" else {}),
        "command": command(arguments, seed),
    }


def command(arguments: argparse.Namespace, seed: int) -> str:
    """The command line that runs this test again."""
    words = ["assay", "run", arguments.workload]
    flags: Mapping[str, Any] = {
        "--system": arguments.system,
        "--cluster": arguments.cluster,
        "--nodes": arguments.nodes,
        "--nemesis": arguments.nemesis,
        "--nemesis-interval": _exactly(arguments.nemesis_interval),
        "--time-limit": _exactly(arguments.time_limit),
        "--rate": _exactly(arguments.rate),
        "--concurrency": arguments.concurrency,
        "--client": arguments.client,
        "--contract": arguments.contract,
        "--disk": arguments.disk,
        "--bug": arguments.bug,
        "--liveness": arguments.liveness,
        "--tape": arguments.tape,
        "--seed": seed,
    }
    for flag, value in flags.items():
        if value is not None:
            words += [flag, str(value)]
    words += ["--beyond-contract"] if arguments.beyond_contract else []
    for each in arguments.checkers:
        words += ["--checker", each]
    for each in arguments.options:
        words += ["-o", each]
    return shlex.join(words)


def _exactly(number: float) -> str:
    """Rounded, it would be another run."""
    return str(int(number)) if number == int(number) else repr(number)


@cache
def versions() -> Mapping[str, str]:
    """Of what may matter to a run; `commit` of our own sources where they are a checkout.

    Asked once a process, since it is the code that was loaded; git takes longer than a short run.
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    if commit := _commit():
        found["commit"] = commit
    return found


def _commit() -> str | None:
    """With + if files were changed since; None outside a checkout."""
    ask = partial(
        subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5
    )
    try:
        head = ask(["git", "rev-parse", "HEAD"])
        if head.returncode != 0:
            return None
        dirty = ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty else "")
