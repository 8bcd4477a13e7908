"""Unmodified client libraries run in a world: redis.asyncio and aiokafka."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from harness.cluster.sim import SimCluster
from harness.host.contract import Host
from harness.sim.world import World
from systems.broker import Broker

PORT = 6379


class Store:
    """A server that speaks enough of RESP2 for the tests, and forgets everything when it ends."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.subscribers: dict[bytes, list[asyncio.StreamWriter]] = {}

    async def run(self, host: Host) -> None:
        await asyncio.start_server(self.serve, host.name, PORT)
        await asyncio.Event().wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(self.answer(words, writer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return

    def answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> bytes:
        match [words[0].upper(), *words[1:]]:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"SET", key, value]:
                self.values[key] = value
                return b"+OK\r\n"
            case [b"GET", key]:
                return bulk(self.values[key]) if key in self.values else b"$-1\r\n"
            case [b"INCRBY", key, more]:
                self.values[key] = b"%d" % (int(self.values.get(key, b"0")) + int(more))
                return b":" + self.values[key] + b"\r\n"
            case [b"SUBSCRIBE", channel]:
                self.subscribers.setdefault(channel, []).append(writer)
                return b"*3\r\n" + bulk(b"subscribe") + bulk(channel) + b":1\r\n"
            case [b"PUBLISH", channel, message]:
                heard = self.subscribers.get(channel, [])
                for other in heard:
                    other.write(b"*3\r\n" + bulk(b"message") + bulk(channel) + bulk(message))
                return b":%d\r\n" % len(heard)
            case [b"CLIENT" | b"SELECT", *_]:
                return b"+OK\r\n"
        return b"-ERR unknown command\r\n"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


def in_world(main: Any, seed: int = 1) -> Any:
    with World(seed) as world:
        world.network.route(("redis", PORT), "c1")
        world.machine("redis").start(Store().run)
        return world.run(main(world))


def client(**options: Any) -> redis.Redis:
    return redis.Redis(host="redis", port=PORT, protocol=2, **options)


def test_redis_commands_and_pipelines() -> None:
    async def main(world: World) -> list[Any]:
        async with client(decode_responses=True) as db:
            seen: list[Any] = [await db.ping(), await db.set("k", "v"), await db.get("k")]
            seen += [await db.get("none"), await db.incr("n")]
            async with db.pipeline(transaction=False) as pipe:
                for _ in range(100):
                    pipe.incr("n")
                seen.append((await pipe.execute())[-1])
            many = await asyncio.gather(*(db.incr("n") for _ in range(50)))
            return [*seen, sorted(many) == list(range(102, 152))]

    assert in_world(main) == [True, True, "v", None, 1, 101, True]


def test_redis_messages_are_published_to_subscribers() -> None:
    async def main(world: World) -> list[Any]:
        async with client() as db, db.pubsub(ignore_subscribe_messages=True) as heard:
            await heard.subscribe("news")
            await heard.get_message(timeout=1)
            seen: list[Any] = [await db.publish("news", f"{number}") for number in range(3)]
            while len(seen) < 6:
                message = await heard.get_message(timeout=1)
                seen.append(message["data"])
            return [*seen, await heard.get_message(timeout=5)]

    assert in_world(main) == [1, 1, 1, b"0", b"1", b"2", None]


def test_redis_times_out_over_a_cut_link_and_works_after_it() -> None:
    async def main(world: World) -> Any:
        links = [world.network.link("c1", "redis")]
        async with client(socket_timeout=2, retry=None) as db:
            await db.set("k", "v")
            world.network.cut(links)
            began = asyncio.get_running_loop().time()
            with pytest.raises(RedisTimeoutError):
                await db.get("k")
            waited = asyncio.get_running_loop().time() - began
            world.network.heal(links)
            return round(waited, 2), await db.get("k")

    assert in_world(main) == (2.0, b"v")


def test_redis_connects_again_after_a_kill() -> None:
    async def main(world: World) -> Any:
        machine = world.machine("redis")
        async with client(retry=None) as db:
            await db.set("k", "v")
            machine.kill()
            with pytest.raises(RedisConnectionError):
                await db.get("k")
            machine.start(Store().run)
            await asyncio.sleep(0.01)
            return await db.get("k"), await db.incr("n")

    assert in_world(main) == (None, 1)


def test_aiokafka_sends_and_reads_through_a_fail_over(tmp_path: Path) -> None:
    async def main() -> list[bytes]:
        cluster = SimCluster(Broker(), folder=tmp_path, seed=1)
        await cluster.start()
        servers = [
            f"{host}:{port}" for host, port in (cluster.address(n, "c1") for n in cluster.nodes)
        ]
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        await admin.create_topics([NewTopic("topic", num_partitions=1, replication_factor=3)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
        await producer.start()

        async def send(number: int) -> None:
            # Else the library's extension stamps it by the real clock, which it reads in C.
            now_ms = time.time_ns() // 1_000_000
            await producer.send_and_wait("topic", b"%d" % number, partition=0, timestamp_ms=now_ms)

        for number in range(50):
            await send(number)
        leader = f"n{producer.client.cluster.leader_for_partition(TopicPartition('topic', 0))}"
        await cluster.kill(leader)
        for number in range(50, 100):
            await send(number)
        await producer.stop()
        await cluster.start_node(leader)
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition("topic", 0)])
        read = [(await consumer.getone()).value for _ in range(100)]
        await consumer.stop()
        await cluster.stop()
        return read

    with World(1) as world:
        assert world.run(main()) == [b"%d" % number for number in range(100)]
