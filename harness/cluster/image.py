"""The container image of the nodes, built when its contents change.

The tag is a hash of everything that goes in, so an image that exists is the right one. Building
needs no registry of images (see `docker/base-image`) and, once the wheels are in the cache, no
network at all. Of several runs that need it at once, one builds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.cluster.leftovers import IMAGE
from harness.errors import EnvironmentFailure

BASE = "python:3.13-slim"
REPOSITORY = "assay-nodes"
SOURCES = ("nodes", "harness/__init__.py", "harness/errors.py", "harness/host")  # what nodes import
BUILD_TIMEOUT_S = 300.0

ROOT = Path(__file__).parents[2]


def ensure(base: str = BASE) -> str:
    """The tag of an image with the nodes as they are in this checkout; builds it if need be.

    Blocking; run it on a thread.

    Raises:
        EnvironmentFailure: it cannot be built; the message has the builder's last words.
    """
    folder = ROOT / "docker"
    if not (folder / "Dockerfile").exists():
        raise EnvironmentFailure(
            "the image of the nodes is built from a checkout of the project, and this is an "
            "installed package; run from a checkout to use --cluster docker"
        )
    contents = _contents()
    tag = f"{REPOSITORY}:{_hash(base, contents)}"
    if _exists(tag):
        return tag
    with _alone():
        if not _exists(tag):
            _build(tag, base, contents)
    return tag


def _contents() -> dict[str, bytes]:
    """Path in the checkout → content. Read once: what is hashed is what is built."""
    paths = [ROOT / "docker" / name for name in ("Dockerfile", "base-image", "requirements.txt")]
    for source in SOURCES:
        path = ROOT / source
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def _hash(base: str, contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(base.encode())
    for path, content in contents.items():
        digest.update(b"\0%b\0%d\0%b" % (path.encode(), len(content), content))
    return digest.hexdigest()[:16]


def _exists(tag: str) -> bool:
    command = ["docker", "image", "inspect", tag]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def _build(tag: str, base: str, contents: Mapping[str, bytes]) -> None:
    _run([str(ROOT / "docker/base-image"), base], "making the base image")
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_bytes(contents["docker/Dockerfile"])
        for path, content in contents.items():
            if path.endswith(".py"):
                target = Path(context, "app", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        shutil.copytree(_wheels(base), Path(context, "wheels"))
        _run(
            ["docker", "build", "--quiet", "--force-rm", "--network", "none"]
            + ["--build-arg", f"BASE={base}", "--label", f"{IMAGE}={time.time():.0f}"]
            + ["--tag", tag, context],
            "building the image of the nodes",
        )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the only right to build on this machine, for this user."""
    cache = _cache()
    with (cache / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _wheels(base: str) -> Path:
    """Wheels for the image's Python, downloaded once on this machine and kept."""
    version = _output(
        ["docker", "run", "--rm", "--network", "none", base, "python3", "-c"]
        + ["import sys; print('%d.%d' % sys.version_info[:2])"]
    )
    requirements = ROOT / "docker/requirements.txt"
    kept = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = _cache()
    wheels = cache / f"wheels-{version}-{kept}"
    if not wheels.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            aside = Path(folder, "wheels")
            _run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(aside)]
                + ["--python-version", version, "--only-binary=:all:", "-r", str(requirements)],
                "downloading the nodes' wheels",
            )
            shutil.copy(requirements, aside)
            aside.rename(wheels)  # whole or not at all
    return wheels


def _output(command: Sequence[str]) -> str:
    return _run(command, "asking the base image for its Python").strip()


def _run(command: Sequence[str], doing: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(f"{doing} failed: {error}") from error
    if done.returncode != 0:
        raise EnvironmentFailure(f"{doing} failed:\n{(done.stderr or done.stdout)[-1500:]}")
    return done.stdout
