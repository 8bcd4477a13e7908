"""Snapshots in pieces: cut by the leader, put together by the follower.

A follower keeps what it has when the leader changes: two snapshots of the same size and checksum
after the same entry are the same, whoever sends them.
"""

from __future__ import annotations

from crc32c import crc32c

from nodes.raft.log import Snapshot
from nodes.raft.messages import Piece

PIECE_BYTES = 256 << 10


def cut(snapshot: Snapshot, offset: int, term: int, round: int) -> Piece:
    """The piece from `offset` on."""
    return Piece(
        term=term,
        last_index=snapshot.index,
        last_term=snapshot.term,
        time_ms=snapshot.time_ms,
        size=len(snapshot.data),
        crc=crc32c(snapshot.data),
        offset=offset,
        data=snapshot.data[offset : offset + PIECE_BYTES],
        round=round,
    )


class Incoming:
    """A snapshot as it arrives."""

    def __init__(self) -> None:
        self._key: tuple[int, int, int, int, int] | None = None
        self._data = bytearray()

    def take(self, piece: Piece) -> int | Snapshot:
        """The whole snapshot if this completes it, else how much of it is here."""
        key = (piece.last_index, piece.last_term, piece.time_ms, piece.size, piece.crc)
        if key != self._key:
            self._key, self._data = key, bytearray()
        if piece.offset == len(self._data):
            self._data += piece.data
        if len(self._data) < piece.size:
            return len(self._data)
        data, self._key, self._data = bytes(self._data), None, bytearray()
        if len(data) != piece.size or crc32c(data) != piece.crc:
            return 0  # begin again
        return Snapshot(piece.last_index, piece.last_term, data, piece.time_ms)
