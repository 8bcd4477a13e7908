"""How many nodes may lack acknowledged writes at once: the accounts of lossy faults.

A write that is acknowledged with acks=all is on `min.insync.replicas` nodes, so it survives that
`min.insync.replicas - 1` of them lose what they had not synced; more is beyond the promise of any
system. A node is *weak* from the loss until it is back: registered anew, and in sync again with
every partition that it has. Where every message is synced before it is acknowledged there is
nothing to lose, and all may be hit.

Reads of a view: `facts["epochs"]`, node → broker epoch, which grows with each registration, and
`facts["in_sync"]`, nodes in every ISR they could be in. Nodes of a system that tells neither are
never back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

from harness.errors import UsageError
from harness.nemesis import View


def losses_max(promises: Mapping[str, Any]) -> int | None:
    """How many nodes may be weak at once under a workload's promises; None for all.

    >>> losses_max({"min-insync-replicas": 2, "flush-messages": None})
    1
    >>> losses_max({"min-insync-replicas": 2, "flush-messages": 1}) is None
    True
    """
    if promises.get("flush-messages") == 1:
        return None
    return int(promises.get("min-insync-replicas") or 1) - 1


class Losses:
    """Who is weak now. `most` nodes may be; None for all.

    Raises:
        UsageError: none may be, so that a lossy fault could never happen.
    """

    def __init__(self, most: int | None) -> None:
        if most is not None and most < 1:
            raise UsageError(
                "with min-insync-replicas=1 no node may lose what it has not synced: "
                "give -o min-insync-replicas=2, or -o flush-messages=1, or leave out the fault"
            )
        self._most = most
        self._weak: dict[str, int] = {}  # node → its epoch at the loss

    def choose(self, wanted: Sequence[str], view: View, rng: Random) -> list[str]:
        """Those of `wanted` that may be hit now, in their order; weak ones always may."""
        if self._most is None:
            return list(wanted)
        weak = self.weak(view)
        others = [node for node in wanted if node not in weak]
        room = max(self._most - len(weak), 0)
        hit = {*weak, *rng.sample(others, min(room, len(others)))}
        return [node for node in wanted if node in hit]

    def weak(self, view: View) -> Collection[str]:
        """Who may lack acknowledged writes, as far as the view knows."""
        epochs, in_sync = view.facts.get("epochs", {}), view.facts.get("in_sync", ())
        return [
            node
            for node, epoch in self._weak.items()
            if node not in in_sync or epochs.get(node, 0) <= epoch
        ]

    def note(self, nodes: Collection[str], view: View) -> None:
        """These lose what they had not synced, now."""
        epochs = view.facts.get("epochs", {})
        weak = self.weak(view)
        self._weak = {node: self._weak[node] for node in weak}
        self._weak |= {node: epochs.get(node, self._weak.get(node, 0)) for node in nodes}

    def confirm(self, nodes: Collection[str], view: View) -> None:
        """What was seen of them when they were down: an epoch that an older view did not know yet
        is no sign that they are back."""
        epochs = view.facts.get("epochs", {})
        for node in nodes:
            if node in self._weak:
                self._weak[node] = max(self._weak[node], epochs.get(node, 0))
