"""Nodes over loopback: they agree, change leaders, recover, and fall silent rather than lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import OpError, Refused, TimedOut
from harness.host.contract import Clock
from nodes.raft import node as node_module
from nodes.raft.config import Config
from nodes.raft.node import COMMAND_BYTES_MAX, NotLeader, RaftNode, timing
from nodes.raft.ready import Role
from nodes.raft.sessions import SessionExpired
from nodes.raft.storage import CorruptState
from tests.nodes.raft.hosts import Address, Link, events, ports, real_host, until
from tests.nodes.raft.machines import Register

CONFIG = Config(heartbeat=2, patience=10, election=8)
IDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "TICK_S", 0.02)


class Cluster:
    """Three nodes; each directed pair has a link."""

    def __init__(self, root: Path, config: Config = CONFIG) -> None:
        self.root, self.config = root, config
        self.binds: dict[int, Address] = dict(zip(IDS, ports(3), strict=True))
        pairs = [(a, b) for a in IDS for b in IDS if a != b]
        self._listen = dict(zip(pairs, ports(len(pairs)), strict=True))
        self.links = {
            pair: Link(listen, self.binds[pair[1]]) for pair, listen in self._listen.items()
        }
        self.nodes: dict[int, RaftNode] = {}
        self.registers: dict[int, Register] = {}

    async def start(self, *ids: int) -> None:
        for id in ids:
            peers = {other: self._listen[id, other] for other in IDS if other != id}
            self.registers[id] = Register()
            node = RaftNode(
                real_host(self.root, f"n{id}", seed=5),  # the same, as a restart gets it
                id,
                peers,
                self.binds[id],
                "raft",
                self.registers[id],
                config=self.config,
            )
            await node.start()
            self.nodes[id] = node

    async def stop(self, *ids: int) -> None:
        for id in ids:
            await self.nodes.pop(id).close()

    def isolate(self, id: int) -> None:
        for pair, link in self.links.items():
            if id in pair:
                link.cut()

    def heal(self) -> None:
        for link in self.links.values():
            link.heal()

    async def leader(self, *without: int) -> RaftNode:
        """Who leads, with a majority that knows it."""

        def known() -> list[RaftNode]:
            nodes = [node for id, node in self.nodes.items() if id not in without]
            return [
                node
                for node in nodes
                if node.is_leader
                and sum((n.leader_id, n.term) == (node.id, node.term) for n in nodes) >= 2
            ]

        await until(known, "a leader")
        return known()[0]

    async def propose(self, command: bytes, *without: int) -> Any:
        """Through whoever leads, until it works."""
        while True:
            leader = await self.leader(*without)
            try:
                return await leader.propose(command, timeout_s=2)
            except OpError:
                continue

    async def agreed(self, commands: list[bytes]) -> None:
        await until(
            lambda: all(self.registers[id].commands == commands for id in self.nodes),
            f"all nodes to have {len(commands)} commands",
        )

    async def close(self) -> None:
        await self.stop(*self.nodes)
        for link in self.links.values():
            await link.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path)
    for link in cluster.links.values():
        await link.start()
    await cluster.start(*IDS)
    yield cluster
    await cluster.close()


async def test_commands_are_applied_everywhere_in_one_order(cluster: Cluster) -> None:
    leader = await cluster.leader()
    commands = [b"%d" % number for number in range(50)]
    results = await asyncio.gather(*(leader.propose(command) for command in commands))
    assert results == list(range(1, 51))
    await cluster.agreed(commands)


async def test_a_follower_names_the_leader(cluster: Cluster) -> None:
    leader = await cluster.leader()
    follower = cluster.nodes[leader.id % 3 + 1]
    with pytest.raises(NotLeader) as caught:
        await follower.propose(b"x")
    assert caught.value.leader == leader.id
    with pytest.raises(NotLeader):
        await follower.read_index()


async def test_the_leader_is_replaced_and_nothing_is_lost(cluster: Cluster) -> None:
    commands = []
    for number in range(4):
        commands.append(b"%d" % number)
        await cluster.propose(commands[-1])
        leader = await cluster.leader()
        await cluster.stop(leader.id)
        await cluster.leader()
        await cluster.start(leader.id)
    await cluster.agreed(commands)


async def test_all_nodes_at_once_come_back_with_everything(cluster: Cluster) -> None:
    commands = [b"%d" % number for number in range(20)]
    for command in commands:
        await cluster.propose(command)
    await cluster.stop(*IDS)
    await cluster.start(*IDS)
    await cluster.propose(b"more")
    await cluster.agreed([*commands, b"more"])


async def test_a_leader_that_is_cut_off_answers_nothing_and_follows_when_it_returns(
    cluster: Cluster,
) -> None:
    old = await cluster.leader()
    cluster.isolate(old.id)
    lost = asyncio.gather(
        old.propose(b"lost", timeout_s=20), old.read_index(20), return_exceptions=True
    )
    new = await cluster.leader(old.id)
    await cluster.propose(b"x", old.id)
    await until(lambda: not old.is_leader, "the old leader to step down")
    cluster.heal()
    proposal, read = await lost
    assert isinstance(proposal, NotLeader) and isinstance(read, NotLeader)
    await cluster.agreed([b"x"])
    assert (await cluster.leader()).term >= new.term


async def test_a_proposal_without_a_majority_times_out(cluster: Cluster) -> None:
    leader = await cluster.leader()
    await cluster.stop(*(id for id in IDS if id != leader.id))
    with pytest.raises(OpError) as caught:
        await leader.propose(b"x", timeout_s=0.1)
    assert not isinstance(caught.value, Refused), "it may be committed yet"


async def test_a_read_sees_what_was_committed_before(cluster: Cluster) -> None:
    for number in range(5):
        await cluster.propose(b"%d" % number)
        leader = await cluster.leader()
        await leader.read_index()
        assert len(cluster.registers[leader.id].commands) == number + 1


async def test_a_command_of_a_session_applies_once_across_leaders(cluster: Cluster) -> None:
    session = await (await cluster.leader()).open_session()
    leader = await cluster.leader()
    first = await leader.propose(b"x", session=(session, 1, 1))
    heir = leader.id % 3 + 1
    await cluster.nodes[leader.id].transfer(heir)
    await until(lambda: cluster.nodes[heir].is_leader, "the heir to lead")
    assert await cluster.nodes[heir].propose(b"x", session=(session, 1, 1)) == first
    await cluster.agreed([b"x"])
    with pytest.raises(SessionExpired):
        await cluster.nodes[heir].propose(b"y", session=(session + 10**6, 1, 1))


async def test_two_sessions_are_never_the_same(cluster: Cluster) -> None:
    leader = await cluster.leader()
    ids = await asyncio.gather(*(leader.open_session() for _ in range(10)))
    assert len(set(ids)) == 10 and 0 not in ids


async def test_logs_are_compacted_and_who_is_behind_gets_the_snapshot(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "SNAPSHOT_ENTRIES", 20)
    leader = await cluster.leader()
    session = await leader.open_session()
    result = await leader.propose(b"first", session=(session, 1, 1))
    away = leader.id % 3 + 1
    await cluster.stop(away)
    commands = [b"first", *(b"%d" % number for number in range(60))]
    for command in commands[1:]:
        await cluster.propose(command)
    assert leader.core.log.snapshot.index >= 40 and len(leader.core.log.entries) < 40
    await cluster.start(away)
    await cluster.agreed(commands)
    assert cluster.nodes[away].core.log.snapshot.index >= 40
    again = await leader.propose(b"first", session=(session, 1, 1))
    assert again == result, "sessions are part of the state"
    await cluster.stop(*IDS)
    await cluster.start(*IDS)
    await cluster.propose(b"more")
    await cluster.agreed([*commands, b"more"])


async def test_a_log_is_compacted_after_so_many_bytes_of_commands(cluster: Cluster) -> None:
    leader = await cluster.leader()
    leader._snapshot_bytes = 100
    for number in range(12):
        await leader.propose(b"%010d" % number)
    await until(lambda: leader.core.log.snapshot.index > 0, "a snapshot")
    assert len(leader.core.log.entries) < 12


async def test_nodes_account_for_the_same_log_also_from_a_snapshot(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "SNAPSHOT_ENTRIES", 20)
    leader = await cluster.leader()
    before = leader.account()
    assert before["led"] == [(leader.term, 1)] and before["voted"] == [leader.term, leader.id]
    away = leader.id % 3 + 1
    await cluster.stop(away)
    for number in range(70):
        await leader.propose(b"%d" % number)
    await cluster.start(away)
    applied = [node for node in cluster.nodes.values() if node.id != away]
    late = cluster.nodes[away]
    await until(lambda: late.applied == leader.applied, "who was away to catch up")
    told = [dict(node.account()["applied"]) for node in (late, *applied)]
    for one in told:
        assert all(one[at] == told[0][at] for at in one.keys() & told[0].keys())
    assert leader.applied in told[0] and late.core.log.snapshot.index > 0
    assert late.account()["since"] > before["since"] and late.account()["led"] == []


async def test_a_vote_is_accounted_for_when_it_is_on_the_disk(cluster: Cluster) -> None:
    leader = await cluster.leader()
    accounts = [node.account() for node in cluster.nodes.values()]
    assert sum(account["voted"] == [leader.term, leader.id] for account in accounts) >= 2
    await cluster.stop(leader.id)
    await cluster.start(leader.id)
    term, vote = cluster.nodes[leader.id].account()["voted"]
    assert (term, vote) >= (leader.term, leader.id)


async def test_nodes_call_each_other_and_themselves(cluster: Cluster) -> None:
    leader = await cluster.leader()

    async def whoami(payload: bytes) -> bytes:
        return payload + b"?"

    for node in cluster.nodes.values():
        node.rpc("whoami", whoami)
    for id in IDS:
        assert await leader.call(id, "whoami", b"x", 5) == b"x?"


async def test_roles_are_told_and_logged(cluster: Cluster) -> None:
    leader = await cluster.leader()
    told: list[tuple[Role, int, int | None]] = []
    cluster.nodes[leader.id].on_role(lambda role, term, leader: told.append((role, term, leader)))
    await cluster.stop(*(id for id in IDS if id != leader.id))
    await until(lambda: told, "the leader to step down")
    assert told[0] == (Role.FOLLOWER, leader.term, None)
    assert events(leader._host, "raft.role")  # type: ignore[arg-type]


# -- failing -------------------------------------------------------------------------------------


async def test_a_disk_that_hangs_keeps_no_heartbeat_back(cluster: Cluster) -> None:
    leader = await cluster.leader()
    leading, file, term = leader.core._leading, leader._storage._file, leader.term
    assert leading is not None and file is not None
    honest, works = file.fsync, asyncio.Event()

    async def hangs() -> None:
        await works.wait()
        await honest()

    file.fsync = hangs  # type: ignore[method-assign]
    slow = asyncio.create_task(leader.propose(b"x", timeout_s=30))
    rounds = leading.round + 3 * CONFIG.patience
    await until(lambda: leading.round >= rounds, "heartbeats")
    assert (await cluster.leader()).term == term, "nobody lost patience"
    assert leader.core.commit == leader.core.log.last_index, "a majority has it on its disks"
    works.set()
    assert await slow == 1
    await cluster.agreed([b"x"])


async def test_a_node_whose_disk_fails_falls_silent_and_the_others_go_on(
    cluster: Cluster,
) -> None:
    leader = await cluster.leader()

    async def broken() -> None:
        raise OSError(5, "Input/output error")

    assert leader._storage._file is not None
    leader._storage._file.fsync = broken  # type: ignore[method-assign]
    with pytest.raises(TimedOut, match="the node failed"):
        await leader.propose(b"x")
    assert isinstance(leader.failure, OSError) and not leader.is_leader
    with pytest.raises(Refused, match="failed"):
        await leader.propose(b"x")
    await cluster.propose(b"y", leader.id)
    assert await cluster.leader(leader.id) is not leader


async def test_a_node_that_finds_a_contradiction_falls_silent(cluster: Cluster) -> None:
    leader = await cluster.leader()
    node = cluster.nodes[leader.id % 3 + 1]

    def contradiction(sender: int, message: object) -> None:
        raise AssertionError("two leaders of one term")

    node.core.receive = contradiction  # type: ignore[method-assign, assignment]
    await until(lambda: node.failure, "the node to notice")
    assert events(node._host, "raft.failed")  # type: ignore[arg-type]
    await cluster.propose(b"x", node.id)


async def test_a_node_with_damaged_state_does_not_start(cluster: Cluster) -> None:
    await cluster.propose(b"x")
    await cluster.stop(1)
    wal = cluster.root / "n1" / "raft" / "wal"
    data = bytearray(wal.read_bytes())
    data[30] ^= 1
    wal.write_bytes(data)
    with pytest.raises(CorruptState):
        await cluster.start(1)


async def test_a_command_that_is_too_long_is_refused(cluster: Cluster) -> None:
    leader = await cluster.leader()
    await leader.propose(bytes(COMMAND_BYTES_MAX))
    with pytest.raises(Refused, match="are allowed"):
        await leader.propose(bytes(COMMAND_BYTES_MAX + 1))
    await cluster.agreed([bytes(COMMAND_BYTES_MAX)])


async def test_closing_leaves_nobody_waiting(cluster: Cluster) -> None:
    leader = await cluster.leader()
    await cluster.stop(*(id for id in IDS if id != leader.id))
    waiting = asyncio.gather(
        leader.propose(b"x", timeout_s=60), leader.wait_applied(10**6), return_exceptions=True
    )
    await asyncio.sleep(0)
    await cluster.stop(leader.id)
    assert all(isinstance(result, OpError) for result in await waiting)


# -- time ----------------------------------------------------------------------------------------


class Jumping:
    """A clock that can be put forward, as it looks to a process that was stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.ahead_ns = clock, 0

    def wall_ns(self) -> int:
        return self._clock.wall_ns()

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns() + self.ahead_ns


