"""Ports: the small interfaces that workloads speak, one per kind of system.

A client library is adapted to a port once, in `systems/clients`; every workload for that kind of
system then runs over every library. Ports are asynchronous; an adapter of a blocking library does
its calls on a thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from harness.client import Endpoint


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    number: int


class Message(NamedTuple):
    """A record as a consumer got it."""

    partition: Partition
    offset: int
    value: bytes


Positions = Mapping[Partition, int | None]
"""The next offset to read of each partition; None for the beginning."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a producer and a consumer behave, in Kafka's terms.

    Attributes:
        acks: "0", "1" or "all".
        in_flight: how many messages of a partition may be under way at once.
        retries: attempts after the first; None for the library's own default.
        request_timeout_s: one request to one broker; also how long a library may look for brokers
            and for a topic's metadata.
        delivery_timeout_s: a send from its acceptance to its outcome, retries included. Two request
            time-outs and this must stay below the operation time-out (10 s), so that the library
            and not the harness says how it ended.
    """

    acks: str = "all"
    idempotence: bool = True
    in_flight: int = 1
    retries: int | None = None
    request_timeout_s: float = 2.0
    delivery_timeout_s: float = 5.0
    isolation: str = "read_uncommitted"
    poll_records_max: int = 500


class BrokerPort(Protocol):
    """One process's producer, consumer and admin client of a Kafka-compatible broker.

    Every method may be cancelled. After that, or after an error that is not definite, the producer
    is only closed; after a definite one it sends on. The consumer is put right with `assign`.
    Errors are `harness.errors.OpError`s where the adapter knows whether they are definite, else the
    library's own, which count as indefinite.
    """

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        """Create the topic and wait until every partition has a leader. Existing is fine."""
        ...

    async def send(
        self, partition: Partition, value: bytes, timestamp_ms: int | None = None
    ) -> int | None:
        """Send one message; return its offset, None if the broker does not tell (acks=0).

        Its timestamp is `timestamp_ms`, or else when it is sent.

        Raises:
            Refused: it was refused before anything could be written.
            Unavailable: the library never accepted it.
        """
        ...

    async def assign(self, positions: Positions) -> None:
        """Read exactly these partitions, from these positions on; nothing read before and not yet
        polled is polled any more."""
        ...

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        """Messages after the positions, in order per partition; perhaps none."""
        ...

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        """The next offset that a consumer will see in each partition, asked of its leader now.

        Partitions whose leader does not tell may be left out.
        """
        ...

    async def offsets_for_times(
        self, times: Mapping[Partition, int]
    ) -> Mapping[Partition, tuple[int, int | None] | None]:
        """(offset, timestamp) of the first message of each partition that is at least as new as
        this (ms), asked of its leader now; None for none. Not every library tells the timestamp.

        Partitions whose leader does not tell may be left out.
        """
        ...

    async def delete_records(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Delete what is before these offsets; the low watermark of each partition."""
        ...

    async def close(self) -> None:
        """Let go of everything, soon. What was sent may still arrive."""
        ...


class BrokerConnect(Protocol):
    """What a library's adapter exports: connect one process."""

    async def __call__(self, endpoint: Endpoint, settings: Settings) -> BrokerPort: ...
