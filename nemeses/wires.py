"""What is wrong with which links: the account that partitions and bad links share.

A cluster mends a link by taking everything off it. Two faults that overlap on a link must not end
each other: a partition that ends leaves the link slow, and a link is not made fast while it is cut.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.cluster.contract import Cluster, Effect, Link, Outcome, Shape


class Wires:
    """Which links are cut, and which are shaped."""

    def __init__(self) -> None:
        self.cut: frozenset[Link] = frozenset()
        self.shaped: frozenset[Link] = frozenset()
        self._shape = Shape()

    async def set_cut(self, links: Collection[Link], cluster: Cluster) -> Effect:
        """Cut exactly these links; those cut before and not now carry what they held."""
        before, self.cut = self.cut, frozenset(links)
        mended = before - self.cut
        effects: dict[str, Effect] = {}
        if mended:
            effects["mended"] = await cluster.heal(mended)
            if mended & self.shaped:
                effects["shaped"] = await cluster.shape(mended & self.shaped, self._shape)
        if self.cut - before:
            effects["cut"] = await cluster.cut(self.cut - before)
        return _one(effects, "no link was cut, and none is now")

    async def set_shape(self, links: Collection[Link], shape: Shape, cluster: Cluster) -> Effect:
        """Shape exactly these links. Those that are cut get their shape when they are mended."""
        before, self.shaped, self._shape = self.shaped, frozenset(links), shape
        effects: dict[str, Effect] = {}
        if before - self.cut:
            effects["mended"] = await cluster.heal(before - self.cut)
        if self.shaped - self.cut:
            effects["shaped"] = await cluster.shape(self.shaped - self.cut, shape)
        return _one(effects, "no link that could be reached was shaped, and none is now")


def _one(effects: dict[str, Effect], why_none: str) -> Effect:
    """One effect of the steps; that something had to be mended first is no news if it worked."""
    effects = {name: e for name, e in effects.items() if e.outcome is not Outcome.SKIPPED}
    if not effects:
        return Effect.skipped(why_none)
    return next(iter(effects.values())) if len(effects) == 1 else Effect.all(effects)
