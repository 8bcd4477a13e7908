"""A harness to be killed: starts a cluster, pauses n1, cuts n2, tells its pids and waits.

python -m tests.cluster.a_harness FOLDER
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from harness.cluster.contract import Link
from harness.cluster.local import LocalCluster
from tests.conformance.echo import EchoSystem


async def main(folder: Path) -> None:
    cluster = LocalCluster(EchoSystem(), nodes=3, folder=folder, seed=1)
    await cluster.start()
    paused = await cluster.pause("n1")
    await cluster.cut([Link("n2", "n3")])
    assert paused.outcome == "observed"
    print(json.dumps({"pid": os.getpid(), "paused": paused.evidence["pid"]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
