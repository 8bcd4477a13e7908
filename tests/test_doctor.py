"""The doctor says what is there and what is not, and its status follows."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import cli, doctor
from harness.cluster import leftovers
from harness.doctor import Finding
from harness.errors import EnvironmentFailure


def found(name: str) -> Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def run_doctor(*arguments: str) -> int:
    return cli.main(["doctor", *arguments])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`machine(ok, …)`: what an examination will find."""

    def pretend(*ok: bool | None) -> None:
        findings = [Finding(f"thing{n}", each, "about it") for n, each in enumerate(ok)]
        monkeypatch.setattr(doctor, "examine", lambda: findings)

    return pretend


@pytest.mark.parametrize(
    ("ok", "status"), [((True, True), 0), ((True, None), 0), ((True, False), 4), ((None, False), 4)]
)
def test_only_what_is_needed_and_missing_makes_it_fail(
    machine: Callable[..., None], ok: tuple[Any, ...], status: int
) -> None:
    machine(*ok)
    assert run_doctor() == status


def test_text_has_a_line_for_each_thing(
    machine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machine(True, False, None)
    run_doctor()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "MISSING", "-"]
    assert all(f"thing{n}" in line and "about it" in line for n, line in enumerate(lines))


def test_json_is_one_object_and_nothing_else(
    machine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machine(True, None)
    assert run_doctor("--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "checks": [
            {"name": "thing0", "ok": True, "detail": "about it"},
            {"name": "thing1", "ok": None, "detail": "about it"},
        ]
    }


def test_everything_that_was_promised_is_looked_at() -> None:
    names = {finding.name for finding in doctor.examine()}
    assert names >= {
        *("python", "disk space", "open files", "docker", "nft", "netem", "nsenter"),
        *("chromium", "toxiproxy-server", "root", "kafka"),
    }


def test_a_full_disk_and_a_low_limit_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    assert found("disk space").ok is False
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda what: (256, 4096))
    assert found("open files") == Finding(
        "open files", False, "limit 256; raise it with `ulimit -n 1024` (at most 4096)"
    )
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda what: unlimited)
    assert found("open files").ok is True


def test_a_machine_without_tools_can_still_be_examined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("nft", "netem", "nsenter", "chromium", "toxiproxy-server"):
        assert found(name).ok is None


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_engine_that_does_not_answer_is_named_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _program(tmp_path, "docker", "echo is the daemon running? >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert found("docker") == Finding("docker", None, "does not answer: is the daemon running?")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EnvironmentFailure, match="no Docker Engine answers"):
        doctor.clean()
    assert run_doctor("--clean") == 4


def test_a_kernel_that_refuses_is_named_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _program(tmp_path, "unshare", "echo Error: Specified qdisc kind is unknown. >&2; exit 2")
    _program(tmp_path, "tc", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert found("netem").ok is None
    assert "qdisc kind is unknown" in found("netem").detail


def test_cleaning_tells_what_was_removed(
    machine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine(True)
    _program(tmp_path, "docker", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(leftovers, "remove_orphans", lambda: ["assay-abc-n1", "assay-abc"])
    assert run_doctor("--clean") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "removed  assay-abc-n1",
        "removed  assay-abc",
    ]
    assert run_doctor("--clean", "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == ["assay-abc-n1", "assay-abc"]
    monkeypatch.setattr(leftovers, "remove_orphans", list)
    run_doctor("--clean")
    assert "nothing was left behind" in capsys.readouterr().out


@pytest.mark.docker
@pytest.mark.usefixtures("docker_engine")
def test_where_docker_tests_run_the_doctor_finds_what_they_need() -> None:
    for name in ("docker", "root", "nft", "nsenter"):
        assert found(name).ok is True
