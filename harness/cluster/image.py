"""The container image of the nodes, built when its contents change.

The tag is a hash of everything that goes in, so an image that exists is the right one. Building
needs no registry of images (see `docker/base-image`) and, once the wheels are in the cache, no
network at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.errors import EnvironmentFailure

BASE = "python:3.13-slim"
REPOSITORY = "assay-nodes"
SOURCES = ("nodes", "harness")
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
    tag = f"{REPOSITORY}:{_content_hash(base)}"
    if _ran(["docker", "image", "inspect", tag]):
        return tag
    _run([str(folder / "base-image"), base], "making the base image")
    with tempfile.TemporaryDirectory() as context:
        _fill(Path(context), base)
        _run(
            ["docker", "build", "--quiet", "--network", "none", "--build-arg", f"BASE={base}"]
            + ["--label", "assay=image", "--tag", tag, context],
            "building the image of the nodes",
        )
    return tag


def _content_hash(base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for path in [ROOT / "docker/Dockerfile", ROOT / "docker/requirements.txt", *_sources()]:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> list[Path]:
    return [path for name in SOURCES for path in sorted((ROOT / name).rglob("*.py"))]


def _fill(context: Path, base: str) -> None:
    shutil.copy(ROOT / "docker/Dockerfile", context)
    for path in _sources():
        target = context / "app" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copytree(_wheels(base), context / "wheels")


def _wheels(base: str) -> Path:
    """Wheels for the image's Python, downloaded once on this machine and kept."""
    version = _output(
        ["docker", "run", "--rm", "--network", "none", base, "python3", "-c"]
        + ["import sys; print('%d.%d' % sys.version_info[:2])"]
    )
    requirements = ROOT / "docker/requirements.txt"
    kept = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"
    wheels = cache / f"wheels-{version}-{kept}"
    if not wheels.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
                + ["--python-version", version, "--only-binary=:all:", "-r", str(requirements)],
                "downloading the nodes' wheels",
            )
            shutil.copy(requirements, folder)
            aside = wheels.with_name(f"{wheels.name}.{os.getpid()}")
            shutil.copytree(folder, aside)
            try:
                aside.rename(wheels)
            except OSError:  # another run was faster
                shutil.rmtree(aside)
    return wheels


def _ran(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


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
