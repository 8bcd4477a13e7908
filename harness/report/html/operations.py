"""Operations as data for the page's script: parallel arrays, one entry an operation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.history import History
from harness.op import KINDS, Kind, Op

VALUE_CHARS_MAX = 2000
"""A longer value is cut in the page; the history file has it whole."""

_COLUMNS = (
    *("index", "end_index", "start", "end", "process", "f"),
    *("type", "value", "result", "error", "node"),
)

_CODE = {kind: code for code, kind in enumerate(KINDS)}


def data(
    history: History, bands: Sequence[Mapping[str, Any]], witnesses: Mapping[int, Collection[str]]
) -> dict[str, Any]:
    """What `report.js` reads.

    Keys: `index`, `end_index` (events' indices, -1 without a completion), `start`, `end`
    (microseconds, -1 while pending), `lane`, `process`, `f`, `type` (codes), `value` and `result`
    (text), `error`, `node`; `lanes`, `fs`, `nodes` (tables); `bands`; `findings` (event index →
    anomalies); `until` (microseconds).
    """
    fs: dict[str, int] = {}
    nodes: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for position in range(len(history)):
        if history.type[position] != 0 and history.process[position] >= 0:
            continue
        pair = int(history.pair[position])
        if history.process[position] < 0 and 0 <= pair < position:
            continue  # the second event of a nemesis operation
        begun, ended = history[position], history[pair] if pair >= 0 else None
        _append(columns, begun, ended, fs, nodes)
    threads = _threads(history)
    lanes, lane = _lanes(columns["process"], threads)
    return {
        **columns,
        "lane": lane,
        "lanes": lanes,
        "fs": list(fs),
        "nodes": list(nodes),
        "bands": list(bands),
        "findings": {str(index): sorted(names) for index, names in witnesses.items()},
        "until": int(history.time[-1]) // 1000 if len(history) else 0,
        "count": len(columns["index"]),
    }


def bands(history: History, declared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """When each fault was on: {"name", "colour", "start", "end" (ns), "value"}."""
    found: list[dict[str, Any]] = []
    open_: dict[str, dict[str, Any]] = {}
    for position in (history.process < 0).nonzero()[0]:
        op = history[int(position)]
        first = history.pair[position] < 0 or history.pair[position] > position
        for band in declared:
            name = band["name"]
            if first and op.f in band["start"]:
                _close(open_, name, op.time, found)
                shape = {"name": name, "colour": band["colour"], "start": op.time}
                open_[name] = {**shape, "value": _text(op.value)}
            elif not first and op.f in band["stop"]:
                _close(open_, name, op.time, found)
    end = int(history.time[-1]) if len(history) else 0
    for name in list(open_):
        _close(open_, name, end, found)
    return sorted(found, key=lambda band: (band["start"], band["name"]))


def _close(
    open_: dict[str, dict[str, Any]], name: str, time: int, found: list[dict[str, Any]]
) -> None:
    band = open_.pop(name, None)
    if band is not None:
        found.append({**band, "end": time})


def _append(
    columns: dict[str, list[Any]],
    begun: Op,
    ended: Op | None,
    fs: dict[str, int],
    nodes: dict[str, int],
) -> None:
    node = (ended.node if ended else None) or begun.node
    result = _text(ended.value) if ended and ended.type is Kind.OK else ""
    if ended and ended.extra and "effect" in ended.extra:
        result = _text(ended.extra["effect"])
    row = {
        "index": begun.index,
        "end_index": ended.index if ended else -1,
        "start": begun.time // 1000,
        "end": ended.time // 1000 if ended else -1,
        "process": begun.process,
        "f": fs.setdefault(begun.f, len(fs)),
        "type": _CODE[ended.type] if ended else _CODE[Kind.INVOKE],
        "value": _text(begun.value),
        "result": result,
        "error": ": ".join(ended.error) if ended and ended.error else "",
        "node": nodes.setdefault(node, len(nodes)) if node else -1,
    }
    for name, value in row.items():
        columns[name].append(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


def _threads(history: History) -> int:
    """How many threads the processes were spread over: a crash adds that many to a number."""
    seen: set[int] = set()
    for process in history.process[: 4 * 1024].tolist():
        if process < 0:
            continue
        if process in seen or process == len(seen):
            seen.add(process)
        else:
            break
    return max(len(seen), 1)


def _lanes(processes: Sequence[int | str], threads: int) -> tuple[list[str], list[int]]:
    """A lane a thread, in order; others (the nemesis) above them by name."""
    others = sorted({p for p in processes if isinstance(p, str)})
    place: dict[int | str, int] = {name: lane for lane, name in enumerate(others)}
    used = sorted({p % threads for p in processes if isinstance(p, int)})
    place.update({thread: len(others) + lane for lane, thread in enumerate(used)})
    lane = [place[p if isinstance(p, str) else p % threads] for p in processes]
    return [*others, *(f"thread {thread}" for thread in used)], lane
