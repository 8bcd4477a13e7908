"""What a broker is made of: a table, from which a node is built.

A planted bug (`nodes.bugs`) is another table with some of these parts replaced, so that the honest
code holds neither switches nor patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.host.contract import Host
from nodes.broker.api import (
    cluster,
    committed,
    configs,
    fetch,
    groups,
    offsets,
    produce,
    producers,
    topics,
    transactions,
)
from nodes.broker.api.context import Handler
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.controller.machine import Machine
from nodes.broker.fetcher import Fetcher
from nodes.broker.log.log import Log
from nodes.broker.partition import Partition
from nodes.broker.replicas import Replicas
from nodes.broker.wishes import Wishes
from nodes.raft.core import Core
from nodes.raft.storage import Storage

HANDLERS: Mapping[str, Handler] = {
    "AddOffsetsToTxn": transactions.add_offsets_to_txn,
    "AddPartitionsToTxn": transactions.add_partitions_to_txn,
    "ApiVersions": cluster.api_versions,
    "CreatePartitions": topics.create_partitions,
    "CreateTopics": topics.create_topics,
    "DeleteGroups": groups.delete_groups,
    "DeleteRecords": offsets.delete_records,
    "DeleteTopics": topics.delete_topics,
    "DescribeCluster": cluster.describe_cluster,
    "DescribeConfigs": configs.describe_configs,
    "DescribeGroups": groups.describe_groups,
    "DescribeProducers": transactions.describe_producers,
    "DescribeTransactions": transactions.describe_transactions,
    "EndTxn": transactions.end_txn,
    "Fetch": fetch.fetch,
    "FindCoordinator": cluster.find_coordinator,
    "Heartbeat": groups.heartbeat,
    "IncrementalAlterConfigs": configs.incremental_alter_configs,
    "InitProducerId": producers.init_producer_id,
    "JoinGroup": groups.join_group,
    "LeaveGroup": groups.leave_group,
    "ListGroups": groups.list_groups,
    "ListOffsets": offsets.list_offsets,
    "ListTransactions": transactions.list_transactions,
    "Metadata": cluster.metadata,
    "OffsetCommit": committed.offset_commit,
    "OffsetDelete": committed.offset_delete,
    "OffsetFetch": committed.offset_fetch,
    "OffsetForLeaderEpoch": offsets.offset_for_leader_epoch,
    "Produce": produce.produce,
    "SyncGroup": groups.sync_group,
    "TxnOffsetCommit": committed.txn_offset_commit,
    "WriteTxnMarkers": transactions.write_txn_markers,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """By what each does in the node. `handlers`: a request's name → who answers it."""

    handlers: Mapping[str, Handler] = field(default_factory=lambda: HANDLERS)
    controller: type[Controller] = Controller
    machine: type[Machine] = Machine
    core: type[Core] = Core
    storage: type[Storage] = Storage
    replicas: type[Replicas] = Replicas
    partition: type[Partition] = Partition
    log: type[Log] = Log
    fetcher: type[Fetcher] = Fetcher
    wishes: type[Wishes] = Wishes

    def new_controller(self, host: Host, config: NodeConfig, *, clean: bool) -> Controller:
        return self.controller(
            host, config, clean=clean, machine=self.machine, core=self.core, storage=self.storage
        )

    def new_replicas(self, host: Host, config: NodeConfig, controller: Controller) -> Replicas:
        return self.replicas(
            host,
            config,
            controller,
            partition=self.partition,
            log=self.log,
            fetcher=self.fetcher,
            wishes=self.wishes,
        )


PARTS = Parts()


def parts_of(host: Host, bug: str) -> Parts:
    """The parts of a node on `host`: the honest ones, unless a bug is to be planted."""
    if not bug:
        return PARTS
    from nodes import bugs  # which know these parts

    return bugs.find(bug).planted(PARTS, host)
