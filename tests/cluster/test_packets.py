"""Rules and probes on the wire: what is dropped where, in words that nft understands."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster import packets
from harness.cluster.contract import Link, NodeState, Outcome
from harness.cluster.netfilter import Drops, from_source, into_port, out_of_port, ruleset
from harness.cluster.packets import Packets, Point
from harness.cluster.segments import segment
from harness.errors import UsageError

ADDRESSES = {"n1": "198.18.1.11", "n2": "198.18.1.12", "n3": "198.18.1.13"}
PORTS = {"c1": 9003, "c2": 9004}

hosts = st.sampled_from([*ADDRESSES, *PORTS])
links = st.builds(Link, hosts, hosts).filter(
    lambda link: link.source != link.target and not {*link} <= {*PORTS}
)


class Kernel:
    """Namespaces that keep the rules they are told and count what the probes send."""

    def __init__(self) -> None:
        self.rules: dict[int, Drops] = {}
        self.counts: dict[int, dict[str, int]] = {}

    def apply(self, pid: int, drops: Drops) -> None:
        self.rules[pid] = drops
        self.counts[pid] = dict.fromkeys(drops.names, 0)

    def counted(self, pid: int) -> dict[str, int]:
        return dict(self.counts.get(pid, {}))

    def heard(self, source: str, target: str) -> bool:
        """Whether a packet gets from one host to another, by the rules."""
        pids = {name: number for number, name in enumerate(ADDRESSES)}
        drops = {name: self.rules.get(pid, Drops()) for name, pid in pids.items()}
        if source in PORTS:
            return PORTS[source] not in drops[target].ports_in
        if target in PORTS:
            return PORTS[target] not in drops[source].ports_out
        return ADDRESSES[source] not in drops[target].sources


class Wireless(Packets):
    """Packets whose probes are counted by the kernel above and touch no network."""

    kernel: Kernel

    def _send(self, link: Link) -> None:
        counts = self.kernel.counts[self._keeper(link).pid]
        counts[self._rule(link)] += 1

    async def _answers(self, link: Link) -> bool:
        return self.kernel.heard(*link) and self.kernel.heard(link.target, link.source)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    yield from _kernel(monkeypatch)


def _kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr(packets, "apply", kernel.apply)
    monkeypatch.setattr(packets, "counted", kernel.counted)
    yield kernel


def wireless(kernel: Kernel) -> Wireless:
    points = {name: Point(name, pid, ADDRESSES[name], PORTS) for pid, name in enumerate(ADDRESSES)}
    made = Wireless(points, list(PORTS), "198.18.1.1", lambda node: NodeState.RUNNING)
    made.kernel = kernel
    return made


steps = st.lists(
    st.tuples(
        st.sampled_from(["cut", "heal"]),
        st.one_of(st.none(), st.frozensets(links, min_size=1, max_size=4)),
    ).filter(lambda step: step != ("cut", None)),
    max_size=8,
)


@given(steps)
def test_exactly_the_links_that_are_cut_are_silent(steps: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        (kernel,) = _kernel(monkeypatch)
        asyncio.run(_obey(wireless(kernel), kernel, steps))


async def _obey(wires: Wireless, kernel: Kernel, steps: list[Any]) -> None:
    silent: set[Link] = set()
    everything = [
        Link(a, b)
        for a in (*ADDRESSES, *PORTS)
        for b in (*ADDRESSES, *PORTS)
        if a != b and not {a, b} <= {*PORTS}
    ]
    for what, chosen in steps:
        if what == "cut":
            assert (await wires.cut(chosen)).outcome is Outcome.OBSERVED
            silent |= chosen
        else:
            effect = await wires.heal(chosen)
            healed = silent if chosen is None else silent & chosen
            assert effect.outcome is (Outcome.OBSERVED if healed else Outcome.SKIPPED)
            silent -= healed
        assert {link for link in everything if not kernel.heard(*link)} == silent


async def test_a_cut_that_counts_nothing_is_unobserved(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "COUNT_DEADLINE_S", 0.01)
    wires = wireless(kernel)
    monkeypatch.setattr(wires, "_send", lambda link: None)
    effect = await wires.cut([Link("n1", "n2")])
    assert effect.outcome is Outcome.UNOBSERVED
    assert effect.evidence["not_dropped"] == ["n1->n2"]


async def test_a_rule_that_stays_after_healing_is_unobserved(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = wireless(kernel)
    await wires.cut([Link("n1", "n2")])
    monkeypatch.setattr(packets, "apply", lambda pid, drops: None)
    effect = await wires.heal()
    assert effect.outcome is Outcome.UNOBSERVED
    assert effect.evidence["wrong_rules"] == ["n2: from 198.18.1.11"]
    assert effect.evidence["silent"] == ["n1->n2"]


@pytest.mark.parametrize("link", [Link("c1", "c2"), Link("n1", "n1"), Link("n1", "n9")])
async def test_a_link_that_is_not_there_is_wrong_usage(kernel: Kernel, link: Link) -> None:
    with pytest.raises(UsageError):
        await wireless(kernel).cut([link])


def test_every_rule_counts_and_has_a_name_of_its_own() -> None:
    drops = Drops(frozenset({"198.18.1.11"}), frozenset({9003}), frozenset({9003, 9004}))
    text = ruleset(drops)
    names = {from_source("198.18.1.11"), into_port(9003), out_of_port(9003), out_of_port(9004)}
    assert drops.names == names
    for name in names:
        assert text.count(f'counter drop comment "{name}"') == 1
    arriving, leaving = text.split("chain leaving")
    assert "hook input" in arriving and "tcp dport 9003" in arriving and "sport" not in arriving
    assert "hook output" in leaving and "tcp sport 9004" in leaving and "dport" not in leaving


def test_the_probing_segment_is_one_that_nobody_reads() -> None:
    packet = segment(9, "198.18.1.11", 9003)
    version, protocol, target = packet[0], packet[9], packet[16:20]
    assert (version, protocol, target) == (0x45, 6, socket.inet_aton("198.18.1.11"))
    source_port, target_port = struct.unpack("!HH", packet[20:24])
    assert (source_port, target_port) == (9, 9003)
    total = sum(struct.unpack("!10H", packet[20:]))
    pseudo = sum(struct.unpack("!2H", target)) + 6 + 20  # without the source, which is unknown
    for source in ("198.18.1.1", "198.18.1.12", "127.0.0.1"):
        value = total + pseudo + sum(struct.unpack("!2H", socket.inet_aton(source)))
        while value >> 16:
            value = (value & 0xFFFF) + (value >> 16)
        assert value != 0xFFFF, "its checksum would be right"
