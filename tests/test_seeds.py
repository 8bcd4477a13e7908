"""Chance depends on the seed and the consumer's name, and on nothing else."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from harness import seeds

names = st.lists(st.text(max_size=4) | st.integers(-9, 9), max_size=3)
DRAWS = """
from harness import seeds
print(seeds.draw(7, "network", "n1", 0), seeds.stream(7, "nemesis").random())
"""


@given(st.integers(0, 2**63), names)
def test_a_draw_repeats(seed: int, path: list[object]) -> None:
    assert seeds.draw(seed, *path) == seeds.draw(seed, *path)
    assert 0 <= seeds.draw(seed, *path) < 2**64


@given(st.integers(0, 2**31), names)
def test_a_stream_repeats_whatever_others_drew(seed: int, path: list[object]) -> None:
    alone = seeds.stream(seed, *path)
    other, among = seeds.stream(seed, *path, "other"), seeds.stream(seed, *path)
    for _ in range(5):
        other.random()
        assert alone.random() == among.random()


def test_streams_of_other_seeds_and_names_differ() -> None:
    paths: list[tuple[object, ...]] = [(), ("a",), ("b",), ("a", 0), ("a", 1)]
    draws = {seeds.draw(seed, *path) for seed in (1, 2, 12) for path in paths}
    assert len(draws) == 3 * len(paths)


def test_draws_are_spread_evenly() -> None:
    """A thousand draws, sixteen bins: each bin within five standard deviations of its mean."""
    bins = [0] * 16
    for ordinal in range(1000):
        bins[seeds.draw(1729, "network", "n1", ordinal) >> 60] += 1
    assert all(abs(count - 62.5) < 5 * 7.7 for count in bins)


def test_draws_do_not_depend_on_the_hash_seed() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", DRAWS],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("0", "1", "12345")
    }
    expected = f"{seeds.draw(7, 'network', 'n1', 0)} {seeds.stream(7, 'nemesis').random()}\n"
    assert printed == {expected}


def test_a_fresh_seed_is_small_enough_to_type() -> None:
    fresh = {seeds.fresh() for _ in range(50)}
    assert len(fresh) > 45 and all(0 <= seed < 2**31 for seed in fresh)
