"""What nodes are told of their surroundings leads where it says."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.contract import Address, NodeSpec
from harness.cluster.layout import Plan, spread_out, wire_up


def plans() -> st.SearchStrategy[Plan]:
    def plan(nodes: int, clients: int, peers: int) -> Plan:
        return Plan(
            [f"n{n}" for n in range(1, nodes + 1)],
            [f"c{n}" for n in range(1, clients + 1)],
            ["peer", "raft"][:peers],
            lambda node: f"/somewhere/{node}/data",
            seed=7,
            more={"disk": "volatile", "options": {"a": 1}, "python": "python3"},
        )

    return st.builds(plan, st.integers(1, 5), st.integers(1, 3), st.integers(0, 2))


@given(plans())
def test_every_wire_leads_from_what_its_source_dials_to_what_its_target_binds(plan: Plan) -> None:
    numbers = itertools.count(10_000)
    wires, specs = wire_up(plan, lambda: Address("127.0.0.1", next(numbers)))
    by_listen = {wire.listen: wire for wire in wires}
    dialled = 0
    for a, b in itertools.permutations(plan.nodes, 2):
        for port in plan.peer_ports:
            wire = by_listen[specs[a].peers[b][port]]
            assert (wire.source, wire.target) == (a, b)
            assert wire.upstream == specs[b].bind[port]
            dialled += 1
    for host, node in itertools.product(plan.clients, plan.nodes):
        wire = by_listen[specs[node].advertised[host]]
        assert (wire.source, wire.target) == (host, node)
        assert wire.upstream == specs[node].bind[host]
        dialled += 1
    assert dialled == len(wires) == len(by_listen) == len({wire.name for wire in wires})
    _check_what_all_are_told(plan, specs)
    bound = [address for spec in specs.values() for address in spec.bind.values()]
    assert len({*bound, *by_listen}) == len(bound) + len(by_listen), "an address has one use"


@given(plans())
def test_nodes_with_addresses_of_their_own_are_dialled_where_they_bind(plan: Plan) -> None:
    addresses = {node: f"198.18.1.{number}" for number, node in enumerate(plan.nodes, start=11)}
    specs = spread_out(plan, addresses)
    for node, spec in specs.items():
        assert {address.host for address in spec.bind.values()} == {addresses[node]}
        assert len({address.port for address in spec.bind.values()}) == len(plan.ports)
        assert all(spec.advertised[host] == spec.bind[host] for host in plan.clients)
        for other, ports in spec.peers.items():
            assert ports == {port: specs[other].bind[port] for port in plan.peer_ports}
    _check_what_all_are_told(plan, specs)


def _check_what_all_are_told(plan: Plan, specs: Mapping[str, NodeSpec]) -> None:
    assert [spec.id for spec in specs.values()] == list(range(1, len(plan.nodes) + 1))
    assert len({spec.seed for spec in specs.values()}) == len(plan.nodes)
    for node, spec in specs.items():
        assert spec.node == node and spec.data == f"/somewhere/{node}/data"
        assert (spec.disk, spec.options, spec.python) == ("volatile", {"a": 1}, "python3")
        assert set(spec.bind) == {*plan.peer_ports, "admin", *plan.clients}
        assert spec.peers.keys() == spec.peer_advertised.keys() == {*plan.nodes} - {node}
        for other, advertised in spec.peer_advertised.items():
            assert advertised == specs[other].advertised
