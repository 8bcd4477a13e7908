"""A log in memory behind the broker port, with troubles on order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.client import Endpoint
from harness.cluster.contract import Address
from workloads.ports import Message, Partition, Positions, Settings

HERE = Endpoint("n1", "c1", Address("127.0.0.1", 1), (Address("127.0.0.1", 1),))


@dataclass
class FakeLog:
    """What all ports of one test share: messages by partition, and what goes wrong next.

    Attributes:
        troubles: by method, errors to raise at its next calls; None for a call that goes well.
        lost_polls: how many polls move the library's positions and then fail.
        settings: what clients were opened with.
    """

    messages: dict[Partition, list[bytes]] = field(default_factory=dict)
    stamps: dict[Partition, list[int]] = field(default_factory=dict)
    starts: dict[Partition, int] = field(default_factory=dict)
    topics: dict[str, tuple[int, int, dict[str, str]]] = field(default_factory=dict)
    troubles: dict[str, list[Exception | None]] = field(default_factory=dict)
    lost_polls: int = 0
    silent: bool = False
    settings: list[Settings] = field(default_factory=list)
    closed: int = 0

    async def connect(self, endpoint: Endpoint, settings: Settings) -> FakePort:
        assert endpoint is HERE
        self.settings.append(settings)
        return FakePort(self)

    def trouble(self, method: str) -> None:
        waiting = self.troubles.get(method)
        if waiting and (error := waiting.pop(0)) is not None:
            raise error


class FakePort:
    """One process's side of it, with positions that move before a poll is answered."""

    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.positions: dict[Partition, int] = {}

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        self.log.topics[name] = (partitions, replication_factor, dict(configs))

    async def send(
        self, partition: Partition, value: bytes, timestamp_ms: int | None = None
    ) -> int | None:
        self.log.trouble("send")
        messages = self.log.messages.setdefault(partition, [])
        messages.append(value)
        self.log.stamps.setdefault(partition, []).append(timestamp_ms or 0)
        return None if self.log.silent else len(messages) - 1

    async def assign(self, positions: Positions) -> None:
        self.log.trouble("assign")
        self.positions = {partition: at or 0 for partition, at in positions.items()}

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        self.log.trouble("poll")
        found = []
        for partition, at in self.positions.items():
            values = self.log.messages.get(partition, [])
            found += [Message(partition, i, v) for i, v in enumerate(values) if i >= at]
            self.positions[partition] = max(at, len(values))
        if self.log.lost_polls:
            self.log.lost_polls -= 1
            raise OSError("the answer was lost on its way")
        return found

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        self.log.trouble("end_offsets")
        return {p: len(self.log.messages.get(p, [])) for p in partitions}

    async def offsets_for_times(
        self, times: Mapping[Partition, int]
    ) -> Mapping[Partition, tuple[int, int | None] | None]:
        self.log.trouble("offsets_for_times")
        found: dict[Partition, tuple[int, int | None] | None] = {}
        for partition, since in times.items():
            stamps = enumerate(self.log.stamps.get(partition, []))
            found[partition] = next(((at, stamp) for at, stamp in stamps if stamp >= since), None)
        return found

    async def delete_records(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        self.log.trouble("delete_records")
        self.log.starts.update(offsets)
        return offsets

    async def close(self) -> None:
        self.log.closed += 1
