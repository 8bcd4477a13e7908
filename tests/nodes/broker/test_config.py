"""What a node is told: understood, or refused with one line that says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodes.broker.config import DEFAULTS, ConfigError, NodeConfig
from nodes.broker.configs import TOPIC_CONFIGS, check_topic_config
from nodes.broker.errors import BrokerError
from nodes.broker.log.config import LogConfig

LEAST: dict[str, Any] = {
    "node": "n1",
    "id": 1,
    "data": "/somewhere",
    "bind": {name: ["127.0.0.1", 1] for name in ("peer", "raft", "admin", "c1")},
}


def parse(**changes: Any) -> NodeConfig:
    return NodeConfig.parse(json.dumps({**LEAST, **changes}).encode())


def test_the_least_that_is_needed_is_enough() -> None:
    config = parse()
    assert config.listeners == ["c1"]
    assert config.advertised_by("c1") == {1: ("127.0.0.1", 1)}
    assert {name: config.option(name) for name in DEFAULTS} == dict(DEFAULTS)


def test_addresses_are_told_by_listener() -> None:
    config = parse(
        advertised={"c1": ["one", 2]},
        peers={"n2": {"peer": ["p", 3], "raft": ["r", 4]}},
        peer_advertised={"n2": {"c1": ["two", 5]}},
    )
    assert config.advertised_by("c1") == {1: ("one", 2), 2: ("two", 5)}
    assert config.raft_peers == {2: ("r", 4)}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bind": {"peer": ["127.0.0.1", 1]}}, "bind lacks raft, admin"),
        ({"bind": {}}, "bind lacks peer, raft, admin"),
        ({"disk": "floppy"}, "disk is 'floppy'"),
        ({"options": {"no.such.option": 1}}, "unknown options: no.such.option"),
        ({"options": {"replica.lag.time.max.ms": "soon"}}, "'soon' is not a whole number"),
        ({"options": {"min.insync.replicas": 0}}, "min.insync.replicas"),
        ({"options": {"log.retention.ms": "x"}}, "retention.ms"),
        ({"options": {"auto.create.topics.enable": "perhaps"}}, "auto.create.topics.enable"),
        ({"options": {"num.partitions": "many"}}, "num.partitions"),
        ({"peers": {"n1": {}}}, "two nodes have the id 1"),
        ({"peers": {"two": {}}}, "ends in its number"),
        ({"peers": {"n2": {"peer": ["p", 3]}}}, "n2 lacks raft"),
        ({"peers": {"n2": {"peer": ["p", 3], "raft": ["r", 4]}}}, "c1 of n2"),
        ({"id": "one"}, "`int`"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(**changes)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_configuration_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError):
        NodeConfig.parse(text)


@given(
    st.sampled_from(sorted(TOPIC_CONFIGS)),
    st.integers(-1, 2**63).map(str) | st.from_regex(r"[ +-]?[0-9_]{1,5} ?", fullmatch=True),
)
@example("flush.messages", "1_0")
def test_what_is_legal_for_a_topic_is_understood_by_its_logs(name: str, value: str) -> None:
    """Else they would go on with the defaults of everything."""
    try:
        check_topic_config(name, value)
    except BrokerError:
        return
    LogConfig.of({name: value})
