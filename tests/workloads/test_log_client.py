"""The client of the log workload, against a log in memory."""

from __future__ import annotations

from typing import Any

import pytest

from harness.client import classify
from harness.errors import OpError, Refused, TimedOut, Unavailable, UsageError
from harness.op import Kind, Op
from harness.workload import Load
from tests.workloads.fake import HERE, FakeLog
from workloads.log import READS, Client, Options, workload


async def opened(log: FakeLog, **options: Any) -> Client:
    made = workload(Options(**options), Load(nodes=3), log.connect)  # type: ignore[arg-type]
    client = await made.client.open(HERE)
    assert isinstance(client, Client)
    return client


async def do(client: Client, f: str, value: Any = None, **extra: Any) -> Any:
    return await client.invoke(Op(0, 0, Kind.INVOKE, 0, f, value, extra=extra or None))


async def poll(client: Client) -> Any:
    ((_, polled),) = await do(client, "poll", [["poll"]])
    return polled


async def test_what_is_sent_is_polled_in_jepsens_shapes() -> None:
    client = await opened(FakeLog())
    assert await do(client, "send", [["send", 2, 7]]) == [["send", 2, [0, 7]]]
    assert await do(client, "send", [["send", 2, 9]]) == [["send", 2, [1, 9]]]
    assert await do(client, "assign", [1, 2]) == [1, 2]
    assert await poll(client) == {"2": [[0, 7], [1, 9]]}
    assert await poll(client) == {}


async def test_without_acknowledgement_there_is_no_offset() -> None:
    client = await opened(FakeLog(silent=True), acks="0")
    assert await do(client, "send", [["send", 0, 0]]) == [["send", 0, 0]]


async def test_keys_are_partitions_of_topics() -> None:
    log = FakeLog()
    client = await opened(log, topics=2, partitions=3)
    await do(client, "send", [["send", 4, 5]])
    (partition,) = log.messages
    assert partition == ("log-1", 1)
    await do(client, "assign", [4])
    assert await poll(client) == {"4": [[0, 5]]}


async def test_a_kept_key_goes_on_and_a_new_one_begins_at_the_beginning() -> None:
    client = await opened(FakeLog())
    for key in (0, 1):
        await do(client, "send", [["send", key, 10 + key]])
    await do(client, "assign", [0])
    assert await poll(client) == {"0": [[0, 10]]}
    await do(client, "assign", [0, 1])
    assert await poll(client) == {"1": [[0, 11]]}
    await do(client, "assign", [1])
    await do(client, "assign", [0, 1])
    assert await poll(client) == {"0": [[0, 10]]}, "its position was forgotten meanwhile"


async def test_all_can_be_read_anew_from_the_beginning() -> None:
    client = await opened(FakeLog())
    await do(client, "send", [["send", 0, 1]])
    await do(client, "assign", [0])
    await poll(client)
    await do(client, "assign", [0], **{"seek-to-beginning": True})
    assert await poll(client) == {"0": [[0, 1]]}


async def test_a_poll_that_fails_does_not_move_the_position() -> None:
    log = FakeLog()
    client = await opened(log)
    await do(client, "assign", [0])
    await do(client, "send", [["send", 0, 1]])
    assert await poll(client) == {"0": [[0, 1]]}
    await do(client, "send", [["send", 0, 2]])
    log.lost_polls = 1
    with pytest.raises(OSError, match="lost on its way"):
        await poll(client)
    assert await poll(client) == {"0": [[1, 2]]}


async def test_a_poll_that_cannot_put_the_position_right_fails_and_the_next_one_tries_again() -> (
    None
):
    log = FakeLog()
    client = await opened(log)
    await do(client, "assign", [0])
    await do(client, "send", [["send", 0, 1]])
    log.lost_polls = 1
    with pytest.raises(OSError, match="lost"):
        await poll(client)
    log.troubles["assign"] = [TimedOut("no broker")]
    with pytest.raises(TimedOut):
        await poll(client)
    assert await poll(client) == {"0": [[0, 1]]}


async def test_an_assignment_that_fails_leaves_keys_and_positions_as_they_were() -> None:
    log = FakeLog()
    client = await opened(log)
    await do(client, "assign", [0])
    await do(client, "send", [["send", 0, 1]])
    await poll(client)
    log.troubles["assign"] = [TimedOut("no broker")]
    with pytest.raises(TimedOut):
        await do(client, "assign", [1])
    await do(client, "send", [["send", 0, 2]])
    assert await poll(client) == {"0": [[1, 2]]}


async def test_a_poll_of_nothing_is_empty() -> None:
    assert await poll(await opened(FakeLog())) == {}


async def test_what_nobody_sent_is_shown_as_it_came() -> None:
    log = FakeLog()
    client = await opened(log)
    await do(client, "assign", [0])
    log.messages["log-0", 0] = [b"<script>", b"\xff"]  # type: ignore[index]
    polled = await poll(client)
    assert polled == {"0": [[0, "<script>"], [1, "\\xff"]]}


async def test_messages_are_padded_and_damage_of_the_padding_shows() -> None:
    log = FakeLog()
    client = await opened(log, value_bytes=8)
    await do(client, "send", [["send", 0, 42]])
    await do(client, "send", [["send", 0, 43]])
    assert log.messages["log-0", 0] == [b"42......", b"43......"]  # type: ignore[index]
    log.messages["log-0", 0][1] = b"43...\0.."  # type: ignore[index]
    await do(client, "assign", [0])
    assert await poll(client) == {"0": [[0, 42], [1, "43...\x00.."]]}


