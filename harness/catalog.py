"""Names of workloads, nemeses, checkers and systems, and how third parties add theirs.

Explicit dictionaries for our own; entry points (`assay.workloads`, `assay.nemeses`,
`assay.checkers`, `assay.systems`) for installed packages; `path/to/file.py:NAME` for a file. A
checker `independent:NAME` judges by the one of that name, key by key.

    kind      what a name stands for
    workload  a module (or object) with `Options`, `workload` and `CHECKS`; see `harness.workload`
    nemesis   a function Rhythm → Package; see `harness.nemesis`
    checker   a function (History, Contract) → Verdict; see `harness.checker`
    bug       a `nodes.bugs.bug.Bug`
    system    a class without arguments that is a `harness.system.System`
"""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from nodes import bugs

Load = Callable[[], Any]

INDEPENDENT = "independent:"
"""Names of checkers that judge key by key begin so."""


def _module(name: str) -> Load:
    return lambda: import_module(name)


def _attribute(module: str, name: str) -> Load:
    return lambda: getattr(import_module(module), name)


OWN: Mapping[str, Mapping[str, Load]] = {
    "workloads": {
        "log": _module("workloads.log"),
    },
    "nemeses": {
        "none": _attribute("nemeses.noop", "package"),
        "kill": _attribute("nemeses.kill", "package"),
        "power": _attribute("nemeses.kill", "power_package"),
        "pause": _attribute("nemeses.pause", "package"),
        "partition": _attribute("nemeses.partition", "package"),
        "links": _attribute("nemeses.links", "package"),
        "clock": _attribute("nemeses.clock", "package"),
        "disk": _attribute("nemeses.disk", "package"),
    },
    "checkers": {
        "log": _attribute("checkers.log", "check"),
        "crash": _attribute("checkers.crash", "check"),
        "faults": _attribute("checkers.faults", "check"),
        "statistics": _attribute("checkers.statistics", "check"),
        "clients": _attribute("checkers.clients", "check"),
        "liveness": _attribute("checkers.liveness", "check"),
        "quorum": _attribute("checkers.quorum", "check"),
        "recovery": _attribute("checkers.recovery", "check"),
        "log-pattern": _attribute("checkers.log_pattern", "check"),
        "independent": _attribute("checkers.independent", "unnamed"),
        "append": _attribute("checkers.list_append", "check"),
        "wr": _attribute("checkers.rw_register", "check"),
        "register": _attribute("checkers.linearizable.register", "check"),
        "multi-register": _attribute("checkers.linearizable.searched", "check_registers"),
        "queue": _attribute("checkers.linearizable.queue", "check"),
        "set": _attribute("checkers.linearizable.sets", "check"),
        "set-full": _attribute("checkers.set_full", "check"),
        "total-queue": _attribute("checkers.total_queue", "check"),
        "unique-ids": _attribute("checkers.unique_ids", "check"),
        "stack": _attribute("checkers.linearizable.stack", "check"),
        "priority-queue": _attribute("checkers.linearizable.priority_queue", "check"),
        "counter": _attribute("checkers.linearizable.counter", "check"),
        "lock": _attribute("checkers.linearizable.searched", "check_lock"),
        "causal": _attribute("checkers.causal", "check"),
        "causal-reverse": _attribute("checkers.causal_reverse", "check"),
        "adya": _attribute("checkers.adya", "check"),
        "mutex": _attribute("checkers.mutex", "check"),
        "bank": _attribute("checkers.bank", "check"),
        "long-fork": _attribute("checkers.long_fork", "check"),
        "sessions": _attribute("checkers.sessions", "check"),
    },
    "systems": {
        "broker": _attribute("systems.broker", "Broker"),
    },
    "bugs": {name: partial(bugs.find, name) for name in bugs.names()},
}


def names(kind: str) -> list[str]:
    """All names of a kind: ours first, then those of installed packages."""
    return [*OWN[kind], *(e.name for e in _entries(kind) if e.name not in OWN[kind])]


def find(kind: str, name: str) -> Any:
    """What `name` stands for.

    Raises:
        UsageError: nothing; the message lists what there is.
    """
    if kind == "checkers" and name.startswith(INDEPENDENT):
        judge = name.removeprefix(INDEPENDENT)
        return _attribute("checkers.independent", "by_key")()(judge, find(kind, judge))
    if ":" in name and name.partition(":")[0].endswith(".py"):
        return _from_file(kind, name)
    if name in OWN[kind]:
        return OWN[kind][name]()
    for entry in _entries(kind):
        if entry.name == name:
            return _load(entry)
    raise UsageError(
        f"{name!r} is none of the {kind}: {', '.join(names(kind))}; "
        "one of your own: path/to/file.py:NAME"
    )


def describe(kind: str) -> list[dict[str, str]]:
    """Name and first sentence of everything of a kind, even of what cannot be loaded."""
    return [_describe(kind, name) for name in names(kind)]


def _describe(kind: str, name: str) -> dict[str, str]:
    about = {"name": name, "about": _about_or_why_not(kind, name)}
    return {**about, **find(kind, name).to_json()} if kind == "bugs" else about


def _about_or_why_not(kind: str, name: str) -> str:
    try:
        return _about(find(kind, name))
    except UsageError as error:
        return str(error)


def _entries(kind: str) -> Iterable[EntryPoint]:
    return entry_points(group=f"assay.{kind}")


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist is not None else "somebody"
        raise UsageError(
            f"{entry.name!r} of {package} cannot be loaded ({entry.value}): "
            f"{type(error).__name__}: {error}"
        ) from error


def _about(thing: Any) -> str:
    text = getattr(thing, "mechanism", None) or thing.__doc__ or ""
    if callable(thing) and not text:
        text = sys.modules[thing.__module__].__doc__ or ""
    return text.strip().partition("\n")[0]


def _from_file(kind: str, name: str) -> Any:
    where, _, attribute = name.rpartition(":")
    path = Path(where)
    if not path.is_file():
        raise UsageError(f"{where} is no file; expected path/to/file.py:NAME")
    # Under a name of its own: one called json.py must not stand in for another module.
    module_name = f"assay_file_{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UsageError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        there = ", ".join(name for name in vars(module) if not name.startswith("_"))
        raise UsageError(f"{where} has no {attribute!r} to be one of the {kind}; it has {there}")
    return getattr(module, attribute)
