"""`assay check`: the verdict of a recorded history, of ours or of another tool's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from checkers import linearizable
from harness import catalog
from harness.arguments import checkers, jury, split_options, with_logs
from harness.errors import UsageError
from harness.guarantees import OF_ALL, Contract, derive
from harness.history import History
from harness.report import text
from harness.run import weigh
from harness.store import RunFolder
from harness.timeline import render
from harness.verdict import Outcome, Verdict


def check_command(arguments: argparse.Namespace) -> int:
    """Exit status of the verdict; prints it."""
    path: Path = arguments.file
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    record = _record_of(path)
    options = record.get("options", {})
    more = [*options.get("checkers", ()), *arguments.checkers]
    if options.get("liveness") is not None:
        more.append("liveness")
    name = arguments.workload or record.get("workload")
    if name is None and not more:
        raise UsageError(f"{path} does not say what it is; give --workload, as in --workload log")
    workload = _judged_as(name)
    given, _ = split_options(arguments.options)
    what = (name or "").rpartition(catalog.INDEPENDENT)[2]
    contract = _contract(what, record, arguments.contract, given)
    more += [name for name in OF_ALL if contract.promises.get(name) is not None]
    checks = {**workload.CHECKS, **checkers(more)}
    if record:
        checks.update(with_logs(checks, RunFolder.find(path)))
    history = History.load(path)
    verdict = jury(arguments).judge(history, checks, contract)
    verdict = weigh(verdict, history, getattr(workload, "READS", frozenset()), {})
    if arguments.json:
        print(json.dumps({**verdict.to_json(), "run": str(path)}, default=str))
    else:
        print(text.render(verdict, f"{name or ', '.join(more)} / {path}"))
        if arguments.witness:
            _print_witnesses(history, verdict)
            if verdict.outcome is Outcome.VALID:
                print(*linearizable.told(history, what, contract), sep="\n")
    return verdict.outcome.exit_status


def _judged_as(name: str | None) -> Any:
    """The workload of this name; or what stands for one: the checker of this name, or nothing."""
    if name is None:
        return SimpleNamespace(CHECKS={})
    by_key = name.startswith(catalog.INDEPENDENT)
    if by_key or (name in catalog.names("checkers") and name not in catalog.names("workloads")):
        return SimpleNamespace(CHECKS={name: catalog.find("checkers", name)})
    return catalog.find("workloads", name)


def _record_of(path: Path) -> Mapping[str, Any]:
    """The `test.json` beside a history of ours; empty for a bare one."""
    try:
        return RunFolder.find(path).load("test.json")
    except UsageError:
        if path.is_dir():
            raise
        return {}


def _contract(
    workload: str, record: Mapping[str, Any], mode: str | None, given: Mapping[str, Any]
) -> Contract:
    """A run folder's stored contract; for a bare history the strictest, unless told otherwise."""
    stored = record.get("contract")
    if stored is None:
        return derive(workload, given, mode or "strict")
    contract = Contract.from_json(stored)
    promises = {**contract.promises, **given}
    return derive(workload, promises, mode or contract.mode)


def _print_witnesses(history: History, verdict: Verdict) -> None:
    for finding in verdict.findings:
        print(f"\n{finding.anomaly}: {finding.claim}")
        print(render([history[index] for index in finding.witness]))