async def test_times_are_told_as_values() -> None:
    log = FakeLog()
    client = await opened(log, times_p=0.1)
    for value in (3, 9, 7):
        await do(client, "send", [["send", 1, value]])
    early, late, between = log.stamps["log-0", 1]  # type: ignore[index]
    assert (late - early, between - early) == (6, 4)
    asked = {"1": 4, "2": 0}
    assert await do(client, "offsets-for-times", asked) == {"1": [1, 9], "2": None}
    assert await do(client, "offsets-for-times", {"1": 3}) == {"1": [0, 3]}
    assert await do(client, "offsets-for-times", {}) == {}


async def test_another_process_stamps_values_alike() -> None:
    log = FakeLog()
    one = await opened(log)
    other = await one.open(HERE)
    await do(one, "send", [["send", 0, 1]])
    await do(other, "send", [["send", 0, 2]])
    early, late = log.stamps["log-0", 0]  # type: ignore[index]
    assert late - early == 1


async def test_offsets_by_time_that_no_leader_tells_are_an_error() -> None:
    client = await opened(FakeLog())

    async def nobody(times: Any) -> dict[Any, Any]:
        return {}

    client.port.offsets_for_times = nobody  # type: ignore[union-attr, method-assign, assignment]
    with pytest.raises(Unavailable):
        await do(client, "offsets-for-times", {"0": 1})


async def test_a_deletion_is_told_by_key_and_one_of_nothing_asks_nobody() -> None:
    log = FakeLog()
    client = await opened(log, partitions=3, topics=2)
    assert await do(client, "delete-records", {"4": 7}) == {"4": 7}
    assert log.starts == {("log-1", 1): 7}
    log.troubles["delete_records"] = [TimedOut("no answer")]
    assert await do(client, "delete-records", {}) == {}
    with pytest.raises(TimedOut):
        await do(client, "delete-records", {"0": 1})


async def test_the_messages_of_an_operation_are_under_way_together() -> None:
    log = FakeLog()
    client = await opened(log, in_flight=5, sends_per_op=3)
    mops = [["send", 0, 5], ["send", 1, 6], ["send", 0, 7]]
    assert await do(client, "send", mops) == [
        ["send", 0, [0, 5]],
        ["send", 1, [0, 6]],
        ["send", 0, [1, 7]],
    ]
    log.troubles["send"] = [Refused("a"), None, Refused("b")]
    with pytest.raises(OpError) as caught:
        await do(client, "send", mops)
    assert not caught.value.definite, "one of them had an effect"
    log.troubles["send"] = [Refused("a"), TimedOut("b"), Refused("c")]
    with pytest.raises(OpError) as caught:
        await do(client, "send", mops)
    assert not caught.value.definite and caught.value.name == "TimedOut"
    log.troubles["send"] = [Refused("a"), Refused("b"), Refused("c")]
    with pytest.raises(Refused):
        await do(client, "send", mops)


async def test_a_refused_send_is_definite_unless_another_of_its_operation_went_before() -> None:
    log = FakeLog()
    client = await opened(log, sends_per_op=2)
    log.troubles["send"] = [Refused("too large", name="MessageSizeTooLarge")]
    with pytest.raises(Refused):
        await do(client, "send", [["send", 0, 0], ["send", 0, 1]])
    assert not log.messages
    log.troubles["send"] = [None, Refused("too large", name="MessageSizeTooLarge")]
    with pytest.raises(OpError) as caught:
        await do(client, "send", [["send", 0, 0], ["send", 0, 1]])
    assert not caught.value.definite and caught.value.name == "MessageSizeTooLarge"


async def test_a_crash_is_info_and_a_failed_read_is_fail() -> None:
    client = await opened(FakeLog())
    with pytest.raises(OpError, match="as it was told to") as caught:
        await do(client, "crash")
    assert classify(caught.value, "crash", READS) == (Kind.INFO, ("Crash", str(caught.value)))
    assert {classify(OSError(), f, READS)[0] for f in READS} == {Kind.FAIL}
    assert classify(OSError(), "send", READS)[0] is Kind.INFO


async def test_end_offsets_are_told_by_key() -> None:
    log = FakeLog()
    client = await opened(log, partitions=2)
    await do(client, "send", [["send", 1, 0]])
    assert await do(client, "list-offsets") == {"0": 0, "1": 1}


async def test_end_offsets_that_no_leader_tells_are_an_error() -> None:
    log = FakeLog()
    client = await opened(log)

    async def nobody(partitions: object) -> dict[Any, int]:
        return {}

    client.port.end_offsets = nobody  # type: ignore[union-attr, method-assign, assignment]
    with pytest.raises(Unavailable, match="no partition's leader"):
        await do(client, "list-offsets")


async def test_topics_are_made_as_the_options_say() -> None:
    log = FakeLog()
    client = await opened(
        log, topics=2, partitions=3, min_insync_replicas=2, unclean=True, flush_messages=1
    )
    await client.setup()
    configs = {
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "true",
        "flush.messages": "1",
    }
    assert log.topics == {"log-0": (3, 3, configs), "log-1": (3, 3, configs)}


async def test_an_unknown_operation_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="'dance' is no operation"):
        await do(await opened(FakeLog()), "dance")


async def test_closing_closes_the_port_once_it_was_opened() -> None:
    log = FakeLog()
    made = workload(Options(), Load(), log.connect)  # type: ignore[arg-type]
    await made.client.close()
    await (await opened(log)).close()
    assert log.closed == 1
