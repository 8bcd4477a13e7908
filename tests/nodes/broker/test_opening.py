"""When a broker opens for clients: once it is in service, and not before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.cluster.sim import SimCluster
from harness.deadline import wait_until
from harness.errors import EnvironmentFailure
from harness.sim.world import World
from systems.broker import Broker


def test_clients_are_refused_until_the_node_is_in_service(tmp_path: Path) -> None:
    """It would tell them that there are no brokers, and some clients then ask again at once."""

    async def main() -> None:
        cluster = SimCluster(Broker(), folder=tmp_path, seed=1, ready_timeout_s=3)
        await cluster.start()
        for node in cluster.nodes:
            await cluster.kill(node)
        client = cluster.address("n1", "c1")

        async def open_to_clients() -> bool:
            try:
                _, writer = await asyncio.open_connection(*client)
            except ConnectionRefusedError:
                return False
            writer.close()
            return True

        with pytest.raises(EnvironmentFailure, match="not ready"):
            await cluster.start_node("n1")  # alone it has no majority, and so no cluster
        assert not await open_to_clients()
        await cluster.start_node("n2")
        await wait_until(open_to_clients, 5.0, "n1 to open for clients")
        await cluster.stop()

    with World(1) as world:
        world.run(main())