async def test_a_node_that_stood_still_for_a_minute_hears_the_others_before_it_gives_them_up(
    cluster: Cluster,
) -> None:
    leader = await cluster.leader()
    await cluster.propose(b"x")
    await cluster.agreed([b"x"])  # so everybody has been told who leads
    told: list[Role] = []
    leading = leader.core._leading
    assert leading is not None
    for node in cluster.nodes.values():
        node.on_role(lambda role, term, leader: told.append(role))
        node._host.clock = clock = Jumping(node._host.clock)
        for _ in range(3):
            rounds = leading.round + 2  # so that the node has heard from the others since
            await until(lambda rounds=rounds: leading.round >= rounds, "heartbeats")
            clock.ahead_ns += 60 * 10**9
    rounds = leading.round + 2 * CONFIG.patience
    await until(lambda: leading.round >= rounds, "heartbeats")
    assert told == []


async def test_who_wins_an_election_sends_heartbeats_from_then_on(tmp_path: Path) -> None:
    config = Config(heartbeat=2, patience=40, election=40)
    cluster = Cluster(tmp_path, config)
    for link in cluster.links.values():
        await link.start()
    await cluster.start(*IDS)
    ahead: list[int] = []
    for node in cluster.nodes.values():
        node.on_role(
            lambda role, *_, node=node: ahead.append(node._ticks_ahead) if node.is_leader else None
        )
    for _ in range(4):
        leader, led = await cluster.leader(), len(ahead)
        await leader.transfer(leader.id % 3 + 1)
        await until(lambda led=led: len(ahead) > led, "the heir to lead")
    await cluster.close()
    assert max(ahead) <= config.heartbeat, "it must not sleep on as a follower would"


async def test_waiting_for_a_failure_ends_with_it(cluster: Cluster) -> None:
    leader = await cluster.leader()
    waiting = asyncio.create_task(leader.wait_failed())

    async def broken() -> None:
        raise OSError(5, "Input/output error")

    assert leader._storage._file is not None
    leader._storage._file.fsync = broken  # type: ignore[method-assign]
    with pytest.raises(TimedOut, match="the node failed"):
        await leader.propose(b"x")
    async with asyncio.timeout(10):
        assert await waiting is leader.failure


async def test_a_node_that_was_closed_plans_nothing(cluster: Cluster) -> None:
    nodes = list(cluster.nodes.values())
    await cluster.leader()
    await cluster.stop(*IDS)
    assert [node._timer for node in nodes] == [None] * 3


def test_times_become_ticks() -> None:
    assert timing(0.5, 0.4) == Config(heartbeat=6, patience=25, election=20)
    assert timing(0.0, 0.0) == Config(heartbeat=2, patience=8, election=1), "not shorter than that"
