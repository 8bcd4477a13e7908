"""Run folders."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from harness.errors import EnvironmentFailure, UsageError
from harness.store import RunFolder


def test_runs_that_start_in_the_same_instant_have_folders_of_their_own(tmp_path: Path) -> None:
    made: list[Path] = []

    def create() -> None:
        for _ in range(20):
            made.append(RunFolder.create(tmp_path, "log").path)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 80


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "log")
    newest = RunFolder.create(tmp_path, "log")
    assert (tmp_path / "log" / "latest").resolve() == newest.path


def test_a_run_is_found_by_its_folder_by_latest_and_by_its_history(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "log")
    folder.history.write_text("")
    for path in (folder.path, tmp_path / "log" / "latest", folder.history):
        assert RunFolder.find(path) == folder


def test_a_folder_without_a_history_is_refused_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no history\.jsonl.*results/<test>/latest"):
        RunFolder.find(tmp_path)


def test_results_that_cannot_be_written_are_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="give another folder with --results"):
        RunFolder.create(tmp_path / "file", "log")


def test_a_full_disk_leaves_the_old_verdict_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path, "log")
    folder.save("verdict.json", {"valid": True})

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        EnvironmentFailure, match=r"No space left.*make room, then run `assay check`"
    ):
        folder.save("verdict.json", {"valid": False})
    monkeypatch.undo()
    assert folder.load("verdict.json") == {"valid": True}
    assert [p.name for p in folder.path.iterdir()] == ["verdict.json"]


def test_a_file_that_is_no_json_is_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "log")
    (folder.path / "test.json").write_text("{")
    with pytest.raises(UsageError, match=r"test\.json is not JSON"):
        folder.load("test.json")
    assert folder.load("verdict.json") == {}


def test_data_goes_and_logs_stay(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "log")
    node = folder.path / "nodes" / "n1"
    (node / "data" / "log-0").mkdir(parents=True)
    (node / "node.log").write_text("started\n")
    folder.drop_data()
    assert sorted(path.name for path in node.iterdir()) == ["node.log"]
