"""Brokers as bare processes: no proxies, no supervisor. For benchmarks, and for how nodes end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.cluster.ports import Ports

ROOT = Path(__file__).parents[3]
READY_S = 20.0
END_S = 15.0


class Nodes:
    """Nodes n1…nk that reach each other directly, all with one listener named c1."""

    def __init__(
        self, folder: Path, count: int, options: Mapping[str, Any], disk: str = "real"
    ) -> None:
        self._folder, self._ports = folder, Ports()
        names = [f"n{number}" for number in range(1, count + 1)]
        bind = {name: {port: ("127.0.0.1", self._ports.take()) for port in PORTS} for name in names}
        self.configs: dict[str, dict[str, Any]] = {
            name: {
                "node": name,
                "id": number,
                "data": str(folder / name / "data"),
                "seed": number,
                "bind": bind[name],
                "advertised": {"c1": bind[name]["c1"]},
                "peers": {n: {p: bind[n][p] for p in ("peer", "raft")} for n in names if n != name},
                "peer_advertised": {n: {"c1": bind[n]["c1"]} for n in names if n != name},
                "disk": disk,
                "options": dict(options),
            }
            for number, name in enumerate(names, start=1)
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        binds = (config["bind"]["c1"] for config in self.configs.values())
        return ",".join(f"{host}:{port}" for host, port in binds)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "node.json"
        path.write_text(json.dumps(self.configs[name]))
        env = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
        with (folder / "node.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nodes.broker", str(path)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=folder,
            )
        self.processes[name] = process
        return process

    def page(self, name: str, path: str) -> bytes | None:
        """A page of the admin port; None if nobody answers."""
        host, port = self.configs[name]["bind"]["admin"]
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=2) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def wait_ready(self, *names: str) -> None:
        deadline = time.monotonic() + READY_S
        for name in names or self.configs:
            while b'"ok"' not in (self.page(name, "/health") or b""):
                assert self.processes[name].poll() is None, self.log(name)
                assert time.monotonic() < deadline, f"{name} is not ready\n{self.log(name)}"
                time.sleep(0.02)

    def log(self, name: str) -> str:
        return (self._folder / name / "node.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events; what else was printed is left out."""
        lines = self.log(name).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def end(self, name: str, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal_number)
        return process.wait(END_S)

    def cpu_s(self, name: str) -> float:
        """The processor time that the process has used."""
        fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._ports.release()


PORTS = ("peer", "raft", "admin", "c1")


@contextlib.contextmanager
def running(folder: Path, count: int, options: Mapping[str, Any] | None = None) -> Iterator[Nodes]:
    """Nodes that are up."""
    nodes = Nodes(folder, count, options or {})
    try:
        for name in nodes.configs:
            nodes.start(name)
        nodes.wait_ready()
        yield nodes
    finally:
        nodes.close()
