"""What a run makes in Docker carries two labels: the run's own, and who runs it.

By the first, a run or its watchdog removes everything of that run; by the second, `assay doctor
--clean` finds what belongs to no living harness. A process is named by its pid and its start, so
that a pid used again is not taken for it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from harness.cluster import routes

RUN = "assay.run"
HARNESS = "assay.harness"
IMAGE = "assay.image"

IMAGE_KEPT_S = 24 * 3600.0  # a younger one may be about to be used


def labels(run: str, harness_pid: int) -> Mapping[str, str]:
    """The labels of everything that a run makes."""
    return {RUN: run, HARNESS: _identity(harness_pid)}


def remove_run(client: docker.DockerClient, run: str) -> list[str]:
    """Remove a run's containers, then its networks; the names of what was removed.

    What the engine refuses to remove now (somebody else is removing it, say) is left: ask again.
    """
    return _remove(client, {"label": f"{RUN}={run}"}, lambda thing: True)


def is_left(client: docker.DockerClient, run: str) -> bool:
    """Whether anything of the run is there."""
    wanted = {"label": f"{RUN}={run}"}
    return bool(
        client.containers.list(all=True, filters=wanted, ignore_removed=True)
        or client.networks.list(filters=wanted)
    )


def remove_orphans() -> list[str]:
    """Remove containers, networks and routes whose harness is gone, and old images; their names.

    Raises:
        DockerException: no engine answers.
    """
    client = docker.from_env()
    try:
        removed = _remove(client, {"label": RUN}, is_orphan)
        return [*removed, *routes.sweep(), *_remove_old_images(client)]
    finally:
        client.close()


def is_orphan(labelled: Mapping[str, str]) -> bool:
    """Whether the harness named in these labels is gone, or was one before the last boot."""
    harness = labelled.get(HARNESS)
    if harness is None:
        return True
    try:
        _, pid, _ = harness.split("/")
        return _identity(int(pid)) != harness
    except ValueError:
        return False  # another version's way to say it, perhaps


def _identity(pid: int) -> str:
    """A process by boot, pid and start, which is "gone" if there is none."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = "gone"
    with contextlib.suppress(OSError):
        # The 22nd field; the second is the command's name, which may contain anything.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}/{pid}/{started}"


def _remove(
    client: docker.DockerClient,
    filters: Mapping[str, str],
    wanted: Callable[[Mapping[str, str]], bool],
) -> list[str]:
    containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    removed = _each(
        lambda container: container.remove(force=True, v=True),
        [container for container in containers if wanted(container.labels)],
    )
    networks = client.networks.list(filters=filters)
    return removed + _each(
        lambda network: network.remove(),
        [network for network in networks if wanted(network.attrs.get("Labels") or {})],
    )


def _each(remove: Callable[[Any], None], things: Iterable[Any]) -> list[str]:
    """Side by side, since the engine takes its time for each; the names of those now gone."""

    def attempt(thing: Any) -> str | None:
        try:
            remove(thing)
        except (DockerException, OSError):
            return None
        return str(thing.name)

    things = list(things)
    if not things:
        return []
    with ThreadPoolExecutor(min(len(things), 8)) as pool:
        return [name for name in pool.map(attempt, things) if name is not None]


def _remove_old_images(client: docker.DockerClient) -> list[str]:
    """Every change of the nodes' sources makes an image; those that nobody uses go."""
    removed: list[str] = []
    for image in client.images.list(filters={"label": IMAGE}):
        if time.time() - float(image.labels.get(IMAGE) or 0) < IMAGE_KEPT_S:
            continue
        with contextlib.suppress(DockerException):  # a container still uses it
            tags = image.tags or [image.short_id]
            client.images.remove(image.id)
            removed.extend(tags)
    return removed
