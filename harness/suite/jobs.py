"""What a suite is: named jobs of a TOML file, each a command of assay and what is expected of it.

    name = "nightly"                 # of the suite; the file's name if it is left out

    [defaults]                       # what jobs do not say themselves
    time-limit = 60

    [[job]]
    name = "broker under kills"
    command = "run"                  # or "explore"
    workload = "log"
    nemesis = "kill,pause"
    options = { acks = "all" }       # -o, or --fixed
    expect = "valid"                 # or "found", or names of anomalies, one of which must be found
    budget-s = 600                   # then it is interrupted, and tells what it has

Every other key is a flag of the command. A job that explores with `bug = "all"` stands for one job
for each bug of the zoo, which must be found as one of the anomalies that the bug declares.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness import catalog
from harness.arguments import parse_test
from harness.errors import UsageError
from harness.explore.command import fixed_of, run_arguments
from harness.explore.drawing import FLAGS, draw

Scalar = str | int | float | bool


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One job. What is None is not said, so that the command's own default holds.

    Attributes:
        expect: "valid": nothing is found; "found": anything; else the anomalies of which one must
            be found.
        budget_s: when it is interrupted.
    """

    name: str
    command: Literal["run", "explore"] = "run"
    workload: str | None = None
    expect: Literal["valid", "found"] | tuple[str, ...] = "valid"
    budget_s: float = 3600.0
    options: dict[str, Scalar] = {}
    # flags of the command
    system: str | None = None
    cluster: Literal["sim", "local", "docker"] | None = None
    nodes: int | None = None
    nemesis: str | None = None
    nemesis_interval: float | None = None
    time_limit: float | None = None
    rate: float | None = None
    concurrency: str | int | None = None
    client: str | None = None
    seed: int | None = None
    seeds: str | None = None
    test_count: int | None = None
    jobs: int | None = None
    contract: Literal["derived", "strict"] | None = None
    disk: Literal["real", "volatile"] | None = None
    liveness: float | None = None
    bug: str | None = None
    beyond_contract: bool = False

    @property
    def words(self) -> list[str]:
        """The command, as it stands on a command line."""
        words = [self.command, *([self.workload] if self.workload else [])]
        for flag in _FLAGS:
            value = getattr(self, flag.replace("-", "_"))
            if value is None or (self.command == "explore" and flag == "cluster"):
                continue
            if self.command == "explore" and flag in FLAGS:
                words += ["--fixed", f"{flag}={value}"]
            else:
                words += [f"--{flag}", str(value)]
        words += ["--beyond-contract"] if self.beyond_contract else []
        option = "-o" if self.command == "run" else "--fixed"
        for key, value in self.options.items():
            words += [option, f"{key}={_spelled(value)}"]
        if self.command == "explore" and self.expect != "valid":
            words += ["--until", "any" if self.expect == "found" else ",".join(self.expect)]
        return words

    @property
    def line(self) -> str:
        return shlex.join(["assay", *self.words])


_OWN = {"name", "command", "workload", "expect", "budget-s", "options", "beyond-contract"}
_FLAGS = [field.encode_name for field in msgspec.structs.fields(Job)]
_FLAGS = [name for name in _FLAGS if name not in _OWN]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    job: list[dict[str, Any]]
    name: str | None = None
    defaults: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    jobs: Sequence[Job]


def load(path: Path) -> Suite:
    """Raises UsageError: it cannot be read, or a job of it cannot be; nothing has been started."""
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path} is no suite: {error}") from error
    jobs: list[Job] = []
    for number, table in enumerate(file.job, 1):
        told = f"{path}, job {table.get('name', number)}"
        try:
            job = msgspec.convert({**file.defaults, **table}, Job)
        except msgspec.ValidationError as error:
            known = ", ".join(field.encode_name for field in msgspec.structs.fields(Job))
            hint = f"; a job may say {known}" if "unknown field" in str(error) else ""
            raise UsageError(f"{told}: {error}{hint}") from error
        for each in _expanded(job):
            _check(each, told)
            jobs.append(each)
    names = [job.name for job in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{path}: two jobs have the name {twice[0]!r}")
    if not jobs:
        raise UsageError(f"{path} has no job: begin one with [[job]]")
    return Suite(file.name or path.stem, jobs)


def only(jobs: Sequence[Job], patterns: Sequence[str]) -> Sequence[Job]:
    """Those whose name matches one of the patterns, as a shell matches names; all without any.

    Raises:
        UsageError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(job.name, pattern) for job in jobs):
            there = ", ".join(job.name for job in jobs)
            raise UsageError(f"--only {pattern}: no job has such a name; there are {there}")
    return [
        job
        for job in jobs
        if not patterns or any(fnmatch.fnmatchcase(job.name, pattern) for pattern in patterns)
    ]


def _expanded(job: Job) -> Iterator[Job]:
    """One job for each bug, if it is of all of them."""
    if job.bug != "all" or job.command != "explore":
        yield job
        return
    for bug in catalog.names("bugs"):
        expect = catalog.find("bugs", bug).anomalies if job.expect == "found" else job.expect
        name = f"{job.name}/{bug}"
        yield msgspec.structs.replace(job, name=name, bug=bug, expect=expect)


def _check(job: Job, told: str) -> None:
    """Raises UsageError: the command would be wrong usage."""
    from harness.cli import parser

    if job.budget_s <= 0:
        raise UsageError(f"{told}: budget-s={job.budget_s:g} is not greater than 0")
    if job.command == "explore" and job.cluster not in (None, "sim"):
        raise UsageError(f"{told}: only simulated runs are explored, not those of {job.cluster}")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            arguments = parser().parse_args(job.words)
        if job.command == "run":
            parse_test(arguments, 0)
        else:
            draw(run_arguments(arguments), arguments.seeds[0], fixed_of(arguments))
    except SystemExit as error:
        what = said.getvalue().partition("\n")[0].removeprefix("assay: ")
        raise UsageError(f"{told}: {what}") from error
    except UsageError as error:
        raise UsageError(f"{told}: {error}") from error


def _spelled(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
