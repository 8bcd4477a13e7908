"""Ranked spans and points beyond corners, by looking at each."""

from __future__ import annotations

import numpy as np

from checkers.linearizable.cover import FREE, greatest, least
from checkers.linearizable.dominance import NOTHING, Points, least_beyond


def spans(rng: np.random.Generator, count: int, moments: int) -> tuple[list[int], list[int]]:
    since = rng.integers(0, moments, count).tolist()
    return since, [int(rng.integers(at + 1, moments + 1)) for at in since]


def test_the_least_rank_of_each_moment_and_the_greatest_of_each_window() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        moments, count = int(rng.integers(1, 40)), int(rng.integers(0, 15))
        since, until = spans(rng, count, moments)
        rank = rng.integers(0, 20, count).astype(np.int32)
        table = least(np.array(since, np.int64), np.array(until, np.int64), rank, moments)
        over = [
            min((rank[i] for i in range(count) if since[i] <= at < until[i]), default=FREE)
            for at in range(moments)
        ]
        assert table.tolist() == over
        begin, end = spans(rng, moments, moments)
        found = greatest(table, np.array(begin, np.int64), np.array(end, np.int64))
        assert found.tolist() == [max(over[a:b]) for a, b in zip(begin, end, strict=True)]
        assert table.tolist() == over


def test_the_least_of_the_points_beyond_each_corner() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        count = int(rng.integers(0, 15))
        points = Points(*(rng.integers(0, 12, count) for _ in range(3)))
        across, along = rng.integers(0, 12, 20), rng.integers(0, 12, 20)
        beyond = [
            min(
                (
                    points.least[i]
                    for i in range(len(points))
                    if points.across[i] > across[at] and points.along[i] >= along[at]
                ),
                default=NOTHING,
            )
            for at in range(20)
        ]
        assert least_beyond(points, across, along).tolist() == beyond
