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
PROBE_PORT = 9  # discard: nobody listens there, and nobody need


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

    def __bool__(self) -> bool:
        return bool(self.sources or self.ports_in or self.ports_out)


def apply(pid: int, drops: Drops) -> None:
    """Make the namespace of process `pid` drop exactly `drops`; nothing removes the table.

    Raises:
        EnvironmentFailure: nft refused; the message has its words.
    """
    # Creating before deleting makes the deletion valid whether or not the table was there.
    script = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    if drops:
        script += _table(drops)
    _nft(pid, ["-f", "-"], script)


def counted(pid: int) -> dict[str, int]:
    """Packets dropped so far, by source address or "in:PORT" / "out:PORT"."""
    listed = json.loads(_nft(pid, ["--json", "list", "table", "inet", TABLE], ""))
    found = {}
    for item in listed["nftables"]:
        rule = item.get("rule", {})
        counter = [e["counter"]["packets"] for e in rule.get("expr", ()) if "counter" in e]
        if counter and "comment" in rule:
            found[rule["comment"]] = counter[0]
    return found


def knock(pid: int, address: str) -> None:
    """Send one datagram from the namespace of `pid`: a probe that a rule there may count."""
    program = f"import socket; socket.socket(2, 2).sendto(b'assay', ({address!r}, {PROBE_PORT}))"
    _in_namespace(pid, ["python3", "-c", program], "")


def _table(drops: Drops) -> str:
    arriving = [_rule(f"ip saddr {source}", source) for source in sorted(drops.sources)]
    arriving += [_rule(f"tcp dport {port}", f"in:{port}") for port in sorted(drops.ports_in)]
    leaving = [_rule(f"tcp sport {port}", f"out:{port}") for port in sorted(drops.ports_out)]
    return "\n".join(
        (
            f"table inet {TABLE} {{",
            *_chain("arriving", "input", arriving),
            *_chain("leaving", "output", leaving),
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


def _rule(match: str, comment: str) -> str:
    return f'{match} counter drop comment "{comment}"'


def _nft(pid: int, arguments: Sequence[str], script: str) -> str:
    return _in_namespace(pid, ["nft", *arguments], script)


def _in_namespace(pid: int, command: Sequence[str], stdin: str) -> str:
    try:
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-n", *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(f"{command[0]} in a container's network: {error}") from error
    if done.returncode != 0:
        raise EnvironmentFailure(
            f"{command[0]} in a container's network failed: {done.stderr.strip()[-400:]}"
        )
    return done.stdout
