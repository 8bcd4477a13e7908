"""Each run's network is in a subnet of its own, also when two runs choose at once."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from docker.errors import APIError
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster import networks
from harness.cluster.networks import ATTEMPTS, SUBNETS, candidates, make_network
from harness.errors import EnvironmentFailure

BENCHMARKS = IPv4Network("198.18.0.0/16")


class Engine:
    """An engine that has some networks, of which it tells only the `known` ones."""

    def __init__(self, has: list[str], known: list[str]) -> None:
        self.has, self.known = [IPv4Network(each) for each in has], known
        self.networks = self

    def list(self) -> list[Any]:
        return [_Network({"IPAM": {"Config": [{"Subnet": each}]}}) for each in self.known]

    def create(self, name: str, *, ipam: Any, **more: Any) -> None:
        wanted = IPv4Network(ipam["Config"][0]["Subnet"])
        if name == "refused":
            raise APIError("no room on the device")
        if any(wanted.overlaps(each) for each in self.has):
            raise APIError("Pool overlaps with other one on this address space")
        self.has.append(wanted)


class _Network:
    def __init__(self, attrs: dict[str, Any]) -> None:
        self.attrs = attrs


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.routes, "guard", lambda subnet: None)


@given(st.lists(st.sampled_from(SUBNETS), max_size=300))
def test_candidates_are_free_and_different(used: list[IPv4Network]) -> None:
    found = candidates(used)
    free = len(SUBNETS) - len(set(used))
    assert len(set(found)) == len(found) == min(ATTEMPTS, free)
    assert not set(found) & set(used)
    assert all(subnet.subnet_of(BENCHMARKS) and subnet.prefixlen == 24 for subnet in found)


def test_what_somebody_else_uses_whole_leaves_nothing() -> None:
    assert candidates([IPv4Network("198.0.0.0/8")]) == []
    with pytest.raises(EnvironmentFailure, match="no subnet"):
        make_network(Engine([], ["198.18.0.0/15"]), "n", labels={})


def test_the_loser_of_a_race_takes_another_subnet() -> None:
    taken = [str(subnet) for subnet in SUBNETS if subnet != SUBNETS[7]]
    engine = Engine(taken[:-5], known=taken[:-10])
    made = make_network(engine, "n", labels={})
    assert made in engine.has and str(made) not in taken[:-5]


def test_networks_of_other_kinds_are_no_hindrance() -> None:
    assert make_network(Engine([], ["fd00::/64", "172.17.0.0/16"]), "n", labels={}) in SUBNETS


def test_another_refusal_is_passed_on() -> None:
    with pytest.raises(APIError, match="no room"):
        make_network(Engine([], []), "refused", labels={})
