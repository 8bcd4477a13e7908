"""Several packages as one: their operations interleave on the one nemesis process.

Faults of several packages overlap, on the same node too, and are sensible together:
    - a paused node can be killed; then it is dead, and to pause or resume it is skipped;
    - `start` takes all dead nodes and `resume` all paused ones, whoever made them so;
    - a partition and bad links on the same link do not end each other (`nemeses/wires.py`);
    - kills, power failures and failing disks share one account of nodes that lack writes
      (`nemeses/losses.py`); a node whose disk fails is started when it is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Cluster, Effect
from harness.nemesis import Confirming, Nemesis, Package, View
from nemeses.disk import Disk
from nemeses.kill import Kill
from nemeses.links import Links
from nemeses.partition import Partition
from nemeses.wires import Wires


class Composed:
    """Hands each operation to the nemesis that performs it; the first one if several do."""

    def __init__(self, parts: Sequence[Nemesis]) -> None:
        _share(parts)
        self._owner = {f: part for part in reversed(parts) for f in part.fs}
        self.fs = frozenset(self._owner)

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        return self._owner[f].resolve(f, value, view, rng)

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        return await self._owner[f].invoke(f, value, cluster)

    def confirms(self, f: str) -> bool:
        owner = self._owner[f]
        return isinstance(owner, Confirming) and owner.confirms(f)

    def confirm(self, f: str, value: Any, view: View) -> None:
        owner = self._owner[f]
        if isinstance(owner, Confirming):
            owner.confirm(f, value, view)


def _share(parts: Sequence[Nemesis]) -> None:
    wires = Wires()
    lossy = [part for part in parts if isinstance(part, Kill | Disk) and part.losses is not None]
    for lossy_part in lossy:
        lossy_part.losses = lossy[0].losses
    failing = next((part.failing for part in parts if isinstance(part, Disk)), ())
    for part in parts:
        if isinstance(part, Kill):
            part.failing = failing
        if isinstance(part, Partition | Links):
            part.wires = wires


def compose(packages: Sequence[Package]) -> Package:
    """One package that does what all do, whichever is due first; healing in the given order."""
    generators = [p.generator for p in packages if p.generator is not None]
    finals = [p.final_generator for p in packages if p.final_generator is not None]
    return Package(
        name="+".join(p.name for p in packages) or "none",
        nemesis=Composed([p.nemesis for p in packages]),
        generator=gen.any_of(*generators) if generators else None,
        final_generator=gen.concat(*finals) if finals else None,
        bands=tuple(band for p in packages for band in p.bands),
        needs=frozenset().union(*(p.needs for p in packages)),
        wants_view=any(p.wants_view for p in packages),
    )
