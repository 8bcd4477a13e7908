"""Does nothing, on purpose: the identity among faults, and the template for the rest.

A package is a nemesis, a generator of its operations, a final generator that undoes them, and how
they are drawn. This one has none of these, so a run under it is a run without faults.
"""

from __future__ import annotations

from random import Random
from typing import Any

from harness.cluster.contract import Cluster, Effect
from harness.nemesis import Package, View
from nemeses.rhythm import Rhythm


class Noop:
    """Operator of nothing."""

    fs: frozenset[str] = frozenset()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        raise AssertionError(f"{f!r} is not an operation of noop, which has none")

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        raise AssertionError(f"{f!r} is not an operation of noop, which has none")


def package(rhythm: Rhythm) -> Package:
    return Package(name="none", nemesis=Noop())
