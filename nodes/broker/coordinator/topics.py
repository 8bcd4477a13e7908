"""Internal topics, and which of their partitions keeps what.

The broker that leads the partition in which a name is kept is the name's coordinator. A topic is
made when somebody first asks for one of its coordinators.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.broker.config import NodeConfig
from nodes.broker.controller.commands import CreateTopic
from nodes.broker.controller.controller import Controller
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState


@dataclass(frozen=True, slots=True)
class Internal:
    """An internal topic, and the broker's options that say how it is made."""

    name: str
    partitions: str
    replication_factor: str
    min_isr: str = ""

    def command(self, config: NodeConfig) -> CreateTopic:
        configs = {"cleanup.policy": "compact", "segment.bytes": str(100 << 20)}
        if self.min_isr:
            configs["min.insync.replicas"] = str(config.ms(self.min_isr))
        count, factor = config.ms(self.partitions), config.ms(self.replication_factor)
        return CreateTopic(self.name, count, factor, configs)


GROUPS = Internal(
    "__consumer_offsets", "offsets.topic.num.partitions", "offsets.topic.replication.factor"
)
TRANSACTIONS = Internal(
    "__transaction_state",
    "transaction.state.log.num.partitions",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
)
INTERNAL = frozenset({GROUPS.name, TRANSACTIONS.name})
"""Clients read them, and write nothing into them."""


def place_of(image: MetadataImage, topic: Internal, name: str) -> PartitionState:
    """The partition that keeps `name`.

    Raises:
        BrokerError: COORDINATOR_NOT_AVAILABLE, the topic is not there.
    """
    state = image.topics.get(topic.name)
    if state is None:
        raise BrokerError(Code.COORDINATOR_NOT_AVAILABLE, f"there is no {topic.name} yet")
    return state.partitions[number_of(name, len(state.partitions))]


def number_of(name: str, count: int) -> int:
    """As Kafka does it: the hash that Java has of a string, made positive, by the number."""
    return (java_hash(name) & 0x7FFFFFFF) % count


def java_hash(text: str) -> int:
    """`String.hashCode` of Java, over UTF-16 units; 32 bits with a sign."""
    found = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        found = (31 * found + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
    return found - (1 << 32) if found >> 31 else found


async def made(controller: Controller, config: NodeConfig, topic: Internal) -> None:
    """Have the topic, if it is not there.

    Raises:
        BrokerError: COORDINATOR_NOT_AVAILABLE, for it cannot be made now.
    """
    if topic.name in controller.image.topics:
        return
    try:
        await controller.submit(topic.command(config))
    except BrokerError as error:
        if error.code is not Code.TOPIC_ALREADY_EXISTS:
            text = f"{topic.name} cannot be made: {error}"
            raise BrokerError(Code.COORDINATOR_NOT_AVAILABLE, text) from error
