"""A package of somebody else: a workload, a nemesis, checkers and a system that Assay has not.

Tests install it (`install`) where an interpreter finds it, or name this file on the command line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability
from harness.generator import Call
from harness.guarantees import Contract
from harness.history import History
from harness.nemesis import Band, Package
from harness.verdict import Finding, Verdict
from harness.workload import Load, Workload
from harness.workload import Options as BaseOptions
from nemeses.rhythm import Rhythm
from tests.fakes import (
    FakeSystem,
    FinalRead,
    Killer,
    World,
    check_set,
    clusters,
    set_workload,
)


class Options(BaseOptions, frozen=True):
    """Options of the workload.

    Attributes:
        loses: this number is acknowledged and forgotten.
        endless: whether the final reads have no end.
    """

    loses: int | None = None
    endless: bool = False


CHECKS = {"set": check_set}
READS = frozenset({"read"})


def workload(options: Options, load: Load, port: Callable[..., Any]) -> Workload:
    """Adds numbers to a set and reads them."""
    world: World = port()
    world.loses = set() if options.loses is None else {options.loses}
    final = FinalRead(endless=options.endless)
    return set_workload(world, final, name="acme-set", options=options)


class FromFile:
    """The same workload as an object of a file."""

    Options = Options
    CHECKS = CHECKS
    workload = staticmethod(workload)


def nemesis(rhythm: Rhythm) -> Package:
    """Kills the leader again and again."""
    return Package(
        "acme-kill",
        Killer(),
        gen.delay(rhythm.interval_s / 20, gen.repeat(Call("kill", "leader"))),
        bands=(Band("acme-kill", frozenset({"kill"}), frozenset({"start"}), "#c0392b"),),
        needs=frozenset({Ability.KILL}),
    )


def impossible(rhythm: Rhythm) -> Package:
    """Needs what no cluster has."""
    return Package("acme-skew", Killer(), needs=frozenset({Ability.SKEW}))


def check_even(history: History, contract: Contract) -> Verdict:
    """No odd number is ever added: a property that does not hold."""
    odd = [op for op in history if op.f == "add" and op.type == "ok" and op.value % 2]
    return Verdict.of(Finding("odd", f"{op.value} is odd", witness=(op.index,)) for op in odd[:3])


def check_nothing(history: History, contract: Contract) -> Verdict:
    """A checker that crashes."""
    raise RuntimeError("not today")


class System(FakeSystem):
    """A database in memory."""

    name = "acme-db"

    def port(self, workload: str, library: str | None) -> Callable[..., Any]:
        assert workload in ("acme-set", "FromFile"), workload
        return lambda: World(Latest())  # type: ignore[arg-type]


class Latest:
    """The newest cluster: a workload is made before its cluster is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(clusters[-1], name)


def install(where: Path) -> None:
    """Make an installed distribution of this module in a folder of sys.path."""
    info = where / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""\
            [assay.workloads]
            acme-set = tests.acme
            acme-broken = tests.no_such_module
            [assay.nemeses]
            acme-kill = tests.acme:nemesis
            acme-skew = tests.acme:impossible
            [assay.checkers]
            acme-even = tests.acme:check_even
            acme-crash = tests.acme:check_nothing
            [assay.systems]
            acme-db = tests.acme:System
            """)
    )
