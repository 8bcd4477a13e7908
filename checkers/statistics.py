"""What was asked, how it ended and how long it took: by kind of operation, and all together.

Reads every client operation. One without a completion counts as `info`, as nobody knows of it. The
shares are of what was asked; times are of what was acknowledged, from invocation to completion.

Anomalies: none; a system may refuse, and be slow. A kind of operation of which nothing was ever
acknowledged is noted, since the verdict says little of it: in Jepsen's tests it makes a run
invalid. `harness.coverage` says what the faults met, and doubts a run in which nothing succeeded.

Blind to: times of histories that have none; kinds that never have a success (`WITHOUT_OK`).
Cost: sorts the operations by kind and time.
Source: Jepsen's `checker/stats` and `checker/perf`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.guarantees import Contract
from harness.history import History
from harness.op import KINDS, Kind
from harness.verdict import Verdict

WITHOUT_OK = frozenset({"crash"})
"""What never returns: the client goes away."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

NOTED_MAX = 5

_ENDS = {kind.value: KINDS.index(kind) for kind in (Kind.OK, Kind.FAIL, Kind.INFO)}


def check(history: History, contract: Contract) -> Verdict:
    """VALID, with the numbers; `note` says what never succeeded."""
    asked = np.flatnonzero((history.type == 0) & (history.process >= 0))
    asked = asked[np.argsort(history.f[asked], kind="stable")]
    codes, begins = np.unique(history.f[asked], return_index=True)
    by_f = {
        history.fs[code]: _counted(history, of)
        for code, of in zip(codes.tolist(), np.split(asked, begins[1:]), strict=False)
    }
    stats: dict[str, Any] = {"all": _counted(history, asked), "by f": by_f}
    vain = [f for f, told in by_f.items() if not told["ok"] and f not in WITHOUT_OK]
    if vain:
        stats["note"] = "; ".join(_in_vain(f, by_f[f]) for f in vain[:NOTED_MAX])
        if len(vain) > NOTED_MAX:
            stats["note"] += f"; nor of {len(vain) - NOTED_MAX} more kinds"
    return Verdict.of(stats=stats)


def _counted(history: History, asked: NDArray[np.int64]) -> dict[str, Any]:
    """Of the operations with these invocations."""
    pair = history.pair[asked]
    ended = pair >= 0
    kind = np.where(ended, history.type[pair], _ENDS["info"])
    counts = {name: int((kind == code).sum()) for name, code in _ENDS.items()}
    told: dict[str, Any] = {"count": len(asked), **counts}
    if not len(asked):
        return told
    told |= {f"{name} share": round(count / len(asked), 4) for name, count in counts.items()}
    ok = ended & (kind == _ENDS["ok"])
    begun, done = history.time[asked], history.time[pair[ended]]
    lasted_ns = max(int(done.max(initial=0)), int(begun.max())) - int(begun.min())
    if lasted_ns > 0:  # else nobody wrote times down
        told["ok per s"] = round(counts["ok"] / (lasted_ns / 1e9), 3)
        if counts["ok"]:
            took_ns = np.maximum(history.time[pair[ok]] - begun[ok], 0)
            at = np.quantile(took_ns, [*QUANTILES.values()], method="inverted_cdf")
            told["ok ms"] = dict(zip(QUANTILES, (at / 1e6).round(3).tolist(), strict=True))
    return told


def _in_vain(f: str, told: dict[str, Any]) -> str:
    return (
        f"no {f} was acknowledged: {told['fail']} of {told['count']} failed, "
        f"{told['info']} are in doubt"
    )
