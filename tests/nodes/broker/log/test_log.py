"""A log against a plain list of batches, through appends, cuts, crashes and power failures."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.host.volatile import VolatileDisk
from nodes.broker.log import log as log_module
from nodes.broker.log.batch import Batch, Buffer
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import LogError, OffsetOutOfRange
from nodes.broker.log.log import Log
from nodes.broker.log.producers import Producers
from tests.host.disks import QuickDisk
from tests.host.running import run
from tests.nodes.broker.log.making import batch, decoded, header, placed, records

NOW = 10_000


@pytest.fixture(autouse=True)
def snapshots_of_small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SNAPSHOT_BYTES", 300)


@dataclass(frozen=True, slots=True)
class Stored:
    """One batch of the model, and all that came before it on its branch."""

    header: Batch
    data: bytes
    before: tuple[Stored, ...]


class LogMachine(RuleBasedStateMachine):
    """`stored` is what the log must hold. An epoch never goes on after a cut, as in replication, so
    (offset, epoch) of a batch tells its whole branch."""

    @initialize(
        segment_bytes=st.sampled_from([200, 400, 1000]),
        interval=st.sampled_from([0, 150, 4096]),
    )
    def begin(self, segment_bytes: int, interval: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.disk = VolatileDisk(QuickDisk(Path(self.folder.name)))
        self.config = LogConfig(
            segment_bytes=segment_bytes, index_interval_bytes=interval, segment_ms=60
        )
        self.stored: list[Stored] = []
        self.durable: list[Stored] = []  # the batches that no power failure may take
        self.start = self.durable_start = 0
        self.epoch = 0
        self.sequences: dict[int, int] = {}
        self.branches: dict[tuple[int, int], Stored] = {}
        self.log = self.open()

    def open(self) -> Log:
        return run(Log.open(self.disk, "t-0", self.config, now_ms=NOW))

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.abandon()
            self.folder.cleanup()

    @property
    def end(self) -> int:
        return self.stored[-1].header.next_offset if self.stored else self.base_of_nothing

    base_of_nothing = 0

    def add(self, data: Buffer) -> None:
        stored = Stored(header(bytes(data)), bytes(data), tuple(self.stored))
        self.stored.append(stored)
        key = stored.header.base_offset, stored.header.leader_epoch
        assert key not in self.branches
        self.branches[key] = stored

    # -- what changes it ---------------------------------------------------------------------

    @rule(records=records, more_epochs=st.sampled_from([0, 0, 0, 1]))
    def append_as_leader(self, records: list[tuple[int, bytes]], more_epochs: int) -> None:
        self.epoch += more_epochs
        data = batch(records)
        appended = self.log.append_leader(data, self.epoch, NOW)
        assert appended.base_offset == self.end and not appended.duplicate
        assert appended.last_offset == self.end + len(records) - 1
        assert appended.timestamp == -1
        self.add(data)

    @rule(records=records, producer=st.integers(1, 2), again=st.integers(0, 6))
    def append_as_idempotent_producer(
        self, records: list[tuple[int, bytes]], producer: int, again: int
    ) -> None:
        past = [s.header for s in self.stored if s.header.producer_id == producer]
        if again and len(past) >= again and past[-again].base_offset >= self.start:
            repeated = past[-again]
            data = bytearray(self.stored_at(repeated.base_offset).data)
            if again > 5:
                with pytest.raises(LogError):
                    self.log.append_leader(data, self.epoch, NOW)
                return
            found = self.log.append_leader(data, self.epoch, NOW)
            assert found.duplicate and found.base_offset == repeated.base_offset
            assert found.last_offset == repeated.last_offset
            return
        known = self.log.producers.get(producer)
        sequence = known.last_sequence + 1 if known else 0
        data = batch(records, producer=producer, epoch=0, sequence=sequence)
        assert not self.log.append_leader(data, self.epoch, NOW).duplicate
        self.add(data)

    @rule(drawn=st.lists(records, min_size=1, max_size=3), more_epochs=st.integers(0, 2))
    def append_as_follower(self, drawn: list[list[tuple[int, bytes]]], more_epochs: int) -> None:
        parts, offset = [], self.end
        for number, each in enumerate(drawn):
            epoch = self.epoch + more_epochs * number
            parts.append(placed(batch(each), offset, epoch))
            offset += len(each)
        self.epoch += more_epochs * (len(drawn) - 1)
        self.log.append_follower(b"".join(parts), NOW)
        for part in parts:
            self.add(part)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(self.start, self.end))
        changed = run(self.log.truncate(offset))
        assert changed == (offset < self.end)
        self.stored = [s for s in self.stored if s.header.next_offset <= offset]
        if not self.stored or self.end < self.start:
            # The batch that holds the start went, too: there is nothing, and it begins there.
            self.stored, self.base_of_nothing = [], self.log.end_offset
            assert self.start <= self.base_of_nothing <= offset
        common = [a for a, b in zip(self.durable, self.stored, strict=False) if a is b]
        self.durable = common
        self.epoch += 1

    @rule(data=st.data())
    def delete_before(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(self.start, self.end))
        self.log.delete_before(offset)
        self.start = offset

    @rule(now=st.integers(0, 200), limit=st.sampled_from([-1, 0, 300, 1000]), data=st.data())
    def retain(self, now: int, limit: int, data: st.DataObject) -> None:
        """Segments that are too old or too much go, whole ones, from the front, below the bound."""
        bound = data.draw(st.integers(self.start, self.end))
        self.log.config = LogConfig(retention_ms=50, retention_bytes=limit)
        size = self.log.size
        expected = self.start
        for segment in list(self.log.segments):
            old = 0 <= segment.max_timestamp < now - 50
            much = limit >= 0 and size - segment.size >= limit
            if not segment.size or segment.end > bound or not (old or much):
                break
            size -= segment.size
            expected = max(expected, segment.end)
        self.log.apply_retention(now, bound)
        self.log.config = self.config
        assert self.log.start_offset == expected
        self.start = expected

    @rule()
    def flush(self) -> None:
        run(self.log.flush())
        assert self.log.recovery_point == self.log.settled_end == self.log.end_offset
        self.durable = list(self.stored)

    @rule()
    def checkpoint(self) -> None:
        run(self.log.checkpoint())
        self.durable_start = self.start
        active = self.log.segments.active.base
        self.durable = [
            s for s in self.stored if s in self.durable or s.header.next_offset <= active
        ]

    # -- crashes -----------------------------------------------------------------------------

    @rule()
    def close_and_open(self) -> None:
        run(self.log.close())
        self.durable, self.durable_start = list(self.stored), self.start
        self.log = self.open()
        assert self.log.recovered.verified == 0
        assert self.log.start_offset == self.start
        self.check_rebuilt()

    @rule()
    def kill_and_open(self) -> None:
        """The page cache stays: everything is there; the start may be an earlier one."""
        self.log.abandon()
        self.log = self.open()
        self.check_start()
        assert self.log.end_offset == self.end
        self.check_rebuilt()

    @rule()
    def power_off_and_open(self) -> None:
        """Nothing durable is gone, and what is there is one branch of what there was."""
        self.log.abandon()
        self.disk = VolatileDisk(self.disk.below)
        self.log = self.open()
        found = [
            self.branches[each.base_offset, each.leader_epoch]
            for each in self.log.segments.headers(self.log.segments.base)
        ]
        if found:
            # Batches before the first segment are deleted, and no part of the comparison.
            branch = [*found[-1].before, found[-1]]
            assert found == branch[len(branch) - len(found) :]
            self.stored = branch
        else:
            self.stored, self.base_of_nothing = [], self.log.end_offset
        wanted = [s for s in self.durable if s.header.next_offset > self.log.start_offset]
        assert all(s in found for s in wanted), "what was durable is there"
        self.check_start()
        self.durable = [s for s in self.stored if s in self.durable]
        self.epoch += 1
        self.check_rebuilt()

    def check_start(self) -> None:
        """The start that was checkpointed, or a later one."""
        assert self.durable_start <= self.log.start_offset <= max(self.start, self.durable_start)
        self.start = self.log.start_offset

    def check_rebuilt(self) -> None:
        """Epochs and producers are those of the batches."""
        present = self.present()
        for each in present:
            offset = max(each.header.base_offset, self.start)
            assert self.log.epochs.at(offset) == each.header.leader_epoch
        rebuilt = Producers()
        for each in present:
            rebuilt.append(each.header, NOW)
        for id, producer in rebuilt._by_id.items():
            found = self.log.producers.get(id)
            assert found is not None and found.epoch == producer.epoch
            assert found.batches[-len(producer.batches) :] == producer.batches
        if not self.start:
            assert self.log.producers._by_id.keys() == rebuilt._by_id.keys()

    # -- what is seen of it ------------------------------------------------------------------

    def present(self) -> list[Stored]:
        return [s for s in self.stored if s.header.next_offset > self.start]

    def stored_at(self, offset: int) -> Stored:
        return next(s for s in self.stored if s.header.base_offset <= offset < s.header.next_offset)

    @rule(
        data=st.data(),
        max_bytes=st.sampled_from([0, 1, 100, 250, 10_000]),
        at_least_one=st.booleans(),
    )
    def read(self, data: st.DataObject, max_bytes: int, at_least_one: bool) -> None:
        offset = data.draw(st.integers(self.start - 1, self.end + 1))
        upto = data.draw(st.integers(self.start, self.end + 1))
        if not self.start <= offset <= self.end:
            with pytest.raises(OffsetOutOfRange):
                self.log.read(offset, max_bytes, upto)
            return
        found = self.log.read(offset, max_bytes, upto, at_least_one=at_least_one)
        bases = {segment.base for segment in self.log.segments}
        expected = b""
        for each in self.present():
            if each.header.next_offset <= offset:
                continue
            if each.header.next_offset > upto or (expected and each.header.base_offset in bases):
                break
            if len(expected) + len(each.data) > max_bytes and (expected or not at_least_one):
                break
            expected += each.data
        if upto <= offset:
            expected = b""
        assert found == expected

    @rule(timestamp=st.integers(0, 110))
    def find_time(self, timestamp: int) -> None:
        expected = next(
            (
                (time, offset, each.header.leader_epoch)
                for each in self.present()
                for offset, time, _ in decoded(each.data)
                if time >= timestamp and offset >= self.start
            ),
            None,
        )
        assert self.log.offset_for_time(timestamp) == expected

    @rule()
    def find_newest(self) -> None:
        times = [
            (time, -offset, each.header.leader_epoch)
            for each in self.present()
            for offset, time, _ in decoded(each.data)
            if offset >= self.start
        ]
        newest = max(times, default=None)
        expected = None if newest is None else (newest[0], -newest[1], newest[2])
        assert self.log.max_timestamp() == expected

    @rule(epoch=st.integers(0, 40))
    def find_end_of_epoch(self, epoch: int) -> None:
        present = self.present()
        if not present or epoch < present[0].header.leader_epoch:
            return
        epochs = [each.header.leader_epoch for each in present]
        if epoch > epochs[-1]:
            expected = -1, -1
        else:
            later = [s.header.base_offset for s in present if s.header.leader_epoch > epoch]
            expected = max(e for e in epochs if e <= epoch), min(later, default=self.end)
        assert self.log.end_of_epoch(epoch) == expected

    @invariant()
    def it_is_whole(self) -> None:
        if not hasattr(self, "log"):
            return
        self.log._check()
        assert (self.log.start_offset, self.log.end_offset) == (self.start, self.end)


LogMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, report_multiple_bugs=False
)
TestAnyLife = LogMachine.TestCase
