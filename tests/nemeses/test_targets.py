"""Who is hit, checked as properties."""

from __future__ import annotations

from random import Random

import pytest

from harness.errors import UsageError
from harness.nemesis import View
from nemeses.targets import SYMBOLS, choose, majority


def view(count: int, **more: object) -> View:
    nodes = tuple(f"n{i}" for i in range(1, count + 1))
    return View(nodes=nodes, clients=("c1", "c2"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", SYMBOLS)
@pytest.mark.parametrize("count", range(1, 8))
def test_every_target_is_some_nodes_in_the_clusters_order(target: str, count: int) -> None:
    for seed in range(20):
        picked = choose(target, view(count), Random(seed))
        assert picked
        assert list(picked) == [n for n in view(count).nodes if n in picked]


@pytest.mark.parametrize("count", range(1, 8))
def test_a_minority_and_a_majority_are_what_they_are_called(count: int) -> None:
    for seed in range(20):
        assert len(choose("majority", view(count), Random(seed))) == majority(count)
        minority = choose("minority", view(count), Random(seed))
        assert len(minority) < majority(count) or count == 1


def test_the_leader_is_the_node_that_leads_most() -> None:
    busy = view(3, leaders={"n1": 1, "n2": 4, "n3": 2}, controller="n3")
    for seed in range(10):
        assert choose("leader", busy, Random(seed)) == ("n2",)
        assert choose("controller", busy, Random(seed)) == ("n3",)


def test_when_nobody_knows_the_leader_somebody_is_hit_all_the_same() -> None:
    hit = {choose("leader", view(3), Random(seed)) for seed in range(50)}
    assert hit == {("n1",), ("n2",), ("n3",)}


def test_nodes_can_be_named() -> None:
    assert choose("n3+n1", view(3), Random(0)) == ("n1", "n3")


def test_an_unknown_target_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="'n9' is neither a target nor a node; targets: one"):
        choose("n1+n9", view(3), Random(0))
