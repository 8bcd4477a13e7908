"""A group of consumers that share partitions by Kafka's classic protocol.

    Empty ──join──▶ PreparingRebalance ──all joined──▶ CompletingRebalance ──sync──▶ Stable
      ▲                   │    ▲                              │                        │
      └────nobody left────┘    └───────────── somebody joins, leaves, or is silent ────┘

A *generation* begins when all members have joined, or the time for it is over. One of them, the
leader, is told of all others and assigns partitions; the broker does not look into subscriptions
and assignments. Whoever speaks of another generation is refused, so that of two members which
believe that they own a partition one can neither commit nor go on.

A member is gone when it is silent for its session, unless it waits here for others. A *static* one
(KIP-345) may come back under its instance's name within its session, and nobody else notices.
Source: KIP-62, KIP-345, KIP-394 (a member's id is known before it counts), KIP-814; Kafka's
GroupCoordinator for what no document says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from nodes.broker.coordinator.group_records import StoredGroup, StoredMember
from nodes.broker.errors import BrokerError, Code

Protocols = tuple[tuple[str, bytes], ...]
"""(name, subscription), those that are preferred first."""


class Phase(Enum):
    EMPTY = "Empty"
    JOINING = "PreparingRebalance"
    SYNCING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class MemberIdRequired(BrokerError):
    """The member is to join again, with `id`."""

    def __init__(self, id: str) -> None:
        super().__init__(Code.MEMBER_ID_REQUIRED)
        self.id = id


@dataclass(frozen=True, slots=True)
class Joining:
    """Who wants to join. `id` is empty for a new member; times are in seconds.

    Attributes:
        asks_first: a new member is told its id before it counts (KIP-394).
        skips: a leader that comes back understands that nothing is to be assigned (KIP-814).
    """

    id: str
    instance: str | None
    client: str
    host: str
    rebalance_s: float
    session_s: float
    type: str
    protocols: Protocols
    asks_first: bool = True
    skips: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """`members` (id, instance, subscription) is for the leader alone."""

    id: str
    generation: int
    type: str
    protocol: str
    leader: str
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip: bool = False


@dataclass(frozen=True, slots=True)
class Who:
    """A member as it names itself in any request but a join."""

    id: str
    instance: str | None = None
    generation: int = -1


@dataclass(slots=True)
class Member:
    """`joining`, `syncing`: its request that waits for others. `timer`: of its session."""

    id: str
    instance: str | None
    client: str
    host: str
    rebalance_s: float
    session_s: float
    protocols: Protocols
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = None
    syncing: asyncio.Future[bytes] | None = None
    synced: bool = False
    deadline: float = 0.0
    timer: asyncio.TimerHandle | None = None

    @staticmethod
    def of(wanted: Joining, id: str, assignment: bytes = b"") -> Member:
        return Member(
            id,
            wanted.instance,
            wanted.client,
            wanted.host,
            wanted.rebalance_s,
            wanted.session_s,
            wanted.protocols,
            assignment,
        )

    @property
    def waits(self) -> bool:
        return self.joining is not None or self.syncing is not None

    def subscription(self, protocol: str) -> bytes:
        return dict(self.protocols).get(protocol, b"")


@dataclass(slots=True)
class Group:
    """`store` makes a settled group durable; it raises BrokerError. `spawn` runs what goes on
    though whoever asked for it is gone. `new_id` makes a member's id of the client's name.

    Attributes:
        initial_s: how long an empty group waits for more members before its first generation.
    """

    name: str
    store: Callable[[StoredGroup], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    new_id: Callable[[str], str]
    log: Callable[..., None]
    now_ms: Callable[[], int]
    initial_s: float
    phase: Phase = Phase.EMPTY
    generation: int = 0
    type: str = ""
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    changed_ms: int = -1
    _instances: dict[str, str] = field(default_factory=dict)
    _expected: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _timer: asyncio.TimerHandle | None = None
    _delaying: bool = False
    _more: bool = False

    # -- as it is stored -----------------------------------------------------------------------

    def restore(self, stored: StoredGroup) -> None:
        """As it was when it last was settled; the sessions of its members begin anew."""
        self.type, self.generation = stored.protocol_type, stored.generation
        self.protocol, self.leader = stored.protocol, stored.leader
        self.changed_ms = stored.changed_ms
        for each in stored.members:
            protocols: Protocols = ((stored.protocol or "", each.subscription),)
            member = Member(
                each.id,
                each.instance,
                each.client,
                each.host,
                each.rebalance_ms / 1000,
                each.session_ms / 1000,
                protocols,
                each.assignment,
            )
            self._put(member)
            self._touch(member)
        self.phase = Phase.STABLE if self.members else Phase.EMPTY

    def _stored(self, assignments: Mapping[str, bytes]) -> StoredGroup:
        members = tuple(
            StoredMember(
                member.id,
                member.instance,
                member.client,
                member.host,
                round(member.rebalance_s * 1000),
                round(member.session_s * 1000),
                member.subscription(self.protocol or ""),
                assignments.get(member.id, b""),
            )
            for member in self.members.values()
        )
        return StoredGroup(
            self.type, self.generation, self.protocol, self.leader, self.now_ms(), members
        )

    def close(self, code: Code) -> None:
        """Let everybody go: this broker is not its coordinator any more, or it was deleted."""
        self.phase = Phase.DEAD
        for member in list(self.members.values()):
            self._forget(member, code)
        for timer in self._expected.values():
            timer.cancel()
        self._expected.clear()
        self._disarm()

    # -- joining -------------------------------------------------------------------------------

    async def join(self, wanted: Joining) -> Joined:
        """Return when a generation begins. Raises BrokerError."""
        self._require_alive()
        self._require_protocols(wanted)
        if not wanted.id:
            if wanted.instance in self._instances:
                return await self._replace(wanted)
            if wanted.instance is None and wanted.asks_first:
                raise MemberIdRequired(self._expect(wanted))
            member = self._add(wanted, self.new_id(wanted.instance or wanted.client))
        elif wanted.id in self._expected:
            self._expected.pop(wanted.id).cancel()
            member = self._add(wanted, wanted.id)
        else:
            member = self._known(Who(wanted.id, wanted.instance))
            if not self._rejoins(member, wanted):
                self._touch(member)
                return self._joined(member)
        return await self._wait_joined(member)

    def _require_alive(self) -> None:
        if self.phase is Phase.DEAD:
            raise BrokerError(Code.COORDINATOR_NOT_AVAILABLE)

    def _require_protocols(self, wanted: Joining) -> None:
        """There must be a protocol that all members understand."""
        others = [m for m in self.members.values() if not self._is_same(m, wanted)]
        names = {name for name, _ in wanted.protocols}
        for member in others:
            names &= {name for name, _ in member.protocols}
        if not wanted.type or not names or (others and wanted.type != self.type):
            raise BrokerError(Code.INCONSISTENT_GROUP_PROTOCOL)

    def _is_same(self, member: Member, wanted: Joining) -> bool:
        return member.id == wanted.id or (
            wanted.instance is not None and member.instance == wanted.instance
        )

    def _expect(self, wanted: Joining) -> str:
        id = self.new_id(wanted.client)
        loop = asyncio.get_running_loop()
        self._expected[id] = loop.call_later(wanted.session_s, self._expected_no_more, id)
        return id

    def _expected_no_more(self, id: str) -> None:
        del self._expected[id]
        self._complete_if_all_joined()

    def _add(self, wanted: Joining, id: str) -> Member:
        if not self.members:
            self.type = wanted.type
        member = Member.of(wanted, id)
        self._put(member)
        self._more = True
        self._rebalance(f"{id} joins")
        return member

    def _put(self, member: Member) -> None:
        self.members[member.id] = member
        if member.instance is not None:
            self._instances[member.instance] = member.id

    def _rejoins(self, member: Member, wanted: Joining) -> bool:
        """Take what a known member says now; whether it takes part in a new generation."""
        same = wanted.protocols == member.protocols
        settled = self.phase is Phase.SYNCING or (
            self.phase is Phase.STABLE and member.id != self.leader
        )
        if settled and same:
            return False
        member.protocols = wanted.protocols
        member.rebalance_s, member.session_s = wanted.rebalance_s, wanted.session_s
        self._rebalance(f"{member.id} joins again")
        return True

    async def _replace(self, wanted: Joining) -> Joined:
        """A static member is back, with another process."""
        assert wanted.instance is not None
        old = self.members[self._instances[wanted.instance]]
        was_leader = self.leader == old.id
        self._forget(old, Code.FENCED_INSTANCE_ID)
        id = self.new_id(wanted.instance)
        member = Member.of(wanted, id, old.assignment)
        self._put(member)
        if was_leader:
            self.leader = id
        name = self.protocol or ""
        if self.phase is not Phase.STABLE or old.subscription(name) != member.subscription(name):
            self._rebalance(f"{wanted.instance} is back")
            return await self._wait_joined(member)
        self._touch(member)
        await self.store(self._stored({m.id: m.assignment for m in self.members.values()}))
        self.log("group.replaced", group=self.name, instance=wanted.instance, member=id)
        joined = self._joined(member)
        if wanted.skips or not was_leader:
            return joined
        # It must not assign anew: it is told that the leader is who it was.
        return Joined(id, joined.generation, joined.type, joined.protocol, old.id)

    async def _wait_joined(self, member: Member) -> Joined:
        _refuse(member.joining, Code.REBALANCE_IN_PROGRESS)
        waiting: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        member.joining = waiting
        self._complete_if_all_joined()
        return await waiting

    # -- generations ---------------------------------------------------------------------------

    def _rebalance(self, why: str) -> None:
        if self.phase is Phase.JOINING:
            return
        for member in self.members.values():
            _refuse(member.syncing, Code.REBALANCE_IN_PROGRESS)
            member.syncing, member.synced = None, False
        initial = self.phase is Phase.EMPTY and self.initial_s > 0
        self.phase = Phase.JOINING
        self.log("group.rebalance", group=self.name, generation=self.generation, why=why)
        if initial:
            self._delaying, self._more = True, False
            loop = asyncio.get_running_loop()
            over = loop.time() + self._rebalance_s()
            self._arm(min(self.initial_s, self._rebalance_s()), lambda: self._delayed(over))
        else:
            self._arm(self._rebalance_s(), self._complete)

    def _rebalance_s(self) -> float:
        return max((member.rebalance_s for member in self.members.values()), default=0.0)

    def _delayed(self, over: float) -> None:
        """An empty group waits on while members come, up to the end of their patience."""
        left_s = over - asyncio.get_running_loop().time()
        if self._more and left_s > 0:
            self._more = False
            self._arm(min(self.initial_s, left_s), lambda: self._delayed(over))
        else:
            self._complete()

    def _complete_if_all_joined(self) -> None:
        if self.phase is not Phase.JOINING or self._delaying or self._expected:
            return
        if all(member.joining is not None for member in self.members.values()):
            self._complete()

    def _complete(self) -> None:
        """Begin a generation with those who joined; static members that did not stay for now."""
        self._disarm()
        self._delaying = False
        for member in list(self.members.values()):
            if member.joining is None and member.instance is None:
                self._forget(member, Code.UNKNOWN_MEMBER_ID)
        joined = [member for member in self.members.values() if member.joining is not None]
        if self.members and not joined:
            self._arm(self._rebalance_s(), self._complete)  # nobody could lead it
            return
        self.generation += 1
        if not self.members:
            self._become_empty()
            return
        if self.leader not in {member.id for member in joined}:
            self.leader = joined[0].id
        self.protocol = self._chosen()
        self.phase = Phase.SYNCING
        self.log(
            "group.generation",
            group=self.name,
            generation=self.generation,
            members=len(self.members),
            leader=self.leader,
        )
        for member in joined:
            waiting, member.joining = member.joining, None
            self._touch(member)
            if waiting is not None and not waiting.done():
                waiting.set_result(self._joined(member))
        self._arm(self._rebalance_s(), self._not_synced)

    def _become_empty(self) -> None:
        self.phase, self.protocol, self.leader = Phase.EMPTY, None, None
        self.changed_ms = self.now_ms()
        self.log("group.empty", group=self.name, generation=self.generation)
        self.spawn(self._store_empty(self._stored({})))

    async def _store_empty(self, stored: StoredGroup) -> None:
        try:
            await self.store(stored)
        except BrokerError as error:  # the next generation is stored, if this is not
            self.log("group.not-stored", group=self.name, error=str(error))

    def _chosen(self) -> str:
        """Of the protocols that all understand, the one that most of them like best."""
        understood = set.intersection(
            *({name for name, _ in member.protocols} for member in self.members.values())
        )
        votes = Counter(
            next(name for name, _ in member.protocols if name in understood)
            for member in self.members.values()
        )
        return max(sorted(votes), key=lambda name: votes[name])

    def _joined(self, member: Member) -> Joined:
        assert self.protocol is not None and self.leader is not None
        leads = member.id == self.leader
        everybody = tuple(
            (each.id, each.instance, each.subscription(self.protocol))
            for each in self.members.values()
        )
        return Joined(
            member.id,
            self.generation,
            self.type,
            self.protocol,
            self.leader,
            everybody if leads else (),
            skip=leads and self.phase is Phase.STABLE,
        )

    def _not_synced(self) -> None:
        """Those who joined and never asked for their assignment are gone."""
        for member in [m for m in self.members.values() if not m.synced]:
            self._forget(member, Code.UNKNOWN_MEMBER_ID)
        if self.phase is Phase.SYNCING:
            self._rebalance("some did not sync")
            self._complete_if_all_joined()

    # -- assignments ---------------------------------------------------------------------------

    async def sync(
        self, who: Who, type: str | None, protocol: str | None, assignments: Mapping[str, bytes]
    ) -> bytes:
        """What is assigned to a member, when the leader has said so. Raises BrokerError."""
        self._require_alive()
        member = self._known(who)
        self._require_generation(who)
        if type not in (None, self.type) or protocol not in (None, self.protocol):
            raise BrokerError(Code.INCONSISTENT_GROUP_PROTOCOL)
        self._touch(member)
        if self.phase is Phase.JOINING:
            raise BrokerError(Code.REBALANCE_IN_PROGRESS)
        if self.phase is Phase.STABLE:
            return member.assignment
        _refuse(member.syncing, Code.REBALANCE_IN_PROGRESS)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        member.syncing = waiting
        member.synced = True
        if member.id == self.leader:
            self.spawn(self._assign(self.generation, dict(assignments)))
        return await waiting

    async def _assign(self, generation: int, assignments: Mapping[str, bytes]) -> None:
        stored, failure = self._stored(assignments), None
        try:
            await self.store(stored)
        except BrokerError as error:
            failure = error
        if self.phase is not Phase.SYNCING or self.generation != generation:
            return
        if failure is not None:
            for member in self.members.values():
                _refuse(member.syncing, failure.code)
                member.syncing = None
            self._rebalance(f"it could not be stored: {failure}")
            return
        self.phase, self.changed_ms = Phase.STABLE, stored.changed_ms
        self._disarm()
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            waiting, member.syncing = member.syncing, None
            self._touch(member)
            if waiting is not None and not waiting.done():
                waiting.set_result(member.assignment)

    # -- being there, and not ------------------------------------------------------------------

    def heartbeat(self, who: Who) -> None:
        """Raises BrokerError: REBALANCE_IN_PROGRESS asks the member to join again."""
        self._require_alive()
        member = self._known(who)
        self._require_generation(who)
        self._touch(member)
        if self.phase is Phase.JOINING:
            raise BrokerError(Code.REBALANCE_IN_PROGRESS)

    def leave(self, who: Who) -> None:
        """Raises BrokerError: nobody of that name is here."""
        self._require_alive()
        if who.instance is not None:
            id = self._instances.get(who.instance)
            if id is None:
                raise BrokerError(Code.UNKNOWN_MEMBER_ID)
            if who.id and who.id != id:
                raise BrokerError(Code.FENCED_INSTANCE_ID)
            self._remove(self.members[id], "leaves")
        elif who.id in self._expected:
            self._expected.pop(who.id).cancel()
            self._complete_if_all_joined()
        else:
            self._remove(self._known(who), "leaves")

    def require_committer(self, who: Who) -> None:
        """Raises BrokerError unless this member may commit offsets now."""
        self._require_alive()
        if who.generation < 0 and not who.id and self.phase is Phase.EMPTY:
            return  # no member at all: a consumer that assigns its partitions itself
        if not self.members:
            code = Code.ILLEGAL_GENERATION if who.generation >= 0 else Code.UNKNOWN_MEMBER_ID
            raise BrokerError(code)
        member = self._known(who)
        self._require_generation(who)
        self._touch(member)
        if self.phase is Phase.SYNCING:
            raise BrokerError(Code.REBALANCE_IN_PROGRESS)

    def _known(self, who: Who) -> Member:
        if who.instance is not None:
            id = self._instances.get(who.instance)
            if id is None:
                raise BrokerError(Code.UNKNOWN_MEMBER_ID)
            if id != who.id:
                raise BrokerError(Code.FENCED_INSTANCE_ID)
        member = self.members.get(who.id)
        if member is None:
            raise BrokerError(Code.UNKNOWN_MEMBER_ID)
        return member

    def _require_generation(self, who: Who) -> None:
        if who.generation != self.generation:
            raise BrokerError(Code.ILLEGAL_GENERATION, f"it is {self.generation}")

    def _touch(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        member.deadline = loop.time() + member.session_s
        if member.timer is None:
            member.timer = loop.call_at(member.deadline, self._silent, member)

    def _silent(self, member: Member) -> None:
        """Its session may be over: it was touched since the timer was set, or waits for others."""
        member.timer = None
        loop = asyncio.get_running_loop()
        if member.waits:
            member.deadline = loop.time() + member.session_s
        if loop.time() < member.deadline:
            member.timer = loop.call_at(member.deadline, self._silent, member)
        elif self.members.get(member.id) is member:
            self._remove(member, "is silent")

    def _remove(self, member: Member, why: str) -> None:
        self._forget(member, Code.UNKNOWN_MEMBER_ID)
        if self.phase in (Phase.STABLE, Phase.SYNCING):
            self._rebalance(f"{member.id} {why}")
        self._complete_if_all_joined()

    def _forget(self, member: Member, code: Code) -> None:
        del self.members[member.id]
        if member.instance is not None and self._instances.get(member.instance) == member.id:
            del self._instances[member.instance]
        if self.leader == member.id and self.members:
            self.leader = next(iter(self.members))
        _refuse(member.joining, code)
        _refuse(member.syncing, code)
        member.joining = member.syncing = None
        if member.timer is not None:
            member.timer.cancel()
            member.timer = None

    # -- one timer for the phase ---------------------------------------------------------------

    def _arm(self, after_s: float, work: Callable[[], None]) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(after_s, work)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refuse(waiting: asyncio.Future[Any] | None, code: Code) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_exception(BrokerError(code))
