"""What there is in the zoo, as Markdown for docs/zoo.md: `python -m harness.explore.zoo_page`.

The bugs; which promise each breaks, and the promises that none breaks; which faults and which
anomalies no bug needs, so that nobody knows whether they would find anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import catalog
from harness.explore.drawing import FLAGS, NEMESES
from harness.guarantees import forbidden_in

PROMISES = (
    *("partitions", "acks", "ISR", "min.insync.replicas", "high watermark", "leader epoch"),
    *("elections", "controller", "idempotence", "transactions", "groups"),
    *("standalone consumers", "flush.messages", "recovery", "retention", "compaction", "fetch"),
    "operations",
)
"""Topics of what the broker promises; a bug's promise begins with one of them, and a colon."""

HEAD = "| id | name | mechanism | seen as any of | nemesis |\n|---|---|---|---|---|"


def page() -> str:
    """All of it."""
    bugs = [catalog.find("bugs", name) for name in catalog.names("bugs")]
    return "\n".join([HEAD, *map(_row, bugs), "", *_needed(bugs)])


def _row(bug: Any) -> str:
    flags = "".join(_flag(option) for option in bug.options)
    flags += f" --nodes {bug.nodes}" if bug.nodes != 3 else ""
    flags += " --beyond-contract" if bug.beyond_contract else ""
    seen = ", ".join(bug.anomalies)
    return f"| {bug.id} | {bug.name} | {bug.mechanism} | {seen} | `{bug.nemesis}{flags}` |"


def _flag(option: str) -> str:
    """As `assay run` is told it."""
    key, _, value = option.partition("=")
    return f" --{key} {value}" if key in FLAGS else f" -o {option}"


def _needed(bugs: Sequence[Any]) -> Iterator[str]:
    """A table for each of promises, faults and anomalies."""
    for head, known, used in (
        ("promise", PROMISES, lambda bug: [bug.promise.partition(":")[0]]),
        ("fault", NEMESES, lambda bug: faults(bug.nemesis)),
        ("anomaly", forbidden_in("log"), lambda bug: bug.anomalies),
    ):
        by: Mapping[str, list[str]] = defaultdict(list)
        for bug in bugs:
            for name in used(bug):
                by[name].append(bug.name)
        yield from (f"| {head} | bugs |", "|---|---|")
        for name in [*known, *sorted(by.keys() - set(known))]:
            yield f"| {name} | {', '.join(by[name]) if name in by else '**none**'} |"
        yield ""


def faults(nemesis: str) -> Iterable[str]:
    """The families in a nemesis as a command line has it.

    >>> sorted(faults("kill:leader,kill,links:flaky"))
    ['kill', 'links']
    """
    return {each.partition(":")[0] for each in nemesis.split(",")}


if __name__ == "__main__":
    print(page())
