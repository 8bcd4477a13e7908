"""What tests of several rooms share: the policy for tools that a machine may lack.

A test that needs a program asks `require("docker")` for its path. Where it is missing, the test is
skipped with the reason; in CI (`CI=true`) that is a failure, since a skip there would go unseen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

# A deadline for each example would judge the machine that the tests share, and not the code.
settings.register_profile("assay", deadline=None)
settings.load_profile("assay")

TOXIPROXY_MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"


def lacking(reason: str) -> NoReturn:
    """Skip the test because this machine cannot run it; fail it in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """`require(tool)`: the path of a program, or the end of the test as the policy says."""

    def find(tool: str) -> str:
        return shutil.which(tool) or lacking(f"{tool} is not on PATH")

    return find


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker Engine that answers, and the right to break its containers."""
    if os.geteuid() != 0:
        lacking("faults of containers need root")
    for tool in ("docker", "nft", "nsenter"):
        if shutil.which(tool) is None:
            lacking(f"{tool} is not on PATH")
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=60)
    if asked.returncode != 0:
        lacking(f"no Docker Engine answers: {asked.stderr.strip()[-200:]}")


@pytest.fixture(scope="session")
def toxiproxy_server() -> str:
    """The path of a real toxiproxy-server: named, on PATH, in the cache, or built with Go.

    It is used where Go is: no package of a distribution brings it, in CI either.
    """
    named = os.environ.get("TOXIPROXY_SERVER") or shutil.which("toxiproxy-server")
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay" / "bin"
    built = cache / f"toxiproxy-server-{TOXIPROXY_MODULE.rpartition('@')[2]}"
    if not built.exists():
        go = shutil.which("go")
        if go is None or not _can_fetch_toolchains(go):
            pytest.skip("neither toxiproxy-server nor a Go of at least 1.21 is on PATH")
        _build(go, cache, built)
    return str(built)


def _can_fetch_toolchains(go: str) -> bool:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True).stdout
    found = re.match(r"go1\.(\d+)", said)
    return found is not None and int(found[1]) >= 21


def _build(go: str, cache: Path, built: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        done = subprocess.run(
            [go, "install", TOXIPROXY_MODULE],
            env={**os.environ, "GOBIN": folder},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            lacking(f"toxiproxy-server cannot be built: {done.stderr[-500:]}")
        # Replacing is atomic, so that two test runs may build at the same time.
        (Path(folder) / "server").replace(built)
