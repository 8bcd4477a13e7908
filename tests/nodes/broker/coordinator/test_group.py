"""The classic protocol of groups, in virtual time: generations, sessions, static members."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nodes.broker.coordinator.group import (
    Group,
    Joined,
    Joining,
    MemberIdRequired,
    Phase,
    Protocols,
    Who,
)
from nodes.broker.coordinator.group_records import StoredGroup
from nodes.broker.errors import BrokerError, Code
from tests.virtual import virtually

RANGE: Protocols = (("range", b"t"),)


class Room:
    """A group, what it stored, and its members as clients would be."""

    def __init__(self, initial_s: float = 3.0) -> None:
        self.stored: list[StoredGroup] = []
        self.failing: Code | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self._number = 0
        self.group = Group("g", self._store, self._spawn, self._id, self._log, lambda: 7, initial_s)

    async def _store(self, stored: StoredGroup) -> None:
        await asyncio.sleep(0.01)
        if self.failing is not None:
            raise BrokerError(self.failing)
        self.stored.append(stored)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.create_task(work))

    def _id(self, client: str) -> str:
        self._number += 1
        return f"{client}-{self._number}"

    def _log(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def join(self, client: str, **more: Any) -> asyncio.Task[Joined]:
        """A new member, or with `id` one that joins again."""
        fields = {
            "id": "",
            "instance": None,
            "client": client,
            "host": "/127.0.0.1",
            "rebalance_s": 20.0,
            "session_s": 10.0,
            "type": "consumer",
            "protocols": RANGE,
            "asks_first": False,
            **more,
        }
        task = asyncio.create_task(self.group.join(Joining(**fields)))
        self.tasks.add(task)
        return task

    def sync(self, who: Who, **assignments: bytes) -> asyncio.Task[bytes]:
        named = {id.replace("_", "-"): data for id, data in assignments.items()}
        task = asyncio.create_task(self.group.sync(who, "consumer", "range", named))
        self.tasks.add(task)
        return task

    async def settled(self, *clients: str, **more: Any) -> list[Who]:
        """These members in a stable generation; each is assigned its own name."""
        joined = await asyncio.gather(*(self.join(client, **more) for client in clients))
        everybody = {each.id: each.id.encode() for each in joined}
        members = [Who(each.id, more.get("instance"), each.generation) for each in joined]
        syncing = []
        for each, who in zip(joined, members, strict=True):
            told = everybody if each.id == each.leader else {}
            task = asyncio.create_task(self.group.sync(who, "consumer", "range", told))
            syncing.append(task)
        got = await asyncio.gather(*syncing)
        assert got == [each.id.encode() for each in joined]
        assert self.group.phase is Phase.STABLE
        return members


def room(work: Callable[[Room], Coroutine[Any, Any, None]], initial_s: float = 3.0) -> None:
    async def main() -> None:
        there = Room(initial_s)
        await work(there)
        there.group.close(Code.NOT_COORDINATOR)
        await asyncio.gather(*there.tasks, return_exceptions=True)

    virtually(main())


def code_of(work: Callable[[], object]) -> Code:
    with pytest.raises(BrokerError) as caught:
        work()
    return caught.value.code


async def failure(task: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> Code:
    with pytest.raises(BrokerError) as caught:
        await task
    return caught.value.code


# -- generations ---------------------------------------------------------------------------------


def test_who_joins_an_empty_group_in_time_is_in_its_first_generation() -> None:
    async def work(room: Room) -> None:
        one = room.join("a")
        await asyncio.sleep(2.9)
        two = room.join("b")
        await asyncio.sleep(2.0)
        assert not one.done(), "more may come"
        first, second = await one, await two
        assert (first.generation, second.generation) == (1, 1)
        assert first.leader == second.leader == first.id == "a-1"
        assert first.members == (("a-1", None, b"t"), ("b-2", None, b"t"))
        assert second.members == (), "the leader alone is told of the others"

    room(work)


def test_the_patience_for_a_first_generation_ends() -> None:
    async def work(room: Room) -> None:
        began = asyncio.get_running_loop().time()
        joins = [room.join("a", rebalance_s=5.0)]
        for _ in range(10):
            await asyncio.sleep(1)
            joins.append(room.join("late", rebalance_s=5.0))
        first = await joins[0]
        assert asyncio.get_running_loop().time() - began <= 10
        assert 1 < len(first.members) < 11

    room(work)


def test_assignments_come_from_the_leader_and_are_stored_before_anybody_gets_them() -> None:
    async def work(room: Room) -> None:
        one, two = await asyncio.gather(room.join("a"), room.join("b"))
        follower = room.sync(Who(two.id, None, 1))
        await asyncio.sleep(1)
        assert not follower.done()
        leader = room.sync(Who(one.id, None, 1), a_1=b"x", b_2=b"y")
        await asyncio.sleep(0.005)
        assert not follower.done() and not room.stored
        assert (await leader, await follower) == (b"x", b"y")
        assert [(m.id, m.assignment) for m in room.stored[-1].members] == [
            ("a-1", b"x"),
            ("b-2", b"y"),
        ]
        again = await room.sync(Who(two.id, None, 1))
        assert again == b"y"

    room(work)


def test_a_new_member_has_all_others_join_again() -> None:
    async def work(room: Room) -> None:
        one, two = await room.settled("a", "b")
        newcomer = room.join("c")
        await asyncio.sleep(0)
        assert code_of(lambda: room.group.heartbeat(one)) is Code.REBALANCE_IN_PROGRESS
        assert await failure(room.sync(one)) is Code.REBALANCE_IN_PROGRESS
        again = await asyncio.gather(room.join("a", id=one.id), room.join("b", id=two.id), newcomer)
        assert {each.generation for each in again} == {2}
        assert {each.leader for each in again} == {one.id}

    room(work)


def test_who_does_not_join_again_in_time_is_gone() -> None:
    async def work(room: Room) -> None:
        one, two = await room.settled("a", "b", rebalance_s=5.0, session_s=60.0)
        newcomer = room.join("c", rebalance_s=5.0)
        again = room.join("a", id=one.id, rebalance_s=5.0)
        await asyncio.sleep(4.9)
        assert not newcomer.done()
        assert {m for m, _, _ in (await again).members} == {one.id, (await newcomer).id}
        assert code_of(lambda: room.group.heartbeat(two)) is Code.UNKNOWN_MEMBER_ID

    room(work)


def test_who_joined_and_never_syncs_is_gone() -> None:
    async def work(room: Room) -> None:
        one, two = await asyncio.gather(
            room.join("a", rebalance_s=5.0, session_s=60.0),
            room.join("b", rebalance_s=5.0, session_s=60.0),
        )
        follower = room.sync(Who(two.id, None, 1))
        assert await failure(follower) is Code.REBALANCE_IN_PROGRESS
        assert list(room.group.members) == [two.id]
        alone = await room.join("b", id=two.id)
        assert (alone.leader, alone.generation) == (two.id, 2) and one.id != two.id

    room(work)


def test_a_generation_that_cannot_be_stored_is_followed_by_another() -> None:
    async def work(room: Room) -> None:
        one, two = await asyncio.gather(room.join("a"), room.join("b"))
        room.failing = Code.COORDINATOR_NOT_AVAILABLE
        syncs = room.sync(Who(one.id, None, 1), a_1=b"x"), room.sync(Who(two.id, None, 1))
        for sync in syncs:
            assert await failure(sync) is Code.COORDINATOR_NOT_AVAILABLE
        room.failing = None
        again = await asyncio.gather(room.join("a", id=one.id), room.join("b", id=two.id))
        assert {each.generation for each in again} == {2}

    room(work)


def test_the_protocol_is_one_that_all_understand_and_most_like_best() -> None:
    async def work(room: Room) -> None:
        first = room.join("a", protocols=(("x", b""), ("y", b"")))
        room.join("b", protocols=(("y", b""), ("x", b"")))
        room.join("c", protocols=(("z", b""), ("y", b""), ("x", b"")))
        assert (await first).protocol == "y"

    room(work)


# -- who may speak -------------------------------------------------------------------------------


def test_another_generation_is_refused_whatever_it_asks() -> None:
    async def work(room: Room) -> None:
        (one,) = await room.settled("a")
        for generation in (0, 2, -1):
            stale = Who(one.id, None, generation)
            assert code_of(lambda s=stale: room.group.heartbeat(s)) is Code.ILLEGAL_GENERATION  # type: ignore[misc]
            assert (
                code_of(lambda s=stale: room.group.require_committer(s))  # type: ignore[misc]
                is Code.ILLEGAL_GENERATION
            )
            assert await failure(room.sync(stale)) is Code.ILLEGAL_GENERATION
        room.group.require_committer(one)

    room(work)


def test_nobody_commits_for_a_group_that_has_members_but_they() -> None:
    async def work(room: Room) -> None:
        room.group.require_committer(Who(""))
        stale = Who("", None, 3)
        assert code_of(lambda: room.group.require_committer(stale)) is Code.ILLEGAL_GENERATION
        (one,) = await room.settled("a")
        for who in (Who(""), Who("x", None, one.generation)):
            assert (
                code_of(lambda w=who: room.group.require_committer(w))  # type: ignore[misc]
                is Code.UNKNOWN_MEMBER_ID
            )
        joining = room.join("b")
        await asyncio.sleep(0)
        room.group.require_committer(one)  # what it has done it may say, before it joins again
        again = room.join("a", id=one.id)
        await asyncio.gather(joining, again)
        newer = Who(one.id, None, 2)
        assert code_of(lambda: room.group.require_committer(newer)) is Code.REBALANCE_IN_PROGRESS

    room(work)


def test_a_new_member_learns_its_id_before_it_counts() -> None:
    async def work(room: Room) -> None:
        with pytest.raises(MemberIdRequired) as told:
            await room.join("a", asks_first=True)
        assert not room.group.members
        joined = await room.join("a", id=told.value.id, asks_first=True)
        assert joined.id == told.value.id

    room(work)


def test_a_member_that_was_told_its_id_and_does_not_come_is_not_waited_for() -> None:
    async def work(room: Room) -> None:
        with pytest.raises(MemberIdRequired):
            await room.join("a", asks_first=True, session_s=4.0)
        joined = await room.join("b")
        assert joined.generation == 1

    room(work, initial_s=0.0)


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "connect"},
        {"protocols": (("other", b""),)},
        {"protocols": ()},
        {"type": ""},
    ],
)
def test_who_does_not_understand_the_others_is_refused(wanted: dict[str, Any]) -> None:
    async def work(room: Room) -> None:
        await room.settled("a")
        assert await failure(room.join("b", **wanted)) is Code.INCONSISTENT_GROUP_PROTOCOL

    room(work)


def test_an_unknown_member_does_not_come_back() -> None:
    async def work(room: Room) -> None:
        await room.settled("a")
        assert await failure(room.join("x", id="x-9")) is Code.UNKNOWN_MEMBER_ID

    room(work)


# -- sessions ------------------------------------------------------------------------------------


def test_who_is_silent_for_a_session_is_gone_and_who_speaks_stays() -> None:
    async def work(room: Room) -> None:
        one, _ = await room.settled("a", "b")
        for _ in range(11):
            await asyncio.sleep(0.9)
            room.group.heartbeat(one)
        await asyncio.sleep(0.2)
        assert list(room.group.members) == [one.id]
        assert room.group.phase is Phase.JOINING
        alone = await room.join("a", id=one.id)
        assert (alone.generation, alone.members) == (2, ((one.id, None, b"t"),))

    room(work)


def test_who_waits_for_others_is_not_silent() -> None:
    async def work(room: Room) -> None:
        one, two = await room.settled("a", "b", rebalance_s=300.0)
        again = room.join("a", id=one.id, protocols=(("range", b"u"),), rebalance_s=300.0)
        for _ in range(20):
            await asyncio.sleep(5)
            assert code_of(lambda: room.group.heartbeat(two)) is Code.REBALANCE_IN_PROGRESS
        assert not again.done() and one.id in room.group.members
        await asyncio.gather(again, room.join("b", id=two.id))

    room(work)


def test_the_last_one_to_leave_leaves_an_empty_group_that_remembers_its_generation() -> None:
    async def work(room: Room) -> None:
        one, two = await room.settled("a", "b")
        room.group.leave(one)
        room.group.leave(two)
        assert room.group.phase is Phase.EMPTY
        await asyncio.sleep(1)
        assert (room.stored[-1].generation, room.stored[-1].members) == (2, ())
        assert code_of(lambda: room.group.leave(two)) is Code.UNKNOWN_MEMBER_ID
        (later,) = await room.settled("c")
        assert later.generation == 3

    room(work)


def test_members_outlive_their_coordinator() -> None:
    async def work(room: Room) -> None:
        one, two = await room.settled("a", "b")
        next = Room()
        next.group.restore(room.stored[-1])
        next.group.heartbeat(one)
        assert await next.group.sync(two, "consumer", "range", {}) == b"b-2"
        await asyncio.sleep(9)
        next.group.heartbeat(one)
        await asyncio.sleep(2)
        assert list(next.group.members) == [one.id]
        next.group.close(Code.NOT_COORDINATOR)

    room(work)


def test_who_waits_is_told_when_the_coordinator_moves() -> None:
    async def work(room: Room) -> None:
        joining = room.join("a")
        await asyncio.sleep(0)
        room.group.close(Code.NOT_COORDINATOR)
        assert await failure(joining) is Code.NOT_COORDINATOR
        assert await failure(room.join("b")) is Code.COORDINATOR_NOT_AVAILABLE

    room(work)


# -- static members ------------------------------------------------------------------------------


def test_a_static_member_that_comes_back_disturbs_nobody() -> None:
    async def work(room: Room) -> None:
        (one,) = await room.settled("a", instance="i")
        back = await room.join("a", instance="i", skips=True)
        assert (back.generation, back.leader, back.skip) == (1, back.id, True)
        assert back.id != one.id and room.group.phase is Phase.STABLE
        assert await room.sync(Who(back.id, "i", 1)) == one.id.encode()
        assert code_of(lambda: room.group.heartbeat(one)) is Code.FENCED_INSTANCE_ID
        assert await failure(room.join("a", id=one.id, instance="i")) is Code.FENCED_INSTANCE_ID
        assert room.stored[-1].members[0].id == back.id

    room(work)


def test_an_old_leader_that_cannot_skip_is_told_that_another_one_leads() -> None:
    async def work(room: Room) -> None:
        (one,) = await room.settled("a", instance="i")
        back = await room.join("a", instance="i")
        assert back.leader == one.id != back.id and back.members == ()

    room(work)


def test_a_static_member_that_subscribes_to_something_else_begins_a_generation() -> None:
    async def work(room: Room) -> None:
        await room.settled("a", instance="i")
        back = await room.join("a", instance="i", protocols=(("range", b"other"),))
        assert back.generation == 2

    room(work)


def test_a_static_member_that_stays_away_is_gone_with_its_session() -> None:
    async def work(room: Room) -> None:
        (one,) = await room.settled("a", instance="i")
        await asyncio.sleep(9.9)
        assert list(room.group.members) == [one.id]
        await asyncio.sleep(0.2)
        assert room.group.phase is Phase.EMPTY

    room(work)


def test_an_administrator_removes_a_static_member_by_its_name() -> None:
    async def work(room: Room) -> None:
        await room.settled("a", instance="i")
        assert code_of(lambda: room.group.leave(Who("", "other"))) is Code.UNKNOWN_MEMBER_ID
        assert code_of(lambda: room.group.leave(Who("x", "i"))) is Code.FENCED_INSTANCE_ID
        room.group.leave(Who("", "i"))
        assert not room.group.members

    room(work)
