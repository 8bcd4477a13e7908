"""What every kind of cluster promises: each sentence of `harness.cluster.contract` is a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from harness.cluster.contract import Ability, Cluster, Effect, Link, NodeState, Outcome, Shape
from harness.errors import EnvironmentFailure, FaultNotPossible, NodeNotReady, UsageError
from tests.conformance.clusters import SHAPING
from tests.conformance.echo import EchoSystem, Talk, call, wait_quick, wait_until

New = Callable[..., Cluster]

# How long "nothing comes" is watched. An open link answers within a few milliseconds.
QUIET_S = 0.25

# A disk may have written what nobody synced, so that one power failure may lose nothing.
POWER_FAILURES_MAX = 20

shaping = pytest.mark.parametrize("kind", SHAPING, indirect=True)

N1_TO_N2, N2_TO_N1 = Link("n1", "n2"), Link("n2", "n1")
C1_TO_N1, N1_TO_C1 = Link("c1", "n1"), Link("n1", "c1")


def observed(effect: Effect) -> bool:
    return effect.outcome is Outcome.OBSERVED


def skipped(effect: Effect) -> bool:
    return effect.outcome is Outcome.SKIPPED


async def is_silent(talk: Talk) -> bool:
    try:
        await talk.receive(QUIET_S)
    except TimeoutError:
        return True
    return False


async def echo(cluster: Cluster, node: str, host: str, text: str = "hello") -> dict[str, Any]:
    return await call(cluster.address(node, host), {"do": "echo", "text": text})


async def admin(cluster: Cluster, node: str, do: str, **more: Any) -> dict[str, Any]:
    return await call(cluster.admin(node), {"do": do, **more})


async def heard(cluster: Cluster, node: str) -> list[str]:
    return list((await admin(cluster, node, "heard"))["heard"])


async def tell(cluster: Cluster, source: str, target: str, text: str) -> None:
    await admin(cluster, source, "tell", peer=target, text=text)


async def wait_heard(cluster: Cluster, node: str, *texts: str) -> None:
    async def arrived() -> bool:
        return await heard(cluster, node) == list(texts)

    await wait_until(arrived, f"{node} has heard {texts}")


# -- start -----------------------------------------------------------------------------------


async def test_start_returns_when_every_node_answers(new_cluster: New) -> None:
    cluster = new_cluster(nodes=3)
    assert cluster.nodes == ("n1", "n2", "n3") and cluster.clients == ("c1", "c2")
    await cluster.start()
    for node in cluster.nodes:
        assert cluster.state(node) is NodeState.RUNNING
        assert (await echo(cluster, node, "c1"))["node"] == node


async def test_each_client_host_has_an_address_of_its_own(cluster: Cluster) -> None:
    assert cluster.address("n1", "c1") != cluster.address("n1", "c2")
    assert (await echo(cluster, "n1", "c1"))["listener"] == "c1"
    assert (await echo(cluster, "n1", "c2"))["listener"] == "c2"


async def test_nodes_reach_each_other(cluster: Cluster) -> None:
    reply = await admin(cluster, "n1", "ask", peer="n2", text="from n1")
    assert reply == {"node": "n2", "listener": "peer", "text": "from n1"}


async def test_a_node_that_exits_while_starting_is_named_with_its_log(new_cluster: New) -> None:
    cluster = new_cluster(options={"refuses_to_start": True})
    with pytest.raises(NodeNotReady, match=r"n[12] ended (?s:.*)7(?s:.*)refuses to start"):
        await cluster.start()
    assert cluster.state("n1") is NodeState.STOPPED


async def test_a_node_that_never_answers_is_named_with_its_log(new_cluster: New) -> None:
    for ready_timeout_s in (1.0, 5.0, 25.0):
        cluster = new_cluster(options={"never_ready": True}, ready_timeout_s=ready_timeout_s)
        with pytest.raises(NodeNotReady, match=r"n[12] was not ready") as error:
            await cluster.start()
        if "(nothing)" not in str(error.value):
            break  # else this machine is too busy for the node to have said anything so soon
    assert "will never listen" in str(error.value)


async def test_the_log_and_the_data_of_a_node_can_be_read_from_here(cluster: Cluster) -> None:
    assert "n1 listens" in cluster.log("n1").read_text()
    await admin(cluster, "n1", "add", sync=True)
    assert (cluster.data("n1") / "count").read_bytes() == b"1"


# -- kill, start, power off ------------------------------------------------------------------


async def test_kill_ends_the_process_at_once(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    assert await talk.ask({"do": "echo", "text": "x"})
    assert observed(await cluster.kill("n1"))
    assert cluster.state("n1") is NodeState.DEAD
    with pytest.raises(OSError):
        await talk.ask({"do": "echo", "text": "x"})
    assert (await echo(cluster, "n2", "c1"))["node"] == "n2"


async def test_kill_keeps_what_was_not_fsynced(cluster: Cluster) -> None:
    await admin(cluster, "n1", "add", sync=True)
    await admin(cluster, "n1", "add", sync=False)
    await cluster.kill("n1")
    assert observed(await cluster.start_node("n1"))
    assert (await admin(cluster, "n1", "count"))["count"] == 2


async def test_power_off_loses_what_was_not_fsynced(new_cluster: New) -> None:
    cluster = new_cluster(disk="volatile")
    assert Ability.POWER_OFF in cluster.supports
    await cluster.start()
    for _ in range(POWER_FAILURES_MAX):
        synced = (await admin(cluster, "n1", "add", sync=True))["count"]
        await admin(cluster, "n1", "add", sync=False)
        assert observed(await cluster.power_off("n1"))
        assert cluster.state("n1") is NodeState.DEAD
        await cluster.start_node("n1")
        kept = (await admin(cluster, "n1", "count"))["count"]
        assert kept in (synced, synced + 1)
        if kept == synced:
            return
    pytest.fail(f"{POWER_FAILURES_MAX} times, what was not synced was there nevertheless")


async def test_a_restarted_node_has_the_same_addresses(cluster: Cluster) -> None:
    before = [cluster.address("n1", "c1"), cluster.address("n1", "c2"), cluster.admin("n1")]
    await cluster.kill("n1")
    assert observed(await cluster.start_node("n1"))
    assert before == [cluster.address("n1", "c1"), cluster.address("n1", "c2"), cluster.admin("n1")]
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"
    assert (await admin(cluster, "n2", "ask", peer="n1", text="x"))["node"] == "n1"


async def test_killing_a_dead_node_is_skipped(cluster: Cluster) -> None:
    await cluster.kill("n1")
    assert skipped(await cluster.kill("n1"))
    assert cluster.state("n1") is NodeState.DEAD


async def test_starting_a_node_that_runs_is_skipped(cluster: Cluster) -> None:
    await admin(cluster, "n1", "tell", peer="n2", text="x")
    assert skipped(await cluster.start_node("n1"))
    await wait_heard(cluster, "n2", "x")


async def test_starting_a_paused_node_is_skipped_and_resumes_no_one(cluster: Cluster) -> None:
    await cluster.pause("n1")
    assert skipped(await cluster.start_node("n1"))
    assert cluster.state("n1") is NodeState.PAUSED


async def test_nodes_can_be_killed_and_started_side_by_side(new_cluster: New) -> None:
    cluster = new_cluster(nodes=3)
    await cluster.start()
    assert all(map(observed, await asyncio.gather(*map(cluster.kill, cluster.nodes))))
    assert all(map(observed, await asyncio.gather(*map(cluster.start_node, cluster.nodes))))
    assert cluster.crashes() == ()


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.03, 0.1])
async def test_a_fault_that_is_given_up_half_way_leaves_a_state_that_is_true(
    cluster: Cluster, after_s: float
) -> None:
    async def give_up(fault: Any) -> None:
        task = asyncio.create_task(fault)
        await asyncio.wait([task], timeout=after_s)
        task.cancel()
        await asyncio.wait([task])

    await give_up(cluster.kill("n1"))
    await cluster.kill("n1")
    assert cluster.state("n1") is NodeState.DEAD
    await give_up(cluster.start_node("n1"))
    assert (await cluster.start_node("n1")).outcome is not Outcome.UNOBSERVED
    assert cluster.state("n1") is NodeState.RUNNING
    await give_up(cluster.pause("n1"))
    await cluster.pause("n1")
    assert cluster.state("n1") is NodeState.PAUSED
    await give_up(cluster.resume("n1"))
    await cluster.resume("n1")
    await give_up(cluster.cut([C1_TO_N1]))
    await cluster.heal()

    async def answers() -> bool:
        try:
            return bool((await echo(cluster, "n1", "c1"))["node"] == "n1")
        except OSError:
            return False  # whoever starts it has given up, so nobody waited until it was ready

    await wait_until(answers, "n1 answers")
    assert cluster.crashes() == ()


# -- pause -----------------------------------------------------------------------------------


async def test_a_paused_node_is_silent_and_answers_when_resumed(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await talk.ask({"do": "echo", "text": "before"})
    assert observed(await cluster.pause("n1"))
    assert cluster.state("n1") is NodeState.PAUSED
    talk.send({"do": "echo", "text": "during"})
    assert await is_silent(talk)
    assert observed(await cluster.resume("n1"))
    assert cluster.state("n1") is NodeState.RUNNING
    assert (await talk.receive())["text"] == "during"


async def test_a_paused_node_can_be_killed_and_started(cluster: Cluster) -> None:
    await cluster.pause("n1")
    assert observed(await cluster.kill("n1"))
    assert cluster.state("n1") is NodeState.DEAD
    assert observed(await cluster.start_node("n1"))
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_pausing_twice_is_skipped_and_undone_by_one_resume(cluster: Cluster) -> None:
    await cluster.pause("n1")
    assert skipped(await cluster.pause("n1"))
    await cluster.resume("n1")
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_pausing_or_resuming_a_dead_node_is_skipped(cluster: Cluster) -> None:
    await cluster.kill("n1")
    assert skipped(await cluster.pause("n1"))
    assert skipped(await cluster.resume("n1"))
    assert cluster.state("n1") is NodeState.DEAD


async def test_resuming_a_running_node_is_skipped(cluster: Cluster) -> None:
    assert skipped(await cluster.resume("n1"))


# -- crashes ---------------------------------------------------------------------------------


async def test_an_unplanned_end_is_a_crash_with_status_and_log(cluster: Cluster) -> None:
    with pytest.raises(OSError):
        await admin(cluster, "n1", "exit", status=5)
    await wait_until(lambda: len(cluster.crashes()) == 1, "the crash is reported")
    (crash,) = cluster.crashes()
    assert crash["node"] == "n1" and crash["status"] == 5 and crash["time_ns"] > 0
    assert "told to exit" in crash["log"]
    assert cluster.state("n1") is NodeState.DEAD
    assert skipped(await cluster.kill("n1"))
    assert observed(await cluster.start_node("n1"))


async def test_faults_and_stop_are_no_crashes(cluster: Cluster) -> None:
    await cluster.kill("n1")
    await cluster.pause("n2")
    await cluster.stop()
    assert cluster.crashes() == ()


# -- cuts ------------------------------------------------------------------------------------


async def test_a_cut_holds_data_in_one_direction_only(cluster: Cluster) -> None:
    await tell(cluster, "n1", "n2", "a")
    await tell(cluster, "n2", "n1", "b")
    await wait_heard(cluster, "n2", "a")
    assert observed(await cluster.cut([N1_TO_N2]))
    await tell(cluster, "n1", "n2", "held")
    await tell(cluster, "n2", "n1", "passes")
    await wait_heard(cluster, "n1", "b", "passes")
    assert await heard(cluster, "n2") == ["a"]


async def test_healing_delivers_what_was_held_in_order(cluster: Cluster) -> None:
    await tell(cluster, "n1", "n2", "a")
    await cluster.cut([N1_TO_N2])
    for text in "bcd":
        await tell(cluster, "n1", "n2", text)
    assert observed(await cluster.heal([N1_TO_N2]))
    await wait_heard(cluster, "n2", *"abcd")


async def test_a_cut_is_silent_for_clients_and_keeps_their_connections(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await talk.ask({"do": "echo", "text": "before"})
    assert observed(await cluster.cut([C1_TO_N1, N1_TO_C1]))
    talk.send({"do": "echo", "text": "during"})
    assert await is_silent(talk)
    assert observed(await cluster.heal())
    assert (await talk.receive())["text"] == "during"
    assert (await talk.ask({"do": "echo", "text": "after"}))["text"] == "after"


async def test_a_lost_reply_is_of_a_request_that_was_carried_out(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    assert observed(await cluster.cut([N1_TO_C1]))
    talk.send({"do": "add", "sync": False})

    async def added() -> bool:
        return bool((await admin(cluster, "n1", "count"))["count"] == 1)

    await wait_until(added, "the request has arrived")
    assert await is_silent(talk)
    await cluster.heal()
    assert await talk.receive() == {"count": 1}


async def test_a_lost_request_is_not_carried_out(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await cluster.cut([C1_TO_N1])
    talk.send({"do": "add", "sync": False})
    assert await is_silent(talk)
    assert (await admin(cluster, "n1", "count"))["count"] == 0


async def test_new_connections_during_a_cut_hang(cluster: Cluster) -> None:
    await cluster.cut([C1_TO_N1, N1_TO_C1])
    with pytest.raises(TimeoutError):
        await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}, QUIET_S)
    await cluster.heal()
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_a_node_can_be_cut_from_one_client_host_alone(cluster: Cluster) -> None:
    await cluster.cut([C1_TO_N1, N1_TO_C1])
    assert (await echo(cluster, "n1", "c2"))["node"] == "n1"
    assert (await echo(cluster, "n2", "c1"))["node"] == "n2"
    with pytest.raises(TimeoutError):
        await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}, QUIET_S)


async def test_the_admin_port_is_beside_all_links(cluster: Cluster) -> None:
    every = [Link(a, b) for a in ("n1", "c1", "c2") for b in ("n1", "c1", "c2") if "n1" in (a, b)]
    await cluster.cut([link for link in every if link.source != link.target])
    await cluster.cut([N1_TO_N2, N2_TO_N1])
    assert (await admin(cluster, "n1", "count"))["count"] == 0


async def test_cutting_twice_is_undone_by_one_heal(cluster: Cluster) -> None:
    await cluster.cut([N1_TO_N2])
    assert (await cluster.cut([N1_TO_N2])).outcome is not Outcome.UNOBSERVED
    assert observed(await cluster.heal([N1_TO_N2]))
    await tell(cluster, "n1", "n2", "x")
    await wait_heard(cluster, "n2", "x")


async def test_healing_some_links_leaves_the_others_cut(cluster: Cluster) -> None:
    await tell(cluster, "n1", "n2", "a")
    await wait_heard(cluster, "n2", "a")
    await wait_heard(cluster, "n2", "a")
    await cluster.cut([N1_TO_N2, C1_TO_N1])
    assert observed(await cluster.heal([C1_TO_N1]))
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"
    await tell(cluster, "n1", "n2", "held")
    assert (await cluster.heal([N2_TO_N1])).outcome is not Outcome.UNOBSERVED
    assert await heard(cluster, "n2") == ["a"]


async def test_healing_what_is_whole_changes_nothing(cluster: Cluster) -> None:
    assert (await cluster.heal()).outcome is not Outcome.UNOBSERVED
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_a_death_behind_a_cut_is_not_noticed(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await talk.ask({"do": "echo", "text": "x"})
    await cluster.cut([C1_TO_N1, N1_TO_C1])
    await cluster.kill("n1")
    assert await is_silent(talk)
    assert (await cluster.heal()).outcome is not Outcome.UNOBSERVED
    with pytest.raises(OSError):
        await talk.receive()


async def test_a_cut_outlives_the_death_of_its_node(cluster: Cluster) -> None:
    await cluster.kill("n1")
    assert observed(await cluster.cut([C1_TO_N1, N1_TO_C1]))
    await cluster.start_node("n1")
    with pytest.raises(TimeoutError):
        await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}, QUIET_S)
    assert observed(await cluster.heal())
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_links_of_a_paused_node_can_be_cut_and_healed(cluster: Cluster) -> None:
    await cluster.pause("n1")
    assert observed(await cluster.cut([C1_TO_N1, N1_TO_N2]))
    assert observed(await cluster.heal())
    await cluster.resume("n1")
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"


async def test_a_held_connection_that_a_client_gave_up_does_no_harm(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await talk.ask({"do": "echo", "text": "x"})
    await cluster.cut([C1_TO_N1, N1_TO_C1])
    talk.send({"do": "add", "sync": False})
    talk.close()
    await cluster.heal()  # now the request arrives, or the connection is reset: both are legal
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"
    assert (await admin(cluster, "n1", "count"))["count"] in (0, 1)


async def test_a_link_to_nowhere_is_wrong_usage(cluster: Cluster) -> None:
    with pytest.raises(UsageError):
        await cluster.cut([Link("n1", "n9")])
    with pytest.raises(UsageError):
        await cluster.cut([Link("c1", "c2")])


# -- shapes and resets -----------------------------------------------------------------------


async def round_trip_s(talk: Talk, text: str = "x") -> float:
    now = asyncio.get_running_loop().time
    began = now()
    assert (await talk.ask({"do": "echo", "text": text}))["text"] == text
    return now() - began


@shaping
async def test_latency_delays_one_direction(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    other = await Talk.open(cluster.address("n1", "c2"))
    assert observed(await cluster.shape([C1_TO_N1], Shape(latency_ms=300)))
    assert await round_trip_s(talk) >= 0.295
    await wait_quick(lambda: round_trip_s(other), 0.295)
    assert observed(await cluster.heal())
    await wait_quick(lambda: round_trip_s(talk), 0.295)


@shaping
async def test_a_narrow_link_takes_its_time(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await cluster.shape([N1_TO_C1], Shape(rate_bytes_per_s=100_000))
    assert await round_trip_s(talk, "x" * 30_000) >= 0.25


@shaping
async def test_slicing_changes_no_byte(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    assert observed(await cluster.shape([C1_TO_N1, N1_TO_C1], Shape(slice_bytes=7)))
    assert await round_trip_s(talk, "".join(map(str, range(3_000)))) < 10


@shaping
async def test_a_shape_replaces_the_one_before(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await cluster.shape([C1_TO_N1], Shape(latency_ms=2_000))
    assert observed(await cluster.shape([C1_TO_N1], Shape(latency_ms=50)))
    assert await round_trip_s(talk) >= 0.045
    await wait_quick(lambda: round_trip_s(talk), 1.0)


@shaping
async def test_a_shaped_link_can_be_cut_and_healed(cluster: Cluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await cluster.shape([C1_TO_N1], Shape(latency_ms=20))
    assert observed(await cluster.cut([C1_TO_N1]))
    talk.send({"do": "echo", "text": "held"})
    assert await is_silent(talk)
    assert observed(await cluster.heal())
    assert (await talk.receive())["text"] == "held"


@shaping
async def test_a_reset_ends_live_connections_and_lets_new_ones_in(cluster: Cluster) -> None:
    idle = await Talk.open(cluster.address("n1", "c1"))
    await idle.ask({"do": "echo", "text": "x"})
    elsewhere = await Talk.open(cluster.address("n2", "c1"))
    assert observed(await cluster.reset([C1_TO_N1]))
    with pytest.raises(OSError):
        await idle.receive()
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"
    assert (await elsewhere.ask({"do": "echo", "text": "y"}))["text"] == "y"


@shaping
async def test_a_reset_of_a_peer_link_leaves_the_peers_able_to_talk(cluster: Cluster) -> None:
    await admin(cluster, "n1", "ask", peer="n2", text="x")
    assert observed(await cluster.reset([N1_TO_N2]))

    async def talks() -> bool:
        try:
            return bool(await admin(cluster, "n1", "ask", peer="n2", text="again"))
        except OSError:
            return False

    await wait_until(talks, "n1 talks to n2 over a new connection")


# -- what a cluster cannot do ----------------------------------------------------------------


async def test_what_is_not_supported_is_refused_in_words(cluster: Cluster) -> None:
    cannot: dict[Ability, Callable[[], Any]] = {
        Ability.POWER_OFF: lambda: cluster.power_off("n1"),
        Ability.SHAPE: lambda: cluster.shape([C1_TO_N1], Shape(latency_ms=1)),
        Ability.RESET: lambda: cluster.reset([C1_TO_N1]),
        Ability.SKEW: lambda: cluster.skew("n1", 1_000_000),
        Ability.DAMAGE: lambda: cluster.damage("n1", "eio", {}),
    }
    for ability in cannot.keys() - cluster.supports:
        with pytest.raises(FaultNotPossible, match=r"\w+ \w+"):
            await cannot[ability]()
    assert cluster.state("n1") is NodeState.RUNNING


async def test_an_unknown_node_is_wrong_usage(cluster: Cluster) -> None:
    with pytest.raises(UsageError):
        await cluster.kill("n9")
    with pytest.raises(UsageError):
        cluster.address("n1", "c9")


# -- stop ------------------------------------------------------------------------------------


async def test_stop_works_from_any_state_and_twice(new_cluster: New) -> None:
    cluster = new_cluster(nodes=3)
    await cluster.start()
    await cluster.pause("n1")
    await cluster.kill("n2")
    await cluster.cut([N1_TO_N2, C1_TO_N1])
    where = cluster.address("n3", "c1")
    await asyncio.gather(cluster.stop(), cluster.stop())
    await cluster.stop()
    assert {cluster.state(node) for node in cluster.nodes} == {NodeState.STOPPED}
    with pytest.raises(OSError):  # nothing is sent elsewhere either
        await asyncio.wait_for(asyncio.open_connection(*where), 2.0)


async def test_a_cluster_that_was_never_started_can_be_stopped(new_cluster: New) -> None:
    cluster = new_cluster()
    await cluster.stop()
    with pytest.raises((UsageError, EnvironmentFailure)):
        await cluster.start()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.2, 0.3])
async def test_a_start_can_be_cancelled_at_any_moment(new_cluster: New, after_s: float) -> None:
    cluster = new_cluster(options={"never_ready": True})
    starting = asyncio.create_task(cluster.start())
    await asyncio.wait([starting], timeout=after_s)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await cluster.stop()
    assert {cluster.state(node) for node in cluster.nodes} == {NodeState.STOPPED}


async def test_two_clusters_do_not_disturb_each_other(new_cluster: New) -> None:
    one, two = new_cluster(), new_cluster()
    await asyncio.gather(one.start(), two.start())
    assert observed(await one.cut([C1_TO_N1, N1_TO_C1]))
    await one.kill("n2")
    assert (await echo(two, "n1", "c1"))["node"] == "n1"
    assert (await echo(two, "n2", "c1"))["node"] == "n2"
    await admin(one, "n1", "add", sync=True)
    assert (await admin(two, "n1", "count"))["count"] == 0
    await one.stop()
    assert observed(await two.cut([C1_TO_N1]))
    assert observed(await two.heal())
    assert (await echo(two, "n1", "c1"))["node"] == "n1"


async def test_a_system_without_peers_can_be_cut_from_its_clients(new_cluster: New) -> None:
    cluster = new_cluster(EchoSystem(peer_ports=()), nodes=1, clients=1)
    await cluster.start()
    assert observed(await cluster.cut([C1_TO_N1]))
    assert observed(await cluster.heal([C1_TO_N1]))
    assert (await echo(cluster, "n1", "c1"))["node"] == "n1"
