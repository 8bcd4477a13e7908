"""The peer: a small Go program on github.com/anishathalye/porcupine, with the same limits as ours.

It is built in a temporary folder; Go fetches the module by itself, at the version in `go.mod`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.bench.measure import CPU_S, MEMORY_BYTES, limited

SOURCE = Path(__file__).parent / "porcupine_go"
BUILD_S = 300


class Missing(Exception):
    """There is no such program here; why."""


@dataclass(frozen=True)
class Answer:
    """What the peer said.

    Attributes:
        check_s, longest_s: of all histories together, and of one; None if it gave no answer.
        results: how often it said "Ok" and "Illegal".
        why: of no answer.
    """

    check_s: float | None
    longest_s: float = 0.0
    peak_mb: float = 0.0
    results: tuple[tuple[str, int], ...] = ()
    why: str = ""


def build(folder: Path) -> Path:
    """The program.

    Raises:
        Missing: Go is not here, or the module cannot be had.
    """
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise Missing("Go is not installed")
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(SOURCE / name, folder / name)
    try:
        done = subprocess.run(
            [go, "build", "-mod=mod", "-o", "peer", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
        )
    except subprocess.TimeoutExpired:
        raise Missing("building it took too long") from None
    if done.returncode:
        raise Missing("the module cannot be had: " + done.stderr.strip().splitlines()[-1])
    return folder / "peer"


def asked(program: Path, thing: str, paths: Sequence[Path]) -> Answer:
    """One process that judges the histories of an object."""
    try:
        done = limited([str(program), thing, *map(str, paths)])
    except subprocess.TimeoutExpired:
        return Answer(None, why=f"no answer in {CPU_S} s")
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):  # Go itself does not end at the first
        return Answer(None, why=f"no answer in {CPU_S} s")
    if "out of memory" in done.stderr or "cannot allocate memory" in done.stderr:
        return Answer(None, why=f"more than {MEMORY_BYTES >> 30} GB")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[0]
        return Answer(None, why=f"ended with {done.returncode}: {said}")
    told = json.loads(done.stdout)
    results = tuple(sorted(told["results"].items()))
    return Answer(told["check_s"], told["longest_s"], told["peak_mb"], results)
