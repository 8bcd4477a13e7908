"""Groups: what their members ask of the coordinator, and what administrators do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka.protocol.admin import DeleteGroupsResponse, DescribeGroupsResponse, ListGroupsResponse
from kafka.protocol.consumer import (
    HeartbeatResponse,
    JoinGroupResponse,
    LeaveGroupResponse,
    SyncGroupResponse,
)

from nodes.broker.api.context import Context, code_of
from nodes.broker.coordinator.group import Group, Joining, MemberIdRequired, Phase, Who
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.wire import Request

_ID_FIRST_SINCE = 4
_SKIPS_SINCE = 9
_MEMBERS_SINCE = 3
_NULL_PROTOCOL_SINCE = 7
_NOT_FOUND_SINCE = 6
CLASSIC = "classic"

Described = DescribeGroupsResponse.DescribedGroup
REFUSALS = (BrokerError, LogError, OSError)


def who_of(body: Any) -> Who:
    return Who(body.member_id or "", body.group_instance_id, body.generation_id)


# -- members -------------------------------------------------------------------------------------


async def join_group(context: Context, request: Request, listener: str) -> Any:
    body, version = request.body, request.version
    rebalance_ms = body.rebalance_timeout_ms if version >= 1 else -1
    wanted = Joining(
        body.member_id or "",
        body.group_instance_id if version >= 5 else None,
        request.client,
        request.peer,
        (rebalance_ms if rebalance_ms > 0 else body.session_timeout_ms) / 1000,
        body.session_timeout_ms / 1000,
        body.protocol_type,
        tuple((p.name, bytes(p.metadata or b"")) for p in body.protocols or ()),
        asks_first=version >= _ID_FIRST_SINCE,
        skips=version >= _SKIPS_SINCE,
    )
    try:
        joined = await context.groups.join(body.group_id, wanted)
    except REFUSALS as error:
        id = error.id if isinstance(error, MemberIdRequired) else wanted.id
        return JoinGroupResponse(
            error_code=code_of(error),
            generation_id=-1,
            protocol_type=None,
            protocol_name=None if version >= _NULL_PROTOCOL_SINCE else "",
            leader="",
            member_id=id,
            members=[],
        )
    return JoinGroupResponse(
        generation_id=joined.generation,
        protocol_type=joined.type,
        protocol_name=joined.protocol,
        leader=joined.leader,
        skip_assignment=joined.skip,
        member_id=joined.id,
        members=[
            JoinGroupResponse.JoinGroupResponseMember(
                member_id=id, group_instance_id=instance, metadata=subscription
            )
            for id, instance, subscription in joined.members
        ],
    )


async def sync_group(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    named = request.version >= 5
    assignments = {a.member_id: bytes(a.assignment or b"") for a in body.assignments or ()}
    try:
        assignment, group = await context.groups.sync(
            body.group_id,
            who_of(body),
            body.protocol_type if named else None,
            body.protocol_name if named else None,
            assignments,
        )
    except REFUSALS as error:
        return SyncGroupResponse(error_code=code_of(error), assignment=b"")
    return SyncGroupResponse(
        protocol_type=group.type, protocol_name=group.protocol, assignment=assignment
    )


async def heartbeat(context: Context, request: Request, listener: str) -> Any:
    code = 0
    try:
        context.groups.heartbeat(request.body.group_id, who_of(request.body))
    except REFUSALS as error:
        code = code_of(error)
    return HeartbeatResponse(error_code=code)


async def leave_group(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    if request.version < _MEMBERS_SINCE:
        code = _leave(context, body.group_id, Who(body.member_id or ""))
        return LeaveGroupResponse(error_code=code)
    kind = LeaveGroupResponse.MemberResponse
    members = [
        kind(
            member_id=each.member_id,
            group_instance_id=each.group_instance_id,
            error_code=_leave(
                context, body.group_id, Who(each.member_id or "", each.group_instance_id)
            ),
        )
        for each in body.members or ()
    ]
    codes = {member.error_code for member in members}
    ours = codes & {int(Code.NOT_COORDINATOR), int(Code.COORDINATOR_LOAD_IN_PROGRESS)}
    return LeaveGroupResponse(error_code=min(ours, default=0), members=members)


def _leave(context: Context, group: str, who: Who) -> int:
    try:
        context.groups.leave(group, who)
    except REFUSALS as error:
        return code_of(error)
    return 0


# -- admin ---------------------------------------------------------------------------------------


async def describe_groups(context: Context, request: Request, listener: str) -> Any:
    names = request.body.groups or ()
    found = [await _describe(context, name, request.version) for name in names]
    return DescribeGroupsResponse(groups=found)


async def _describe(context: Context, name: str, version: int) -> Any:
    try:
        group = await context.groups.describe(name)
        if group is None and name not in context.groups.all():
            if version >= _NOT_FOUND_SINCE:
                raise BrokerError(Code.GROUP_ID_NOT_FOUND, f"there is no group {name!r}")
            return _described(name, Phase.DEAD.value)
    except REFUSALS as error:
        return _described(name, "", code_of(error), str(error))
    if group is None:
        return _described(name, Phase.EMPTY.value)
    return _described_with_members(group)


def _described(name: str, state: str, code: int = 0, text: str | None = None) -> Any:
    return Described(
        error_code=code,
        error_message=text,
        group_id=name,
        group_state=state,
        protocol_type="",
        protocol_data="",
        members=[],
    )


def _described_with_members(group: Group) -> Any:
    settled = group.phase is Phase.STABLE
    protocol = group.protocol or ""
    return Described(
        group_id=group.name,
        group_state=group.phase.value,
        protocol_type=group.type,
        protocol_data=protocol if settled else "",
        members=[
            Described.DescribedGroupMember(
                member_id=member.id,
                group_instance_id=member.instance,
                client_id=member.client,
                client_host=member.host,
                member_metadata=member.subscription(protocol) if settled else b"",
                member_assignment=member.assignment if settled else b"",
            )
            for member in group.members.values()
        ],
    )


async def list_groups(context: Context, request: Request, listener: str) -> Any:
    """Those that this broker coordinates."""
    body = request.body
    phases = {p.lower() for p in (body.states_filter or ()) if request.version >= 4}
    types = {t.lower() for t in (body.types_filter or ()) if request.version >= 5}
    listed = _listed(context.groups.all())
    return ListGroupsResponse(
        groups=[
            each
            for each in listed
            if (not phases or each.group_state.lower() in phases)
            and (not types or CLASSIC in types)
        ]
    )


def _listed(groups: Mapping[str, Group | None]) -> Iterable[Any]:
    for name, group in groups.items():
        yield ListGroupsResponse.ListedGroup(
            group_id=name,
            protocol_type="" if group is None else group.type,
            group_state=Phase.EMPTY.value if group is None else group.phase.value,
            group_type=CLASSIC,
        )


async def delete_groups(context: Context, request: Request, listener: str) -> Any:
    results = []
    for name in request.body.groups_names or ():
        code = 0
        try:
            await context.groups.delete(name)
        except REFUSALS as error:
            code = code_of(error)
        results.append(DeleteGroupsResponse.DeletableGroupResult(group_id=name, error_code=code))
    return DeleteGroupsResponse(results=results)
