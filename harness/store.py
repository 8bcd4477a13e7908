"""Run folders: `results/<test>/<time>/`, and what stands in them.

    test.json         every option, the seed, versions, the contract, the command that repeats it
    history.jsonl     every event, as it happened
    history.columns   the same in columns; made after the run, never needed
    verdict.json      what `--json` prints
    report.html       for people; junit.xml for CI
    nodes/n1/…        logs; data, kept when the verdict is not valid

`results/<test>/latest` points to the newest run of a test. A run folder is complete enough to be
checked again at any moment of its life: the harness may be killed between any two writes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFailure, UsageError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @staticmethod
    def create(results: Path, test: str) -> RunFolder:
        """A new folder of its own, even when two runs start in the same instant.

        Raises:
            EnvironmentFailure: `results` cannot be written.
        """
        now = time.time()
        stamp = (
            time.strftime("%Y%m%dT%H%M%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03}"
        )
        try:
            for attempt in range(1000):
                path = results / test / (stamp if attempt == 0 else f"{stamp}-{attempt}")
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    continue
                folder = RunFolder(path.resolve())
                folder._point_latest_here()
                return folder
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write a run folder below {results}: {error.strerror}; "
                "give another folder with --results"
            ) from error
        raise EnvironmentFailure(f"a thousand runs of {test} began at {stamp} in {results}")

    @staticmethod
    def find(path: Path) -> RunFolder:
        """The run folder at `path`, or the one that a file in it belongs to.

        Raises:
            UsageError: there is no `history.jsonl` there.
        """
        folder = path if path.is_dir() else path.parent
        if not (folder / "history.jsonl").exists():
            raise UsageError(
                f"{path} is no run folder: it has no history.jsonl. "
                "Runs are in results/<test>/<time>; results/<test>/latest is the newest"
            )
        return RunFolder(folder.resolve())

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def save(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        self.save_text(name, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")

    def save_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all.

        Raises:
            EnvironmentFailure: the disk is full, say; what was there before is kept.
        """
        aside = self.path / f".{name}.tmp"
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(self.path / name)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise EnvironmentFailure(
                f"cannot write {self.path / name}: {error.strerror}; the history recorded so far "
                "is kept: make room, then run `assay check` on the folder"
            ) from error

    def load(self, name: str) -> dict[str, Any]:
        """A JSON file of this run; empty if it is not there.

        Raises:
            UsageError: it is there and is no JSON object.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UsageError(f"{path} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{path} is not a JSON object")
        return value

    def drop_data(self) -> None:
        """Remove the nodes' data, which nobody needs after a valid run. Logs stay."""
        for data in self.path.glob("nodes/*/data"):
            shutil.rmtree(data, ignore_errors=True)

    def _point_latest_here(self) -> None:
        latest = self.path.parent / "latest"
        aside = self.path.parent / f".latest-{os.getpid()}-{self.path.name}"
        try:
            aside.symlink_to(self.path.name)
            aside.replace(latest)
        except OSError:
            aside.unlink(missing_ok=True)  # a file system without links: the run itself is fine
