"""A seed decides a run; what is fixed changes nothing else."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from harness.cli import parser
from harness.errors import UsageError
from harness.explore.drawing import KNOBS, NEMESES, draw

BASE = ["run", "log", "--cluster", "sim", "--rate", "50", "--time-limit", "10"]


def base(*more: str) -> argparse.Namespace:
    return parser().parse_args([*BASE, *more])


@pytest.mark.parametrize("seed", range(10))
def test_a_seed_draws_the_same_again(seed: int) -> None:
    assert draw(base(), seed, {}) == draw(base(), seed, {})


def test_seeds_draw_every_fault_every_size_and_weak_settings_too() -> None:
    drawn = [draw(base(), seed, {})[1] for seed in range(120)]
    mixes = Counter(name for knobs in drawn for name in knobs["nemesis"].split(","))
    assert set(mixes) == set(NEMESES)
    assert {knobs["nodes"] for knobs in drawn} >= {"1", "2", "3", "5"}
    assert {knobs["acks"] for knobs in drawn} == {"0", "1", "all"}


@pytest.mark.parametrize("seed", range(10))
def test_what_is_fixed_leaves_all_other_knobs_as_they_were(seed: int) -> None:
    _, free = draw(base(), seed, {})
    _, fixed = draw(base(), seed, {"sends-per-op": "2"})
    assert fixed == {**free, "sends-per-op": "2"}


def test_what_is_drawn_stands_in_the_arguments() -> None:
    arguments, knobs = draw(base(), 5, {"nodes": "3", "nemesis": "kill", "acks": "1"})
    assert (arguments.nodes, arguments.nemesis) == (3, "kill")
    assert "acks=1" in arguments.options
    assert f"sim.latency-us={knobs['sim.latency-us']}" in arguments.options
    assert knobs.keys() >= KNOBS.keys()


def test_an_option_of_the_command_line_is_not_drawn_over() -> None:
    arguments, _ = draw(base("-o", "partitions=3"), 5, {})
    assert [o for o in arguments.options if o.startswith("partitions=")] == ["partitions=3"]


def test_draws_that_contradict_what_is_fixed_are_drawn_anew_or_refused() -> None:
    for seed in range(20):
        _, knobs = draw(base(), seed, {"nemesis": "power", "nodes": "3"})
        assert knobs["min-insync-replicas"] != "1" or knobs["flush-messages"] == "1"
    with pytest.raises(UsageError, match="nothing that can be drawn fits"):
        draw(base(), 1, {"acks": "2"})
