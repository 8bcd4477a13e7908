"""What a planted bug is, and how often its code has run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.host.contract import Host
from nodes.broker.parts import Parts

Activate = Callable[[], None]
"""To be called whenever the bug does what the honest node would not have done."""

Plant = Callable[[Parts, Activate], Parts]
"""From the parts without a bug those with it."""

EVENT = "bug.activated"


class Activations:
    """Counts, and writes the count to the node's log at 1, 2, 4, 8, …: that survives a kill."""

    def __init__(self, host: Host, name: str) -> None:
        self._host, self._name = host, name
        self._count, self._next = 0, 1

    def __call__(self) -> None:
        self._count += 1
        if self._count == self._next:
            self._next *= 2
            self._host.log(EVENT, bug=self._name, count=self._count)


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug of the zoo.

    Attributes:
        id: its place in the catalogue of known bugs (ANCHORS E.1), or where it comes near to.
        mechanism: what the node does wrong. seen: where the world has seen it.
        promise: the line of PROMISES §1 that it breaks.
        anomalies: any of them is what it looks like from outside.
        workload, nemesis, options, nodes: what brings it out, as for `assay run`;
            nemesis-interval may stand among the options.
        plant: the parts with the bug, from the parts without.
        beyond_contract: the node does more wrong than its contract lets a checker demand.
    """

    id: str
    name: str
    mechanism: str
    seen: str
    promise: str
    anomalies: tuple[str, ...]
    nemesis: str
    plant: Plant = field(repr=False)
    options: tuple[str, ...] = ()
    nodes: int = 3
    workload: str = "log"
    beyond_contract: bool = False

    def planted(self, parts: Parts, host: Host) -> Parts:
        return self.plant(parts, Activations(host, self.name))

    def to_json(self) -> dict[str, str]:
        return {
            "id": self.id,
            "mechanism": self.mechanism,
            "seen": self.seen,
            "promise": self.promise,
            "anomalies": ", ".join(self.anomalies),
            "workload": self.workload,
            "nemesis": self.nemesis,
            "nodes": str(self.nodes),
            "options": " ".join(self.options),
        }


def by_name(*bugs: Bug) -> Mapping[str, Bug]:
    return {bug.name: bug for bug in bugs}
