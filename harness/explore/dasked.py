"""Seeds on the workers of a dask cluster: `assay explore --scheduler ADDRESS`.

Each thread of a worker has a child of its own (`harness.explore.apart`), since a world is alone in
its process. Workers need this project installed, and their run folders are theirs: `--results`
should be a place that they share.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import EnvironmentFailure, UsageError
from harness.explore.apart import Apart
from harness.explore.once import Job, Result

CONNECT_TIMEOUT_S = 10


def results_on(address: str, job: Job, seeds: Sequence[int]) -> Iterator[Result]:
    """Of all seeds, as they are ready. Whoever stops asking cancels the rest.

    Raises:
        UsageError: dask is not installed. EnvironmentFailure: nobody answers at `address`.
    """
    with _client(address) as client:
        left = iter(seeds)

        def begin(count: int) -> list[Any]:
            # Nothing is cached: a seed that is asked for again is run again.
            some = itertools.islice(left, count)
            return [client.submit(explore_here, job, seed, pure=False) for seed in some]

        # A few ahead, so that no worker waits, and an early end has little to undo.
        waiting = begin(2 * max(sum(client.nthreads().values()), 1))
        try:
            while waiting:
                for future in _done(client, waiting):
                    waiting.remove(future)
                    waiting += begin(1)
                    yield future.result()
        finally:
            client.cancel(waiting)


def _client(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError("--scheduler needs dask: pip install 'assay[dask]'") from None
    try:
        return distributed.Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(f"no dask scheduler answers at {address}: {error}") from error


def _done(client: Any, waiting: Sequence[Any]) -> Sequence[Any]:
    import distributed

    with client.as_current():
        done = distributed.wait(waiting, return_when="FIRST_COMPLETED").done
    return [future for future in waiting if future in done]


_mine = threading.local()


def explore_here(job: Job, seed: int) -> Result:
    """One seed, on the worker that is asked."""
    child = getattr(_mine, "child", None)
    if child is None or child.ended:
        child = _mine.child = Apart()
    result: Result = child.explore(job, seed)
    return result
