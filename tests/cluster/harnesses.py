"""Harnesses of their own processes, which the tests kill."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    @asynccontextmanager
    async def running(kind: str, folder: Path) -> AsyncIterator[AHarness]:
        """It is there, though its cluster may not be yet. Killed in the end if it still lives."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cluster.a_harness", kind, str(folder)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield AHarness(process, (await _told(process))["label"])
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

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
