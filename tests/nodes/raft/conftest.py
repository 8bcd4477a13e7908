"""Snapshots of a few bytes are to be sent in several pieces, too."""

from __future__ import annotations

import pytest

from nodes.raft import pieces


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 64)
