"""Operations as data for the page's script: parallel arrays, one entry an operation.

A page stays small whatever the run was: of more than OPERATIONS_MAX operations it holds every
n-th, beside all that findings and faults name; of values it holds as many characters as
TEXT_CHARS_MAX allows all of them together. `history.jsonl` has the rest.

Blind to: the order of events within a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.columns import MICRO, PAIR, is_integer, is_object
from harness.history import History
from harness.op import KINDS, Kind, Op
from harness.report.html.faults import Faults
from harness.report.html.lanes import of_processes
from harness.report.html.markup import json
from harness.report.visible import visible

OPERATIONS_MAX: Final = 200_000
TEXT_CHARS_MAX: Final = 20_000_000
VALUE_CHARS: Final = (2000, 1000, 500, 250, 120, 60)
"""How much of a value is kept: the most with which all values fit."""

PENDING, OTHER = 0, 4
"""Types beside those of `KINDS`: not completed (the code of INVOKE), and not a client's."""

_CODE = {kind: code for code, kind in enumerate(KINDS)}
_COLUMNS = (
    *("index", "end_index", "start", "end", "process", "f"),
    *("type", "value", "result", "error", "node"),
)


def data(history: History, faults: Faults, findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page's script reads.

    Args:
        findings: {"id", "name", "kind", "events": indices} of each finding of the page.

    Returns:
        Arrays by operation: `index`, `end_index` (of events; -1 without a completion), `start`,
        `end` (microseconds; -1 while pending), `process` (number or name), `f`, `node` (rows of the
        tables `fs` and `nodes`; no node is -1), `type` (0 pending, 1 ok, 2 fail, 3 info, 4 somebody
        else's), `lane` (row of `lanes`), `value`, `result`, `error` (text). `key_start` and `key`:
        keys of operation i are key[key_start[i]:key_start[i + 1]], rows of `keys` (text).
        Of the run: `until` (microseconds), `total` (operations of the history), `cut` (characters
        of the longest value that is whole), `bands` (each fault), `shades` (the same
        without overlaps of a kind), `phases`, `findings`.
    """
    begun, ended = _operations(history)
    total = len(begun)
    named = [index for finding in findings for index in finding["events"]]
    kept = _kept(history, begun, named)
    begun, ended = begun[kept], ended[kept]
    columns, fs, nodes = _columns(history, begun, ended)
    cut = _cut([columns[name] for name in ("value", "result", "error")])
    lanes, lane = _lanes(history, columns["process"])
    keys, key_start, key = _keys(history, begun, ended)
    return {
        **columns,
        "lane": lane,
        "key_start": key_start,
        "key": key,
        "keys": keys,
        "lanes": lanes,
        "fs": fs,
        "nodes": nodes,
        "until": faults.end // 1000,
        "total": total,
        "cut": cut,
        "bands": [
            {
                "name": visible(band.name),
                "target": visible(band.target),
                "about": visible(band.about),
                "colour": band.colour,
                "start": band.begin // 1000,
                "end": band.end // 1000,
            }
            for band in faults.bands
        ],
        "shades": [
            {"colour": shade.colour, "start": shade.begin // 1000, "end": shade.end // 1000}
            for shade in faults.shades()
        ],
        "phases": [
            {"name": visible(p.name), "start": p.begin // 1000, "end": p.end // 1000}
            for p in faults.phases
        ],
        "findings": list(findings),
    }


def _operations(history: History) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of every operation's first event, ascending, and of its completion or -1."""
    pair = history.pair.astype(np.int64)
    first = (pair < 0) | (pair > np.arange(len(history)))
    begun = np.flatnonzero(first)
    return begun, pair[begun]


def _kept(
    history: History, begun: NDArray[np.int64], named: Iterable[int]
) -> NDArray[np.int64] | slice:
    """Rows of the operations that the page holds."""
    if len(begun) <= OPERATIONS_MAX:
        return slice(None)
    always = history.process[begun] < 0
    events = np.array([index for index in named if 0 <= index < len(history)], np.int64)
    firsts = np.where(history.pair[events] >= 0, np.minimum(history.pair[events], events), events)
    always |= np.isin(begun, firsts)
    step = -(-len(begun) // OPERATIONS_MAX)
    always[::step] = True
    return np.flatnonzero(always)


def _columns(
    history: History, begun: NDArray[np.int64], ended: NDArray[np.int64]
) -> tuple[dict[str, list[Any]], list[str], list[str]]:
    fs: dict[str, int] = {}
    nodes: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    append = [column.append for column in columns.values()]
    for first, second in zip(begun.tolist(), ended.tolist(), strict=True):
        row = _row(history[first], history[second] if second >= 0 else None, fs, nodes)
        for add, value in zip(append, row, strict=True):
            add(value)
    return columns, [visible(f) for f in fs], [visible(node) for node in nodes]


def _row(begun: Op, ended: Op | None, fs: dict[str, int], nodes: dict[str, int]) -> tuple[Any, ...]:
    """In the order of _COLUMNS."""
    client = isinstance(begun.process, int)
    node = (ended.node if ended is not None else None) or begun.node
    error = (ended.error if ended is not None else None) or begun.error
    kind = ended.type if ended is not None else Kind.INVOKE
    return (
        begun.index,
        ended.index if ended is not None else -1,
        begun.time // 1000,
        ended.time // 1000 if ended is not None else -1,
        begun.process if client else visible(str(begun.process)),
        fs.setdefault(begun.f, len(fs)),
        _CODE[kind] if client else OTHER,
        _text(begun.value),
        _result(begun, ended, client),
        visible(": ".join(error)) if error else "",
        nodes.setdefault(node, len(nodes)) if node else -1,
    )


def _result(begun: Op, ended: Op | None, client: bool) -> str:
    """What an operation returned; of a fault, what a probe saw of it."""
    if not client:
        return _text((ended or begun).extra)
    return _text(ended.value) if ended is not None and ended.type is Kind.OK else ""


def _text(value: Any) -> str:
    return "" if value is None else visible(json(value))


def _cut(columns: Sequence[list[str]]) -> int:
    """Cut the texts of all columns, in place, so that they fit; the characters kept of one."""
    sizes = np.array([len(text) for column in columns for text in column], np.int64)
    kept = next(
        (limit for limit in VALUE_CHARS if np.minimum(sizes, limit).sum() <= TEXT_CHARS_MAX),
        VALUE_CHARS[-1],
    )
    for column in columns:
        column[:] = [text if len(text) <= kept else f"{text[:kept]}…" for text in column]
    return kept


def _keys(
    history: History, begun: NDArray[np.int64], ended: NDArray[np.int64]
) -> tuple[list[str], list[int], list[int]]:
    """The keys that each operation speaks of, in its value or in its result."""
    values, micro = history.values, history.values.micro
    event: list[NDArray[np.int64]] = []
    code: list[NDArray[np.int64]] = []
    pairs = values.positions(PAIR)
    if len(pairs):
        event.append(pairs)
        code.append(values.pair[:, 0])
    micros = values.positions(MICRO)
    if len(micros):
        rows = micro.row_of_mop()
        event += [micros[rows], micros[rows[micro.mop_of_entry()]]]
        code += [micro.mop_key, micro.entry_key]
    if not event:
        return [], [0] * (len(begun) + 1), []
    events, codes = np.concatenate(event), np.concatenate(code)
    # A key is an integer or a word; MISSING and null name nothing.
    there = is_integer(codes) | is_object(codes)
    row = np.full(len(history), -1, np.int64)
    row[begun] = np.arange(len(begun))
    row[ended[ended >= 0]] = np.flatnonzero(ended >= 0)
    there &= row[events] >= 0
    distinct, place = np.unique(codes[there], return_inverse=True)
    # Row and key as one number: sorting pairs takes ten times as long.
    rows, place = np.divmod(
        np.unique(row[events[there]] * len(distinct) + place), max(len(distinct), 1)
    )
    start = np.searchsorted(rows, np.arange(len(begun) + 1))
    names = [_name(values.decode(each)) for each in distinct.tolist()]
    return names, start.tolist(), place.tolist()


def _name(key: Any) -> str:
    return visible(key if isinstance(key, str) else json(key))


def _lanes(history: History, processes: Sequence[int | str]) -> tuple[list[str], list[int]]:
    """A lane a thread, in order; others (the nemesis) above them by name."""
    others = sorted({p for p in processes if isinstance(p, str)})
    threads = of_processes(history)
    place: dict[int | str, int] = {name: lane for lane, name in enumerate(others)}
    place |= {process: len(others) + lane for process, lane in threads.items()}
    count = max(threads.values(), default=-1) + 1
    return [*others, *(f"thread {n}" for n in range(count))], [place[p] for p in processes]
