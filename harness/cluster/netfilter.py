"""Packet rules in the network namespaces of containers, applied from the host with `nft`.

Every namespace gets one table of ours, replaced whole in one transaction, so that a cut is atomic
per machine and healing cannot leave a rule behind. Nothing else in the namespace is touched:
Docker's own name service lives in other tables there.

Packets are dropped where they arrive. Towards a client host, which lives in the host's own
namespace, they are dropped where they leave: TCP takes that for a loss on the way.

Needs root, `nsenter` and `nft` on the host; nothing inside the image.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.errors import EnvironmentFailure

TABLE = "assay"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Drops:
    """What one machine's namespace drops.

    Attributes:
        sources: addresses whose packets are dropped on arrival.
        ports_in: local TCP ports whose packets are dropped on arrival.
        ports_out: local TCP ports whose packets are dropped on leaving.
    """

    sources: frozenset[str] = frozenset()
    ports_in: frozenset[int] = frozenset()
    ports_out: frozenset[int] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """A name for each rule, by which `counted` tells of it."""
        return frozenset(
            {
                *map(from_source, self.sources),
                *map(into_port, self.ports_in),
                *map(out_of_port, self.ports_out),
            }
        )


def from_source(address: str) -> str:
    return f"from {address}"


def into_port(port: int) -> str:
    return f"into {port}"


def out_of_port(port: int) -> str:
    return f"out of {port}"


def apply(pid: int, drops: Drops) -> None:
    """Make the namespace of process `pid` drop exactly `drops`; nothing removes the table.

    Raises:
        EnvironmentFailure: nft refused; the message has its words.
    """
    # Creating before deleting makes the deletion valid whether or not the table was there.
    script = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    if drops.names:
        script += ruleset(drops)
    _nft(pid, ["-f", "-"], script)


def counted(pid: int) -> dict[str, int]:
    """Packets dropped so far by each rule that is there."""
    listed = json.loads(_nft(pid, ["--json", "list", "ruleset"], ""))
    found = {}
    for item in listed["nftables"]:
        rule = item.get("rule", {})
        counter = [e["counter"]["packets"] for e in rule.get("expr", ()) if "counter" in e]
        if rule.get("table") == TABLE and counter:
            found[rule["comment"]] = counter[0]
    return found


def ruleset(drops: Drops) -> str:
    """The table in nft's language."""
    arriving = [_rule(f"ip saddr {source}", from_source(source)) for source in drops.sources]
    arriving += [_rule(f"tcp dport {port}", into_port(port)) for port in drops.ports_in]
    leaving = [_rule(f"tcp sport {port}", out_of_port(port)) for port in drops.ports_out]
    return "\n".join(
        (
            f"table inet {TABLE} {{",
            *_chain("arriving", "input", sorted(arriving)),
            *_chain("leaving", "output", sorted(leaving)),
            "}\n",
        )
    )


def _chain(name: str, hook: str, rules: Collection[str]) -> Sequence[str]:
    return (
        f"chain {name} {{",
        f"type filter hook {hook} priority -300; policy accept;",
        *rules,
        "}",
    )


def _rule(match: str, name: str) -> str:
    return f'{match} counter drop comment "{name}"'


def _nft(pid: int, arguments: Sequence[str], script: str) -> str:
    try:
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-n", "nft", *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(
            f"packet rules need nsenter and nft on this machine: {error}"
        ) from error
    if done.returncode != 0:
        raise EnvironmentFailure(
            f"nft refused in the namespace of process {pid}: {done.stderr.strip()[-400:]}"
        )
    return done.stdout
