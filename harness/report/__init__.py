"""What a person sees of a run."""

from __future__ import annotations

from pathlib import Path

from harness.store import RunFolder


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run from what is stored in its folder; its path."""
    from harness.report.html import render

    folder.save_text("report.html", render(folder))
    return folder.report
