"""Which lane of the timeline each client process is drawn in: that of the thread it ran on.

A process whose operation ends in INFO is retired, and its thread goes on as process + threads. How
many threads there were stands in no history; it is the smallest number under which every higher
process continues one that had been retired before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.history import History
from harness.op import KINDS, Kind

CANDIDATES_MAX = 5000
PROCESSES_MAX = 200
"""So many processes that follow no rule get a lane each; of more, some share one."""

_INFO = KINDS.index(Kind.INFO)
_NEVER = np.iinfo(np.int64).max

Ints = NDArray[np.int64]


def of_processes(history: History) -> dict[int, int]:
    """Process → lane, dense from 0, in the order of the threads' numbers.

    A history whose processes follow no such rule gets as few lanes as its processes, each from its
    first to its last event, can be drawn in.
    """
    processes, first, last, retired = _lives(history)
    if not len(processes):
        return {}
    threads = _threads(processes, first, retired)
    if threads is None:
        return _packed(processes, first, last)
    used, lane = np.unique(processes % threads, return_inverse=True)
    del used
    return dict(zip(processes.tolist(), lane.tolist(), strict=True))


def _lives(history: History) -> tuple[Ints, Ints, Ints, Ints]:
    """Each client process, the positions of its first and last event and of its retirement."""
    positions = np.flatnonzero(history.process >= 0)
    processes, first, row = np.unique(
        history.process[positions], return_index=True, return_inverse=True
    )
    last = np.zeros(len(processes), np.int64)
    np.maximum.at(last, row, positions)
    retired = np.full(len(processes), _NEVER)
    infos = history.type[positions] == _INFO
    np.minimum.at(retired, row[infos], positions[infos])
    return processes.astype(np.int64), positions[first], last, retired


def _threads(processes: Ints, first: Ints, retired: Ints) -> int | None:
    highest = int(processes[-1])
    before = processes[retired < _NEVER]
    # The highest process continues a retired one, or nobody was ever continued.
    candidates = np.unique(highest - before[before < highest])
    for threads in candidates[:CANDIDATES_MAX].tolist():
        later = processes >= threads
        place = np.searchsorted(processes, processes[later] - threads)
        found = processes[place] == processes[later] - threads
        if found.all() and (retired[place] < first[later]).all():
            return int(threads)
    return highest + 1 if len(processes) <= PROCESSES_MAX else None


def _packed(processes: Ints, first: Ints, last: Ints) -> dict[int, int]:
    lanes: dict[int, int] = {}
    ends: list[int] = []
    for each in np.argsort(first, kind="stable").tolist():
        begin, end = int(first[each]), int(last[each])
        lane = next((i for i, free in enumerate(ends) if free < begin), len(ends))
        ends[lane:] = [end, *ends[lane + 1 :]]
        lanes[int(processes[each])] = lane
    return lanes
