"""Routes that lead nowhere: whose they are, and that they end. `ip` is a stub here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from harness.cluster import routes

STUB = """#!{python}
import json, pathlib, sys
table = pathlib.Path({table!r})
known = json.loads(table.read_text()) if table.exists() else []
do, words = sys.argv[3], sys.argv[4:]
if do == "show":
    print(json.dumps(known) if known else "")
else:
    route = {{"type": words[0], "dst": words[1], "metric": int(words[3]), "protocol": words[5]}}
    known = [each for each in known if each != route] + ([route] if do == "replace" else [])
    table.write_text(json.dumps(known))
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The routes that there are, as JSON in a file."""
    table = tmp_path / "table"
    program = tmp_path / "ip"
    program.write_text(STUB.format(python=sys.executable, table=str(table)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(routes, "_ours", set())
    monkeypatch.setattr(routes.atexit, "register", lambda do: None)
    return table


def standing(table: Path) -> list[tuple[str, int]]:
    return [(route["dst"], route["metric"]) for route in json.loads(table.read_text())]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_subnet_is_guarded_once_for_this_process_and_let_go_in_the_end(table: Path) -> None:
    for _ in range(2):
        routes.guard(IPv4Network("198.18.7.0/24"))
    assert standing(table) == [("198.18.7.0/24", os.getpid())]
    routes._remove_ours()
    assert standing(table) == []


def test_routes_of_the_dead_are_swept_and_those_of_the_living_stay(table: Path) -> None:
    dead = dead_pid()
    living = {"type": "unreachable", "dst": "198.18.8.0/24", "metric": 1, "protocol": "198"}
    table.write_text(json.dumps([living, {**living, "dst": "198.18.9.0/24", "metric": dead}]))
    assert routes.sweep() == ["198.18.9.0/24"]
    assert standing(table) == [("198.18.8.0/24", 1)]


def test_a_machine_without_ip_runs_all_the_same(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    routes.guard(IPv4Network("198.18.7.0/24"))
    assert routes.sweep() == []
