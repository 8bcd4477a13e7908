"""Lossy faults stay inside the contract, checked against every order of events."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.nemesis import View
from nemeses.losses import Losses, losses_max

NODES = ("n1", "n2", "n3", "n4", "n5")


def view(epochs: dict[str, int], in_sync: list[str]) -> View:
    return View(NODES, ("c1",), facts={"epochs": epochs, "in_sync": in_sync})


CALM = view(dict.fromkeys(NODES, 1), list(NODES))


def test_no_more_nodes_are_hit_than_may_be() -> None:
    for most in (1, 2, 4):
        hit = Losses(most).choose(NODES, CALM, Random(0))
        assert len(hit) == most
        assert hit == [node for node in NODES if node in hit]


def test_where_nothing_can_be_lost_all_are_hit() -> None:
    assert Losses(None).choose(NODES, CALM, Random(0)) == list(NODES)


def test_a_node_counts_until_it_has_registered_anew_and_is_in_sync() -> None:
    losses = Losses(1)
    losses.note(["n1"], CALM)
    as_before = CALM
    registered = view({**dict.fromkeys(NODES, 1), "n1": 9}, list(NODES[1:]))
    back = view({**dict.fromkeys(NODES, 1), "n1": 9}, list(NODES))
    for seen in (as_before, registered):
        assert losses.weak(seen) == ["n1"]
        assert losses.choose(["n2", "n3"], seen, Random(0)) == []
    assert losses.weak(back) == []
    assert losses.choose(["n2"], back, Random(0)) == ["n2"]


def test_a_weak_node_may_be_hit_again() -> None:
    losses = Losses(1)
    losses.note(["n1"], CALM)
    assert losses.choose(["n1", "n2"], CALM, Random(0)) == ["n1"]


def test_a_system_that_tells_nothing_gets_no_second_victim() -> None:
    losses, dark = Losses(1), View(NODES, ("c1",))
    losses.note(losses.choose(["n2"], dark, Random(0)), dark)
    assert losses.choose(["n1", "n3"], dark, Random(0)) == []


EVENTS = st.lists(
    st.tuples(st.sampled_from(["hit", "register", "sync", "look"]), st.sampled_from(NODES)),
    max_size=60,
)


@given(events=EVENTS, most=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_never_are_more_nodes_weak_than_may_be(
    events: list[tuple[str, str]], most: int, seed: int
) -> None:
    """The oracle knows each node's true state; the view is only what was looked at last."""
    losses, rng = Losses(most), Random(seed)
    epochs, in_sync, truly_weak = dict.fromkeys(NODES, 1), set(NODES), set[str]()
    seen: View = view(dict(epochs), sorted(in_sync))
    clock = 1
    for what, node in events:
        match what:
            case "hit":
                hit = losses.choose([node, *rng.sample(NODES, 2)], seen, rng)
                losses.note(hit, seen)
                seen = view(dict(epochs), sorted(in_sync))
                losses.confirm(hit, seen)
                truly_weak |= set(hit)
            case "register" if node in truly_weak:
                clock += 1
                epochs[node] = clock
                in_sync.discard(node)  # an unclean restart leaves every ISR
            case "sync" if node in truly_weak and epochs[node] > 1 and node not in in_sync:
                in_sync.add(node)
                truly_weak.discard(node)
            case "look":
                seen = view(dict(epochs), sorted(in_sync))
        assert len(truly_weak) <= most


@pytest.mark.parametrize(
    ("promises", "expected"),
    [
        ({"min-insync-replicas": 2}, 1),
        ({"min-insync-replicas": 3, "flush-messages": None}, 2),
        ({"min-insync-replicas": 1}, 0),
        ({"min-insync-replicas": 1, "flush-messages": 1}, None),
        ({"min-insync-replicas": 2, "flush-messages": 10}, 1),
        ({}, 0),
    ],
)
def test_how_many_may_be_weak_follows_from_the_promises(
    promises: dict[str, Any], expected: int | None
) -> None:
    assert losses_max(promises) == expected


def test_a_fault_that_could_never_happen_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="give -o min-insync-replicas=2"):
        Losses(0)
