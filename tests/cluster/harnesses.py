"""Harnesses of their own processes, which the tests kill."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READY_DEADLINE_S = 60.0


@dataclass
class AHarness:
    """A process that runs `tests.cluster.a_harness`. `label`: of its run in Docker."""

    process: asyncio.subprocess.Process
    label: str

    @staticmethod
    async def start(kind: str, folder: Path) -> AHarness:
        """Returns when it is there, before its cluster is."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cluster.a_harness", kind, str(folder)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        return AHarness(process, (await _told(process))["label"])

    async def wait_until_ready(self) -> dict[str, int]:
        """Wait until its cluster runs with one node paused; {"paused": the node's pid}."""
        return await _told(self.process)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


async def _told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), READY_DEADLINE_S)
    assert line, f"the harness has ended: {process.returncode}"
    told: dict[str, Any] = json.loads(line)
    return told
