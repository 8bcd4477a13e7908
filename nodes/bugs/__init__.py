"""The bug zoo: brokers that break one promise each, so that the harness can show that it finds it.

A bug replaces parts of a node (`nodes.broker.parts`); see `nodes.bugs.bug`. One module a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.bugs.bug import Bug

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "replication": (
        "ack-before-replication",
        "hw-on-append",
        "reads-past-hw",
        "truncate-to-hw",
        "no-divergence-check",
        "timeout-as-success",
        "stale-leader-acks",
    ),
    "isr": (
        "unclean-election",
        "unsynced-preferred",
        "stale-isr-accepted",
        "unclean-restart-trusted",
        "min-isr-ignored",
        "min-isr-at-append-only",
        "joins-too-early",
        "copied-anew",
        "isr-shrunk-alone",
    ),
    "raft": (
        "term-not-persisted",
        "votes-twice",
        "quorum-too-small",
        "vote-for-anybody",
        "commits-alone",
        "applies-on-append",
        "commit-past-match",
        "conflicts-kept",
        "prefix-unchecked",
        "entry-skipped",
        "snapshot-drops-tail",
        "producer-ids-not-in-snapshot",
        "sessions-not-in-snapshot",
        "entries-not-synced",
    ),
    "producers": (
        "no-deduplication",
        "duplicate-offset-zero",
        "producers-lost-on-fail-over",
        "producers-lost-on-restart",
        "wrong-offset",
        "producers-expire-at-once",
        "failed-though-applied",
        "sequences-not-compared",
        "one-batch-remembered",
        "ids-given-twice",
    ),
    "log": (
        "ack-before-fsync",
        "ack-during-fsync",
        "recovery-cuts-too-much",
        "orphan-deleted",
        "premature-retention",
        "stale-epochs",
    ),
    "records": (
        "damage-signed-anew",
        "enospc-ignored",
        "index-off-by-one",
        "time-rounded-up",
        "time-of-index-entry",
        "newest-forgotten-at-roll",
        "crc-not-checked",
        "folder-not-synced",
    ),
    "deletions": (
        "log-start-not-replicated",
        "log-start-not-stored",
    ),
}


def names() -> list[str]:
    """All bugs; nothing is loaded for it."""
    return [name for family in FAMILIES.values() for name in family]


def find(name: str) -> Bug:
    """Raises KeyError: there is none of that name."""
    for family, members in FAMILIES.items():
        if name in members:
            bugs: Mapping[str, Bug] = import_module(f"nodes.bugs.{family}").BUGS
            return bugs[name]
    raise KeyError(name)
