"""A marker into a partition that this broker leads."""

from __future__ import annotations

from nodes.broker.coordinator.group_records import GroupsState
from nodes.broker.coordinator.markers import TIMEOUT_S, Ending
from nodes.broker.coordinator.records import Producer
from nodes.broker.coordinator.shards import Shards
from nodes.broker.coordinator.topics import GROUPS
from nodes.broker.coordinator.transaction import Place
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.log.transactions import Marker
from nodes.broker.replicas import Replicas


class Appending:
    """`groups` is told what ends in its partitions."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.groups: Shards[GroupsState] | None = None

    async def __call__(self, ending: Ending, place: Place) -> Code:
        """What became of it; NONE when it is on all replicas that are in sync."""
        marker = Marker(ending.committed, ending.coordinator_epoch)
        try:
            partition = self._replicas.get(*place)
            epoch = partition.state.leader_epoch
            if place[0] == GROUPS.name and self.groups is not None:
                producer = Producer(ending.producer_id, ending.epoch)
                last = self.groups.numbered(place[1]).end(producer, marker)
            else:
                last = partition.append_marker(ending.producer_id, ending.epoch, marker).last_offset
            return await partition.settle(last, epoch, TIMEOUT_S)
        except (BrokerError, LogError) as error:
            return Code(error.code)
        except OSError:
            return Code.KAFKA_STORAGE_ERROR
