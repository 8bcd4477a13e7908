"""A harness to be killed: starts a cluster, pauses n1, cuts n2, tells its pids and waits.

python -m tests.cluster.a_harness local|docker FOLDER
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from harness.cluster.contract import Link
from harness.cluster.docker import DockerCluster
from harness.cluster.local import LocalCluster
from tests.conformance.echo import EchoSystem


async def main(kind: str, folder: Path) -> None:
    make = {"local": LocalCluster, "docker": DockerCluster}[kind]
    cluster = make(EchoSystem(), nodes=3, folder=folder, seed=1)
    label = cluster.label if isinstance(cluster, DockerCluster) else ""
    tell(pid=os.getpid(), label=label)
    await cluster.start()
    paused = await cluster.pause("n1")
    await cluster.cut([Link("n2", "n3")])
    assert paused.outcome == "observed"
    tell(paused=paused.evidence["pid"])
    await asyncio.Event().wait()


def tell(**what: int | str) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    # A shell ignores interrupts for what it runs in the background, and all its children do.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
