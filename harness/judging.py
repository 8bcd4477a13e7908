"""`assay check`: the verdict of a recorded history, of ours or of another tool's."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from checkers import linearizable
from harness import catalog, foreign
from harness.arguments import checkers, jury, split_options, with_logs
from harness.errors import UsageError
from harness.guarantees import OF_ALL, Contract, derive
from harness.history import History
from harness.report import text, writable, write_page
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
    if arguments.report is not None:
        writable(arguments.report, path)
    history = History.load(path)
    verdict = jury(arguments).judge(history, checks, contract)
    verdict = weigh(verdict, history, getattr(workload, "READS", frozenset()), {})
    if history.remarks:
        verdict = verdict.with_stats({"reading": list(history.remarks)})
    if arguments.json:
        print(json.dumps({**verdict.to_json(), "run": str(path)}, default=str))
    else:
        title = f"{name or ', '.join(more)} / {path}"
        print(text.render(verdict, title, report=arguments.report))
        for remark in history.remarks:
            print(f"  reading: {remark}")
        if arguments.witness:
            _print_witnesses(history, verdict)
            if verdict.outcome is Outcome.VALID:
                print(*linearizable.told(history, what, contract), sep="\n")
    if arguments.report is not None:
        sys.stdout.flush()  # whatever becomes of the report, the verdict was told
        _write_report(arguments, name, record, contract, history, verdict)
    return verdict.outcome.exit_status


def _write_report(
    arguments: argparse.Namespace,
    name: str | None,
    record: Mapping[str, Any],
    contract: Contract,
    history: History,
    verdict: Verdict,
) -> None:
    path = arguments.file
    test = {**record, "contract": contract.to_json()}
    if not record:
        test |= {"workload": name or ", ".join(arguments.checkers), "history": str(path)}
    options = [word for option in arguments.options for word in ("-o", option)]
    asked = [word for checker in arguments.checkers for word in ("--checker", checker)]
    if arguments.workload is not None:
        asked += ["--workload", arguments.workload]
    if arguments.contract is not None:
        asked += ["--contract", arguments.contract]
    where = RunFolder.find(path).path if record else path
    check = shlex.join(["assay", "check", str(path), *asked, *options])
    told = json.loads(json.dumps(verdict.to_json(), default=str))  # as it would be stored
    write_page(arguments.report, history, test, told, where, check)


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
        if path.is_dir() and not any((path / name).exists() for name in foreign.NAMES):
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
