"""Names are kept where Kafka's clients and tools expect them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.broker.coordinator.topics import java_hash, number_of


@pytest.mark.parametrize(
    ("text", "hash"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("Aa", 2112),
        ("BB", 2112),
        ("polygenelubricants", -(2**31)),
        ("\N{PILE OF POO}", 0xD83D * 31 + 0xDCA9),
    ],
)
def test_a_hash_is_the_one_that_java_has(text: str, hash: int) -> None:
    assert java_hash(text) == hash


@given(st.text(), st.integers(1, 100))
def test_every_name_has_a_place(name: str, count: int) -> None:
    assert 0 <= number_of(name, count) < count
    assert -(2**31) <= java_hash(name) < 2**31
