"""The nemesis' side of a run: a view of the cluster, and faults with their effects."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

from harness.cluster.contract import NodeState
from harness.faults import ACCOUNTS_MAX, VIEW_EVERY_S, Faults, roles
from harness.nemesis import View
from tests.fakes import FakeCluster, FakeSystem, Killer
from tests.virtual import virtually


def make(system: FakeSystem | None = None) -> tuple[FakeCluster, Faults]:
    cluster = FakeCluster()
    return cluster, Faults(Killer(), cluster, system or FakeSystem(), Random(1))


def test_a_target_is_resolved_by_the_newest_view() -> None:
    async def main() -> Any:
        cluster, faults = make()
        await cluster.start()
        await faults.look()
        assert faults.facts == {"elections": 1}
        return faults.resolve("kill", "leader")

    assert virtually(main()) == ["n1"]


def test_an_effect_comes_with_what_its_targets_were() -> None:
    async def main() -> Any:
        cluster, faults = make()
        await cluster.start()
        await faults.look()
        value = faults.resolve("kill", ["n1"])
        return await faults.invoke("kill", value)

    value, extra = virtually(main())
    assert value == ["n1"]
    assert extra["effect"] == {
        "outcome": "observed",
        "evidence": {"n1": {"outcome": "observed"}},
    }
    assert extra["roles"]["n1"] == ["leader"]


def test_roles_are_said_only_where_somebody_knows() -> None:
    nodes, clients = ("n1", "n2", "n3"), ("c1",)
    assert roles(View(nodes, clients)) == {}
    assert roles(View(nodes, clients, {}, {"n1": 2, "n2": 0}, "n1")) == {
        "n1": ["leader", "controller"],
        "n2": ["follower"],
        "n3": ["follower"],
    }


class Telling(FakeSystem):
    """n1 tells how often it was asked, up to three times; n2 the same for ever."""

    asked = 0

    async def view(self, cluster: Any) -> View:
        seen = await super().view(cluster)
        self.asked += 1
        accounts = {"n1": {"commit": min(self.asked, 3)}, "n2": {"commit": 0}}
        return replace(seen, quorum=accounts)


def test_what_nodes_tell_of_their_quorum_is_said_once_and_in_order() -> None:
    async def main() -> Any:
        cluster, faults = make(Telling())
        await cluster.start()
        for _ in range(2):
            await faults.look()
        _, first = await faults.invoke("kill", faults.resolve("kill", ["n3"]))
        for _ in range(3):
            await faults.look()
        return first["quorum"], faults.accounts(), faults.accounts()

    first, then, nothing = virtually(main())
    one, two = {"node": "n1", "commit": 1}, {"node": "n1", "commit": 2}
    assert first == [one, {"node": "n2", "commit": 0}, two]
    assert then == {"quorum": [{"node": "n1", "commit": 3}]} and nothing == {}


def test_of_what_waits_to_be_journaled_for_long_the_latest_is_kept() -> None:
    class Busy(Telling):
        async def view(self, cluster: Any) -> View:
            seen = await super().view(cluster)
            return replace(seen, quorum={"n1": {"commit": self.asked}})

    async def main() -> Any:
        _, faults = make(Busy())
        for _ in range(ACCOUNTS_MAX + 9):
            await faults.look()
        return [account["commit"] for account in faults.accounts()["quorum"]]

    assert virtually(main()) == list(range(10, ACCOUNTS_MAX + 10))


def test_the_system_is_asked_for_one_view_at_a_time() -> None:
    class Slow(FakeSystem):
        asking = 0

        async def view(self, cluster: Any) -> View:
            assert self.asking == 0, "answers could overtake each other"
            self.asking += 1
            await asyncio.sleep(1)
            self.asking -= 1
            return await super().view(cluster)

    async def main() -> Any:
        _, faults = make(Slow())
        return await asyncio.gather(faults.look(), faults.look())

    assert len(virtually(main())) == 2


def test_the_view_is_kept_fresh_even_if_the_system_fails_to_answer_at_times() -> None:
    class Moody(FakeSystem):
        async def view(self, cluster: Any) -> View:
            seen = await super().view(cluster)
            if self.elections % 2:
                raise ConnectionError("not now")
            return seen

    async def main() -> Any:
        _, faults = make(Moody())
        faults.watch()
        await asyncio.sleep(VIEW_EVERY_S * 10.5)
        await faults.close()
        return faults.facts["elections"]

    assert virtually(main()) == 10


def test_states_are_those_of_the_moment_and_not_of_the_view() -> None:
    class Watches(Killer):
        def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
            return {node: state.value for node, state in view.states.items()}

    async def main() -> Any:
        cluster = FakeCluster()
        faults = Faults(Watches(), cluster, FakeSystem(), Random(1))
        await cluster.start()
        await faults.look()
        cluster.states["n2"] = NodeState.PAUSED
        return faults.resolve("kill", None)

    assert virtually(main()) == {"n1": "running", "n2": "paused", "n3": "running"}


def test_closing_what_never_watched_is_fine() -> None:
    _, faults = make()
    virtually(faults.close())
