"""A network for each run: internal, and in a subnet that no other network here has."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

import docker
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from harness.cluster import routes
from harness.errors import EnvironmentFailure

SUBNETS = tuple(IPv4Network("198.18.0.0/16").subnets(new_prefix=24))
"""Reserved for benchmarks of networks (RFC 2544): nobody's real addresses."""

GATEWAY = 1  # this host's address in each
ATTEMPTS = 20


def make_network(
    client: docker.DockerClient, name: str, *, labels: Mapping[str, str]
) -> IPv4Network:
    """Make the network `name`; its subnet.

    Raises:
        EnvironmentFailure: every subnet is taken.
        DockerException: the engine refuses for another reason.
    """
    used = [
        IPv4Network(config["Subnet"])
        for network in client.networks.list()
        for config in (network.attrs.get("IPAM", {}).get("Config") or ())
        if ":" not in config.get("Subnet", ":")
    ]
    for subnet in candidates(used):
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[GATEWAY]))
        ipam = IPAMConfig(pool_configs=[pool])
        try:
            client.networks.create(name, internal=True, ipam=ipam, labels=labels)
        except APIError as error:
            if "overlap" not in str(error):
                raise
            continue  # a run that started together with this one was faster
        routes.guard(subnet)
        return subnet
    raise EnvironmentFailure("no subnet of 198.18.0.0/16 is free; see `docker network ls`")


def candidates(used: Sequence[IPv4Network]) -> list[IPv4Network]:
    """Some free subnets in an order of chance, so that runs that start together differ."""
    free = [s for s in SUBNETS if not any(s.overlaps(other) for other in used)]
    return secrets.SystemRandom().sample(free, min(len(free), ATTEMPTS))
