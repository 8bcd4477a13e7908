"""What a person sees of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFailure, UsageError
from harness.history import History
from harness.store import RunFolder


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run from what is stored in its folder; its path."""
    from harness.report.html import render

    folder.save_text("report.html", render(folder))
    return folder.report


def writable(out: Path, history: Path) -> None:
    """See that a report of the history may be written: asked before an hour of judging.

    Args:
        history: its file, or the folder that it is in.

    Raises:
        UsageError: it cannot be, or the history itself stands there.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file in it, as in {out / 'report.html'}")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent} to write {out.name} into; make it first")
    if out.exists() and not out.is_file():
        return
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"{out.parent} may not be written to; name a file in another folder")
    files = history.glob("history.*") if history.is_dir() else (history,)
    if out.exists() and any(out.samefile(file) for file in files):
        raise UsageError(f"{out} is the history; a report would overwrite it: name another file")


def write_page(
    out: Path,
    history: History,
    test: Mapping[str, Any],
    verdict: Mapping[str, Any],
    path: Path,
    check: str,
) -> None:
    """Write the report of a history; the arguments are those of `harness.report.html.page`.

    Raises:
        EnvironmentFailure: it cannot be written; a file that was there is whole.
    """
    from harness.report.html import page

    text = page(history, test, verdict, path, check)
    # Nothing may take the place of a pipe, say.
    aside = out if out.exists() and not out.is_file() else out.with_name(f".{out.name}.tmp")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(out)
    except OSError as error:
        if aside != out:
            with contextlib.suppress(OSError):
                aside.unlink()
        raise EnvironmentFailure(
            f"cannot write the report {out}: {error.strerror}; name another file with --report"
        ) from error
