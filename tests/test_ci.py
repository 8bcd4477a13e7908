"""`.ci/packages` is silent when all is well and speaks when it is not; what it calls are stubs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/packages"
TOOLS = ("dockerd", "iptables", "nft", "tc", "nsenter", "mkfs.ext4", "chromium", "kcat")
TOOLS += ("make", "git", "python3", "mountpoint", "docker", "apt-get", "cgroupfs-mount")


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of programs that all succeed and say nothing; the only ones besides the shell's."""
    for name in TOOLS:
        stub(tmp_path, name, "exit 0")
    for name in ("bash", "mktemp", "tail", "rm", "sleep", "timeout", "setsid", "touch", "cat"):
        found = next(p for p in map(Path, ("/usr/bin", "/bin")) if (p / name).exists())
        (tmp_path / name).symlink_to(found / name)
    return tmp_path


def stub(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def run(stubs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(SCRIPT)],
        env={**os.environ, "PATH": str(stubs), "TMPDIR": str(stubs)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_machine_that_has_everything_hears_nothing(stubs: Path) -> None:
    stub(stubs, "apt-get", "echo called >&2; exit 1")
    stub(stubs, "dockerd", "echo called >&2; exit 1")
    done = run(stubs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_installed_in_silence(stubs: Path) -> None:
    (stubs / "nft").unlink()
    (stubs / "kcat").unlink()
    stub(stubs, "apt-get", f'echo "$*" >>{stubs}/asked; echo noise')
    done = run(stubs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    install = (stubs / "asked").read_text().splitlines()[-1]
    assert " install " in install and install.endswith("nftables kcat")


def test_a_failing_installation_is_quoted(stubs: Path) -> None:
    (stubs / "nft").unlink()
    stub(stubs, "apt-get", "echo E: no such package; exit 100")
    done = run(stubs)
    assert done.returncode != 0
    assert "failed: apt-get" in done.stderr and "E: no such package" in done.stderr


def test_an_engine_is_started_where_none_answers(stubs: Path) -> None:
    stub(stubs, "docker", f"test -e {stubs}/up")
    stub(stubs, "dockerd", f"touch {stubs}/up; sleep 0.1")
    done = run(stubs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (stubs / "up").exists()


def test_control_groups_are_mounted_only_where_nobody_did(stubs: Path) -> None:
    stub(stubs, "docker", f"test -e {stubs}/up")
    stub(stubs, "dockerd", f"touch {stubs}/up; sleep 0.1")
    stub(stubs, "cgroupfs-mount", f"touch {stubs}/mounted")
    assert run(stubs).returncode == 0
    assert not (stubs / "mounted").exists()
    (stubs / "up").unlink()
    stub(stubs, "mountpoint", "exit 1")
    assert run(stubs).returncode == 0
    assert (stubs / "mounted").exists()


def test_an_engine_that_dies_is_quoted_at_once(stubs: Path) -> None:
    stub(stubs, "docker", "exit 1")
    stub(stubs, "dockerd", "echo no cgroups found >&2; exit 1")
    done = run(stubs)
    assert done.returncode == 1
    assert "no Docker Engine could be started" in done.stderr
    assert "no cgroups found" in done.stderr
