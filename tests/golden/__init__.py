"""Histories with a known verdict. Each is kept for a reason, which stands beside it.

`NAME.jsonl` or `NAME.edn` has a `NAME.toml`:

    workload = "log"               the name under which `assay check` judges it
    verdict = "invalid"            valid, unknown or invalid, by the strictest contract
    anomalies = ["lost-write"]     exactly these are found
    origin = "…"                   who made it, and how
    why = "…"                      what would go unseen without it
    says = ["…"]                   lines that a person is told, if they are worth holding to

A checker's false alarm or miss becomes a file here before it is repaired.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

FOLDER = Path(__file__).parent


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known about one history. `options` are those of its workload, for the checker."""

    workload: str
    verdict: Literal["valid", "unknown", "invalid"]
    origin: str
    why: str
    anomalies: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    options: dict[str, str] = {}
    path: Path | None = None

    @property
    def file(self) -> Path:
        assert self.path is not None
        return self.path


def golden(workload: str | None = None) -> list[Golden]:
    """All golden histories, or those of one workload, in the order of their names."""
    found = [
        msgspec.structs.replace(
            msgspec.toml.decode((history.with_suffix(".toml")).read_bytes(), type=Golden),
            path=history,
        )
        for history in sorted(FOLDER.iterdir())
        if history.suffix in (".jsonl", ".edn")
    ]
    return [one for one in found if workload in (None, one.workload)]
