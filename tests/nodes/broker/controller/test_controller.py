"""Three controllers over loopback: brokers register, are heard and fenced; requests apply once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodes.broker.config import NodeConfig
from nodes.broker.controller import requests as requests_module
from nodes.broker.controller.commands import (
    AllocateProducerIds,
    CreateTopic,
    DeleteTopic,
    Fence,
)
from nodes.broker.controller.controller import Controller, Heartbeat
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import NO_LEADER, MetadataImage
from nodes.raft import sessions
from tests.nodes.raft.hosts import Link, events, ports, real_host, until

IDS = (1, 2, 3)
OPTIONS = {
    "broker.heartbeat.interval.ms": 50,
    "broker.session.timeout.ms": 600,
    "controller.quorum.election.timeout.ms": 200,
    "controller.quorum.fetch.timeout.ms": 300,
}


class Quorum:
    """Controllers of the nodes n1, n2, n3, each directed pair with a link."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root, self.options = root, {**OPTIONS, **options}
        self._binds = dict(zip(IDS, ports(3), strict=True))
        pairs = [(a, b) for a in IDS for b in IDS if a != b]
        self._listen = dict(zip(pairs, ports(len(pairs)), strict=True))
        self.links = {
            pair: Link(listen, self._binds[pair[1]]) for pair, listen in self._listen.items()
        }
        self.controllers: dict[int, Controller] = {}

    def _config(self, id: int) -> NodeConfig:
        return NodeConfig(
            node=f"n{id}",
            id=id,
            data=str(self.root),
            bind={"peer": ("127.0.0.1", 1), "raft": self._binds[id], "admin": ("127.0.0.1", 1)},
            peers={f"n{b}": {"raft": self._listen[id, b]} for b in IDS if b != id},
            options=self.options,
        )

    async def start(self, *ids: int, clean: bool = False) -> None:
        for id in ids:
            # One seed for every process of a node, as its configuration says.
            host = real_host(self.root, f"n{id}", seed=7)
            self.controllers[id] = Controller(host, self._config(id), clean=clean)
            await self.controllers[id].start()

    async def stop(self, *ids: int) -> None:
        for id in ids:
            await self.controllers.pop(id).close()

    def isolate(self, id: int) -> None:
        for pair, link in self.links.items():
            if id in pair:
                link.cut()

    def heal(self) -> None:
        for link in self.links.values():
            link.heal()

    async def close(self) -> None:
        await self.stop(*self.controllers)
        for link in self.links.values():
            await link.close()

    # -- what it says --------------------------------------------------------------------------

    @property
    def leader(self) -> int | None:
        """Who leads by its own word, in the newest term."""
        leading = [(c.term, id) for id, c in self.controllers.items() if c.leader_id == id]
        return max(leading)[1] if leading else None

    def image(self) -> MetadataImage:
        """The newest that anybody has."""
        return max((c.image for c in self.controllers.values()), key=lambda image: image.offset)

    async def all_active(self, *ids: int) -> None:
        await until(
            lambda: (
                all(self.image().active(id) for id in ids or IDS)
                and all(not self.controllers[id].fenced for id in ids or IDS)
            ),
            "all brokers to be in service",
        )

    def follower(self) -> int:
        return next(id for id in self.controllers if id != self.leader)


@pytest.fixture
async def quorum(tmp_path: Path) -> AsyncIterator[Quorum]:
    quorum = Quorum(tmp_path)
    for link in quorum.links.values():
        await link.start()
    await quorum.start(*IDS)
    await quorum.all_active()
    yield quorum
    await quorum.close()


def topic(name: str = "t") -> CreateTopic:
    return CreateTopic(name, 1, 3, {})


# -- brokers ---------------------------------------------------------------------------------


async def test_brokers_register_and_come_into_service(quorum: Quorum) -> None:
    epochs = {id: controller.broker_epoch for id, controller in quorum.controllers.items()}
    assert len(set(epochs.values())) == 3 and min(epochs.values()) > 0
    assert {id: broker.epoch for id, broker in quorum.image().brokers.items()} == epochs


async def test_a_silent_broker_is_fenced_and_comes_back(quorum: Quorum) -> None:
    await quorum.controllers[1].submit(topic())
    silent = quorum.follower()
    quorum.isolate(silent)
    await until(lambda: not quorum.image().active(silent), "the broker to be fenced")
    state = quorum.image().partition("t", 0)
    assert state is not None and silent not in state.isr and state.leader not in (silent, NO_LEADER)
    quorum.heal()
    await quorum.all_active()
    epoch = quorum.image().brokers[silent].epoch
    assert epoch == quorum.controllers[silent].broker_epoch, "it is the same process"


async def test_a_broker_that_is_heard_stays_in_service_whoever_leads(quorum: Quorum) -> None:
    for _ in range(2):
        leader = quorum.leader
        assert leader is not None
        await quorum.controllers[leader]._raft.transfer(quorum.follower())
        await until(lambda leader=leader: quorum.leader not in (None, leader), "another leader")
        await asyncio.gather(*(quorum.controllers[id].submit(AllocateProducerIds(1)) for id in IDS))
    assert quorum.image().counters.fences == 0


@pytest.mark.parametrize("clean", [False, True])
async def test_a_restart_gets_a_new_epoch_and_keeps_its_place_only_if_it_was_clean(
    quorum: Quorum, clean: bool
) -> None:
    await quorum.controllers[1].submit(topic())
    restarted = quorum.follower()
    before = quorum.controllers[restarted].broker_epoch
    await quorum.stop(restarted)
    await quorum.start(restarted, clean=clean)
    await quorum.all_active()
    assert quorum.controllers[restarted].broker_epoch > before
    state = quorum.image().partition("t", 0)
    assert state is not None and (restarted in state.isr) == clean


