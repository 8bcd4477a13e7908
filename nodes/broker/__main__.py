"""`python -m nodes.broker CONFIG`: one broker, until SIGTERM or SIGINT.

CONFIG is a JSON file, see `nodes.broker.config.NodeConfig`. Exit status: 0 after a clean end, 1
when the node failed, 2 when the configuration or the command line cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import secrets
import signal
import sys
from pathlib import Path

from harness.host.contract import Host
from nodes.broker.config import ConfigError, NodeConfig


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m nodes.broker", description=__doc__)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the node's configuration")
    path = parser.parse_args(argv).config
    try:
        config = NodeConfig.parse(path.read_bytes())
    except (ConfigError, OSError) as error:
        return _fail(2, f"{path}: {error}")
    return asyncio.run(_serve(config))


async def _serve(config: NodeConfig) -> int:
    """The node's exit status."""
    from nodes.broker.node import NodeFailed, run  # the schemas take a while to load

    task = asyncio.ensure_future(run(_host(config), config))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    gc.freeze()  # what has been loaded stays: it need not be looked at again and again
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    except (NodeFailed, OSError) as error:
        return _fail(1, f"{config.node}: {error}")
    return 0


def _host(config: NodeConfig) -> Host:
    from harness.host.real import RealDisk, RealHost

    root = Path(config.data)
    # Each process draws differently: an incarnation that repeats is taken for the one before it.
    seed = secrets.randbits(64) ^ config.seed
    if config.disk == "volatile":
        from harness.host.volatile import VolatileDisk

        return RealHost(config.node, root, seed, disk=VolatileDisk(RealDisk(root)))
    return RealHost(config.node, root, seed)


def _fail(status: int, text: str) -> int:
    print(f"nodes.broker: {text}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
