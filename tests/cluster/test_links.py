"""Probes of cuts where the node behind the link is in no state to answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cluster.contract import Cluster, Link, NodeSpec, Outcome
from harness.cluster.local import LocalCluster
from harness.system import Command
from tests.conformance.echo import EchoSystem

pytestmark = pytest.mark.local


class Deaf(EchoSystem):
    """Nodes that run and never listen, as real ones just after their start."""

    def command(self, spec: NodeSpec) -> Command:
        return Command(argv=["sleep", "600"])

    async def ready(self, cluster: Cluster, node: str) -> bool:
        return True


async def test_a_cut_towards_a_node_that_does_not_listen_yet_is_observed(tmp_path: Path) -> None:
    """The proxy ends connections that it cannot pass on; that is no answer through the cut."""
    cluster = LocalCluster(Deaf(), nodes=2, folder=tmp_path / "run", seed=1)
    try:
        await cluster.start()
        await cluster.pause("n2")
        cut = await cluster.cut([Link("n1", "n2"), Link("c1", "n2")])
        assert cut.outcome is Outcome.OBSERVED
        assert cut.evidence["silent"] == 0, "nobody was there to be heard"
        assert (await cluster.heal()).outcome is Outcome.OBSERVED
    finally:
        await cluster.stop()