async def test_all_nodes_at_once_come_back_into_service(quorum: Quorum) -> None:
    await quorum.controllers[1].submit(topic())
    await quorum.stop(*IDS)
    await quorum.start(*IDS)
    await quorum.all_active()
    state = quorum.image().partition("t", 0)
    assert state is not None
    await until(
        lambda: quorum.image().topics["t"].partitions[0].leader != NO_LEADER, "a leader of t-0"
    )


async def test_roles_are_told_once_this_process_is_registered(tmp_path: Path) -> None:
    """The metadata that is recovered speaks of the process before."""
    quorum = Quorum(tmp_path)
    for link in quorum.links.values():
        await link.start()
    try:
        await quorum.start(*IDS)
        await quorum.all_active()
        told: list[bool] = []
        controller = quorum.controllers[quorum.follower()]
        controller.subscribe(lambda old, new: told.append(controller.fenced))
        await controller.submit(topic())
        assert told == [False]
    finally:
        await quorum.close()


async def test_another_process_with_its_id_is_noticed(quorum: Quorum) -> None:
    id = quorum.follower()
    controller = quorum.controllers[id]
    before = controller.broker_epoch
    await controller.submit(Fence(id, before))
    stale = msgspec.msgpack.encode(Heartbeat(id, before - 1, 10**6))
    known = await controller._requests.ask_leader("heartbeat", stale, 2)
    assert known is False
    controller.broker_epoch = before - 1
    await until(lambda: controller.broker_epoch == before, "it to register again")
    assert events(controller._host, "broker.unknown")  # type: ignore[arg-type]


# -- requests --------------------------------------------------------------------------------


async def test_any_node_can_be_asked_and_knows_what_it_asked_for(quorum: Quorum) -> None:
    for id, controller in quorum.controllers.items():
        await controller.submit(topic(f"t{id}"))
        assert f"t{id}" in controller.image.topics, "it is applied here, too"
    await until(
        lambda: all(len(c.image.topics) == 3 for c in quorum.controllers.values()),
        "all nodes to have all topics",
    )
    dumps = {c.image.dump() for c in quorum.controllers.values()}
    offsets = {c.image.offset for c in quorum.controllers.values()}
    assert len(dumps) == len(offsets), "images at one offset are one image"


async def test_a_refusal_comes_back_with_its_code(quorum: Quorum) -> None:
    controller = quorum.controllers[quorum.follower()]
    with pytest.raises(BrokerError, match="no topic") as caught:
        await controller.submit(DeleteTopic("t"))
    assert caught.value.code is Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_leader_asks_for_another_isr(quorum: Quorum) -> None:
    await quorum.controllers[1].submit(topic())
    state = quorum.controllers[1].image.partition("t", 0)
    assert state is not None
    leader = quorum.controllers[state.leader]
    await until(lambda: leader.image.partition("t", 0) == state, "the leader to know")
    after = await leader.alter_partition(state, (state.leader,), {})
    assert after.isr == (state.leader,) and after == leader.image.partition("t", 0)
    with pytest.raises(BrokerError) as caught:
        await leader.alter_partition(state, (state.leader,), {})
    assert caught.value.code is Code.INVALID_UPDATE_VERSION


async def test_requests_across_a_change_of_leader_apply_once(quorum: Quorum) -> None:
    """Each allocates an id: every id is given once, and none is skipped."""
    asker = quorum.controllers[quorum.follower()]
    first = (await asker.allocate_producer_ids(1))[0]
    asking = [asyncio.create_task(asker.submit(AllocateProducerIds(1), 15)) for _ in range(40)]
    await until(lambda: any(task.done() for task in asking), "the first answers")
    leader = quorum.leader
    assert leader is not None and quorum.controllers[leader] is not asker
    quorum.isolate(leader)
    more = [asyncio.create_task(asker.submit(AllocateProducerIds(1), 15)) for _ in range(20)]
    ids = sorted(await asyncio.gather(*asking, *more))
    quorum.heal()
    assert ids == list(range(first + 1, first + 61))


async def test_an_answer_that_is_lost_is_asked_for_again(
    quorum: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "CALL_TIMEOUT_S", 0.3)
    asker_id = quorum.follower()
    asker, leader = quorum.controllers[asker_id], quorum.leader
    assert leader is not None
    first = (await asker.allocate_producer_ids(1))[0]
    honest, lost = quorum.controllers[leader]._requests._on_propose, []

    async def mute(payload: bytes) -> bytes:
        answer = await honest(payload)
        if len(lost) < 3:
            lost.append(answer)
            await asyncio.sleep(60)
        return answer

    quorum.controllers[leader]._raft.rpc("propose", mute)
    assert await asker.submit(AllocateProducerIds(1), 15) == first + 1
    assert len(lost) == 3
    assert await asker.submit(AllocateProducerIds(1), 15) == first + 2, "it was applied once"


async def test_without_a_quorum_nobody_knows(quorum: Quorum) -> None:
    alone = quorum.follower()
    await quorum.stop(*(id for id in IDS if id != alone))
    with pytest.raises(BrokerError) as caught:
        await quorum.controllers[alone].submit(topic(), 0.5)
    assert caught.value.code is Code.REQUEST_TIMED_OUT


async def test_a_session_that_the_quorum_forgot_is_opened_anew(
    quorum: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = quorum.controllers[quorum.follower()]
    before = await asker._requests.session(5)
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 1)
    assert quorum.leader is not None
    await quorum.controllers[quorum.leader]._raft.open_session()
    await asker.submit(topic())
    assert await asker._requests.session(5) > before and "t" in asker.image.topics
