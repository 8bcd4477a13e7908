"""Grudges, checked as properties."""

from __future__ import annotations

from random import Random

import pytest

from harness.errors import UsageError
from harness.nemesis import View
from nemeses.grudges import GRUDGES, Lists, grudge, isolate
from nemeses.targets import majority

SEEDS = range(20)


def view(count: int) -> View:
    nodes = tuple(f"n{i}" for i in range(1, count + 1))
    return View(nodes=nodes, clients=("c1", "c2"), leaders={"n2": 3}, controller="n1")


def hears(cut: Lists, listener: str, speaker: str) -> bool:
    return speaker not in cut.get(listener, [])


NEED_THREE = ("majority", "majorities-ring")
NAMES_AND_COUNTS = [
    (name, count) for name in GRUDGES for count in range(3 if name in NEED_THREE else 2, 8)
]
TWO_SIDED = ("halves", "one", "majority", "leader", "controller")


@pytest.mark.parametrize(("name", "count"), NAMES_AND_COUNTS)
def test_a_grudge_cuts_something_and_nobody_from_himself(name: str, count: int) -> None:
    for seed in SEEDS:
        cut = grudge(name, view(count), Random(seed))
        assert cut and all(cut.values())
        for listener, senders in cut.items():
            assert listener not in senders
            assert len(set(senders)) == len(senders)


@pytest.mark.parametrize("name", NEED_THREE)
def test_a_majority_of_two_is_both_and_has_nobody_to_be_cut_off_from(name: str) -> None:
    assert all(grudge(name, view(2), Random(seed)) == {} for seed in SEEDS)


@pytest.mark.parametrize("name", sorted(GRUDGES.keys() - {"client-from-leader"}))
def test_a_single_node_cannot_be_cut_from_any(name: str) -> None:
    alone = View(nodes=("n1",), clients=("c1",))
    assert all(grudge(name, alone, Random(seed)) == {} for seed in SEEDS)


@pytest.mark.parametrize(("name", "count"), [nc for nc in NAMES_AND_COUNTS if nc[0] in TWO_SIDED])
def test_two_sides_cannot_hear_each_other_and_hear_themselves(name: str, count: int) -> None:
    for seed in SEEDS:
        cut = grudge(name, view(count), Random(seed))
        nodes = view(count).nodes
        sides = {frozenset(b for b in nodes if hears(cut, a, b)) for a in nodes}
        assert len(sides) == 2
        assert sorted(n for side in sides for n in side) == sorted(nodes)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_on_a_majorities_ring_each_hears_a_majority_and_no_two_the_same(count: int) -> None:
    for seed in SEEDS:
        cut = grudge("majorities-ring", view(count), Random(seed))
        nodes = view(count).nodes
        heard = [frozenset(b for b in nodes if hears(cut, a, b)) for a in nodes]
        assert all(len(group) >= majority(count) for group in heard)
        assert len(set(heard)) == count


@pytest.mark.parametrize("count", [4, 5, 7])
def test_from_four_nodes_on_hearing_on_a_majorities_ring_is_mutual(count: int) -> None:
    for seed in SEEDS:
        cut = grudge("majorities-ring", view(count), Random(seed))
        nodes = view(count).nodes
        assert all(hears(cut, a, b) == hears(cut, b, a) for a in nodes for b in nodes)


def test_a_bridge_has_one_node_that_all_hear_and_that_hears_all() -> None:
    for seed in SEEDS:
        cut = grudge("bridge", view(5), Random(seed))
        nodes = view(5).nodes
        bridges = [n for n in nodes if all(hears(cut, n, m) and hears(cut, m, n) for m in nodes)]
        assert len(bridges) == 1


def test_one_way_leaves_the_other_direction_open() -> None:
    for seed in SEEDS:
        cut = grudge("one-way", view(3), Random(seed))
        for listener, senders in cut.items():
            assert all(hears(cut, sender, listener) for sender in senders)


def test_a_client_is_cut_from_the_leader_only() -> None:
    for seed in SEEDS:
        cut = grudge("client-from-leader", view(3), Random(seed))
        (client,) = cut["n2"]
        assert cut == {client: ["n2"], "n2": [client]}
        assert client in ("c1", "c2")


def test_the_same_seed_gives_the_same_grudge() -> None:
    for name in GRUDGES:
        assert grudge(name, view(5), Random(7)) == grudge(name, view(5), Random(7))


def test_a_node_in_two_groups_is_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="two groups"):
        isolate(["n1"], ["n1", "n2"])


def test_an_unknown_way_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="'sideways' is no way to partition; ways: halves"):
        grudge("sideways", view(3), Random(0))
