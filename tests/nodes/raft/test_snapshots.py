"""A follower that is too far behind gets the state instead of the entries, in pieces."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nodes.raft import pieces
from nodes.raft.core import Core
from nodes.raft.log import Snapshot
from nodes.raft.messages import Piece, PieceReply
from nodes.raft.pieces import Incoming, cut
from tests.nodes.raft.world import CONFIG, World

SNAPSHOT = Snapshot(7, 3, bytes(range(200)), 99)


def all_pieces(snapshot: Snapshot) -> list[Piece]:
    offsets = range(0, max(len(snapshot.data), 1), pieces.PIECE_BYTES)
    return [cut(snapshot, offset, 5, 1) for offset in offsets]


def test_pieces_in_order_make_the_snapshot() -> None:
    incoming = Incoming()
    found = [incoming.take(piece) for piece in all_pieces(SNAPSHOT)]
    assert found == [64, 128, 192, SNAPSHOT]


def test_an_empty_snapshot_is_one_piece() -> None:
    assert Incoming().take(cut(Snapshot(7, 3), 0, 5, 1)) == Snapshot(7, 3)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_pieces_in_any_order_and_number_make_the_snapshot_or_none(order: list[int]) -> None:
    incoming, sent = Incoming(), all_pieces(SNAPSHOT)
    for number in order:
        found = incoming.take(sent[number])
        if isinstance(found, Snapshot):
            assert found == SNAPSHOT
        else:
            assert found % 64 == 0


def test_pieces_of_two_leaders_go_together_if_the_snapshot_is_the_same() -> None:
    incoming, sent = Incoming(), all_pieces(SNAPSHOT)
    assert incoming.take(sent[0]) == 64
    assert incoming.take(cut(SNAPSHOT, 64, term=6, round=9)) == 128
    other = Snapshot(7, 3, bytes(200), 99)
    assert incoming.take(cut(other, 128, 7, 1)) == 0, "this one is not the same"


def test_a_snapshot_that_is_not_what_was_cut_begins_anew() -> None:
    wrong = Piece(5, 7, 3, 99, 3, crc32c(b"abc"), 0, b"abd", 1)
    assert Incoming().take(wrong) == 0
    long = Piece(5, 7, 3, 99, 3, crc32c(b"abc"), 0, b"abcd", 1)
    assert Incoming().take(long) == 0


# -- in a cluster --------------------------------------------------------------------------------


def lagging(world: World) -> tuple[Core, int]:
    """A leader that has compacted what the other host lacks."""
    leader = world.lead()
    behind = next(id for id in world.voters if id != leader.id)
    world.isolate(behind)
    for number in range(30):
        world.command(leader, b"command %d" % number)
        world.settle()
    world.compact(leader.id)
    world.heal()
    assert len(leader.log.snapshot.data) > 2 * pieces.PIECE_BYTES
    return leader, behind


def test_a_follower_that_lacks_compacted_entries_is_sent_the_snapshot() -> None:
    world = World(seed=1)
    leader, behind = lagging(world)
    world.calm(3 * CONFIG.heartbeat)
    assert world.hosts[behind].core is not None
    assert world.hosts[behind].disk.snapshot == leader.log.snapshot
    proposal = world.command(leader, b"more")
    world.calm(CONFIG.heartbeat)
    assert proposal.result == 31
    world.check_replay()


def test_lost_pieces_are_sent_again() -> None:
    world = World(seed=1)
    leader, behind = lagging(world)
    for _ in range(40 * CONFIG.patience):
        for id in world.voters:
            world.tick(id)
        world.packets = [
            packet
            for packet in world.packets
            if not isinstance(packet.message, Piece | PieceReply) or world.rng.random() < 0.5
        ]
        world.settle()
    assert world.hosts[behind].register.commands == world.hosts[leader.id].register.commands


def test_a_follower_that_restarts_meanwhile_begins_anew() -> None:
    world = World(seed=1)
    leader, behind = lagging(world)
    for _ in range(CONFIG.heartbeat):
        world.tick(leader.id)
    for _ in range(3):
        world.hand(leader.id, behind)
        world.finish_disk(leader.id)
        world.hand(behind, leader.id)
    follower = leader._leading.followers[behind] if leader._leading else None
    assert follower is not None and follower.snapshot is not None and follower.offset > 0
    world.crash(behind)
    world.restart(behind)
    world.calm(4 * CONFIG.patience)
    assert world.hosts[behind].register.commands == world.hosts[leader.id].register.commands


def test_doubled_messages_do_not_multiply_the_stream() -> None:
    world = World(seed=1)
    leader, behind = lagging(world)
    count = 0
    for _ in range(3 * CONFIG.heartbeat):
        for id in world.voters:
            world.tick(id)
        while world.packets or any(host.saving for host in world.hosts.values()):
            for id in world.voters:
                world.finish_disk(id)
            now, world.packets = world.packets, []
            for packet in now:
                count += isinstance(packet.message, Piece)
                world.deliver(packet)
                world.deliver(packet)
    needed = -(-len(leader.log.snapshot.data) // pieces.PIECE_BYTES)
    assert needed <= count <= 2 * needed + 2
    assert world.hosts[behind].disk.snapshot.index > 0


def test_the_rest_of_a_log_that_agrees_with_the_snapshot_stays() -> None:
    """What the follower has beyond the snapshot it has acknowledged: it must not be lost."""
    world = World(seed=1)
    leader = world.lead()
    follower = world.hosts[leader.id % 3 + 1]
    assert follower.core is not None
    for number in range(10):
        world.command(leader, b"%d" % number)
    world.settle()
    snapshot = Snapshot(5, follower.core.log.term(5) or 0, b"unused", 0)
    follower.core.commit = follower.core.applied = 3
    follower.core.receive(leader.id, cut(snapshot, 0, leader.term, 1))
    ready = follower.core.take()
    assert ready is not None and ready.snapshot is None
    assert (follower.core.commit, follower.core.log.last_index) == (5, leader.log.last_index)


@pytest.mark.parametrize("index", [1, 8, 9])
def test_no_snapshot_is_made_of_what_is_not_applied_or_is_compacted(index: int) -> None:
    world = World(seed=1)
    leader = world.lead()
    for number in range(8):
        world.command(leader, b"%d" % number)
    world.settle()
    world.compact(leader.id)
    assert leader.compact(min(index, leader.log.snapshot.index), b"") is None
    with pytest.raises(AssertionError):
        leader.compact(leader.log.snapshot.index + index, b"")
