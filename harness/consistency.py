"""Models of consistency, which of them implies which, and what each forbids.

A history that shows an anomaly is not consistent under any model that forbids it, nor under any
that is stronger. A model forbids what it says itself and what every weaker one forbids.

Anomalies of cycles come in three kinds: of dependencies alone, with the order of a process
(`-process`), and with real time (`-realtime`).

`internal` is forbidden by what reads from one state: read committed may read a key twice and see
two values.

Source: A. Adya, "Weak Consistency" (1999); P. Bailis et al., "Highly Available Transactions"
(2013); A. Cerone, G. Bernardi, A. Gotsman, "A Framework for Transactional Consistency Models with
Atomic Visibility" (2015); the lattice as Elle draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

DEFAULT = "strict-serializable"

WEAKER: Mapping[str, tuple[str, ...]] = {
    "strict-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "serializable": ("repeatable-read", "snapshot-isolation", "update-serializable"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation", "strong-read-committed"),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "strong-session-read-committed"),
    "snapshot-isolation": (
        "forward-consistent-view",
        "monotonic-snapshot-read",
        "parallel-snapshot-isolation",
        "prefix",
    ),
    "parallel-snapshot-isolation": ("causal", "update-atomic"),
    "prefix": ("causal",),
    "causal": ("read-atomic",),
    "update-atomic": ("read-atomic",),
    "read-atomic": ("monotonic-atomic-view",),
    "monotonic-atomic-view": ("read-committed",),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "update-serializable": ("forward-consistent-view",),
    "forward-consistent-view": ("consistent-view",),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "monotonic-snapshot-read": ("monotonic-view",),
    "monotonic-view": ("read-committed",),
    "cursor-stability": ("read-committed",),
    "strong-read-committed": ("strong-session-read-committed", "strong-read-uncommitted"),
    "strong-session-read-committed": ("read-committed", "strong-session-read-uncommitted"),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "read-committed": ("read-uncommitted",),
    "read-uncommitted": (),
}
"""Each model and those that it implies at once, the strongest first."""

OWN: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": ("G0", "duplicate-elements", "cyclic-versions", "phantom"),
    "read-committed": (
        *("G1a", "G1b", "G1c"),
        *("dirty-update", "incompatible-order", "future-read"),
    ),
    "cursor-stability": ("lost-update",),
    "read-atomic": ("internal",),
    "consistent-view": ("G-single",),
    "parallel-snapshot-isolation": ("G-single", "lost-update"),
    "snapshot-isolation": ("G-nonadjacent",),
    "repeatable-read": ("internal", "G-single", "G-nonadjacent", "G2-item", "lost-update"),
    "serializable": ("G2-item",),
    "strong-session-read-uncommitted": ("G0-process",),
    "strong-session-read-committed": ("G1c-process",),
    "strong-session-snapshot-isolation": ("G-single-process", "G-nonadjacent-process"),
    "strong-session-serializable": ("G2-item-process",),
    "strong-read-uncommitted": ("G0-realtime",),
    "strong-read-committed": ("G1c-realtime",),
    "strong-snapshot-isolation": ("G-single-realtime", "G-nonadjacent-realtime"),
    "strict-serializable": ("G2-item-realtime",),
}
"""What each model forbids that no weaker one does."""

ALIASES: Mapping[str, str] = {
    "PL-1": "read-uncommitted",
    "PL-2": "read-committed",
    "PL-CS": "cursor-stability",
    "PL-2L": "monotonic-view",
    "PL-MSR": "monotonic-snapshot-read",
    "PL-2+": "consistent-view",
    "PL-FCV": "forward-consistent-view",
    "PL-SI": "snapshot-isolation",
    "PL-2.99": "repeatable-read",
    "PL-3U": "update-serializable",
    "PL-3": "serializable",
    "PL-SS": "strict-serializable",
    "strong-serializable": "strict-serializable",
    "conflict-serializable": "serializable",
    "causal-cerone": "causal",
    "strong-PL-1": "strong-read-uncommitted",
    "strong-PL-2": "strong-read-committed",
    "strong-session-PL-1": "strong-session-read-uncommitted",
    "strong-session-PL-2": "strong-session-read-committed",
}
"""Adya's names, and Elle's."""

ANOMALIES = tuple(dict.fromkeys(name for own in OWN.values() for name in own))
"""All that some model forbids."""


GROUPS: Mapping[str, tuple[str, ...]] = {"G1": ("G1a", "G1b", "G1c")}
"""Adya's names for several of them."""


def find(names: str) -> str | None:
    """The model of this name, Adya's or ours, or several that are divided by commas; None if there
    is none.

    >>> find("PL-2,strong-snapshot-isolation"), find("PL-7")
    ('read-committed,strong-snapshot-isolation', None)
    """
    found = [ALIASES.get(name, name) for name in names.split(",")]
    return ",".join(found) if all(name in WEAKER for name in found) else None


def anomalies(names: str) -> tuple[str, ...] | None:
    """The anomalies of these names, which are divided by commas; None if there is no such one."""
    given = names.split(",") if names else []
    found = [each for name in given for each in GROUPS.get(name, (name,))]
    return tuple(found) if all(name in ANOMALIES for name in found) else None


@cache
def implied(model: str) -> frozenset[str]:
    """The model and all that are weaker."""
    return frozenset({model}.union(*(implied(weaker) for weaker in WEAKER[model])))


@cache
def forbidden(models: str) -> frozenset[str]:
    """The anomalies that a history under the model, or under all of several, never shows."""
    every = frozenset[str]().union(*map(implied, models.split(",")))
    return frozenset(name for weaker in every for name in OWN.get(weaker, ()))


def excluded(anomalies: Iterable[str]) -> tuple[list[str], list[str]]:
    """(`not`, `also-not`): the weakest models that these rule out, and all that are stronger."""
    seen = set(anomalies)
    impossible = [model for model in WEAKER if forbidden(model) & seen]
    weakest = [m for m in impossible if not (implied(m) - {m}) & set(impossible)]
    return weakest, [model for model in impossible if model not in weakest]
