"""Typed options of workloads and systems."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.workload import Options, parse_options


class Some(Options, frozen=True):
    """Options of this test."""

    max_txn: int = 4
    acks: str = "all"
    unclean: bool = False
    pause_s: float | None = None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Some()),
        ({"max-txn": "7"}, Some(max_txn=7)),
        ({"acks": "1", "unclean": "true"}, Some(acks="1", unclean=True)),
        ({"pause-s": "0.5"}, Some(pause_s=0.5)),
        ({"pause-s": "null"}, Some()),
        ({"max-txn": 7, "unclean": False}, Some(max_txn=7)),
    ],
)
def test_options_are_read_from_text_and_from_values(given: dict[str, Any], expected: Some) -> None:
    assert parse_options(Some, given) == expected


@pytest.mark.parametrize(
    "given", [{"max_txn": "7"}, {"colour": "red"}, {"max-txn": "many"}, {"unclean": "perhaps"}]
)
def test_options_that_are_none_are_refused_with_those_that_are(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="known options: max-txn=4, acks='all', unclean=False"):
        parse_options(Some, given)
