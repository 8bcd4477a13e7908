"""The high watermarks of a broker's replicas, stored from time to time.

    logs/high-watermarks   {"TOPIC ID/PARTITION": [high watermark, epoch of the batch before it]}

One that is too low costs a moment, one that is too high shows consumers what may be lost. So it is
believed only of the same topic (not of another of its name) and on the same branch of its log (an
unclean election may have replaced it): offset and epoch of a batch tell all that is before it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.host.contract import Disk
from nodes.broker.log.log import Log
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition

FILE = "logs/high-watermarks"
_Mark = tuple[int, int]


class Watermarks:
    """What was stored last."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._stored: dict[str, _Mark] = {}

    def load(self) -> None:
        """Raises OSError. A file that is no such file counts as none."""
        if self._disk.exists(FILE):
            try:
                self._stored = msgspec.json.decode(self._disk.read(FILE), type=dict[str, _Mark])
            except msgspec.MsgspecError:
                self._stored = {}

    def of(self, state: PartitionState, log: Log) -> int:
        """The high watermark with which this log begins."""
        hw, epoch = self._stored.get(_name(state), (0, -1))
        ours = log.start_offset < hw <= log.end_offset and log.epochs.at(hw - 1) == epoch
        return hw if ours else log.start_offset

    async def store(self, partitions: Iterable[Partition]) -> None:
        """Durably, if anything has changed. Raises OSError."""
        marks = {_name(p.state): (p.hw, p.log.epochs.at(p.hw - 1)) for p in partitions}
        if marks != self._stored:
            await self._disk.replace(FILE, msgspec.json.encode(marks))
            self._stored = marks


def _name(state: PartitionState) -> str:
    return f"{state.topic_id}/{state.partition}"
