"""Counters of one broker process, written as Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds of the buckets of request times."""

PREFIX = "assay_broker_"


class Metrics:
    """What happened since the process started.

    Attributes:
        messages_in, bytes_in: appended for producers. bytes_out: of records, to consumers.
        errors: (API, code) → how often a part of an answer carried it.
    """

    def __init__(self) -> None:
        self.messages_in = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.duplicates = 0
        self.errors: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._times: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def answered(self, api: str, took_s: float) -> None:
        self._times[api][bisect_left(SECONDS, took_s)] += 1
        self._seconds[api] += took_s

    def failed(self, api: str, code: int) -> None:
        self.errors[api, code] += 1

    def render(self, gauges: Iterable[tuple[str, str, float]]) -> str:
        """Prometheus text; `gauges` are further (name, help, value)."""
        counters = (
            ("messages_in_total", "Messages appended for producers.", self.messages_in),
            ("bytes_in_total", "Bytes of batches appended for producers.", self.bytes_in),
            ("bytes_out_total", "Bytes of records sent to consumers.", self.bytes_out),
            ("duplicates_total", "Batches that were there already.", self.duplicates),
        )
        lines: list[str] = []
        for name, text, count in counters:
            lines += _head(name, text, "counter")
            lines.append(f"{PREFIX}{name} {count}")
        for name, text, value in gauges:
            lines += _head(name, text, "counter" if name.endswith("_total") else "gauge")
            lines.append(f"{PREFIX}{name} {value:g}")
        lines += _head("errors_total", "Errors in answers, by API and Kafka's code.", "counter")
        for (api, code), count in sorted(self.errors.items()):
            lines.append(f'{PREFIX}errors_total{{api="{api}",code="{code}"}} {count}')
        lines += self._histogram()
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "request_seconds"
        lines = _head(name, "Time from a request's arrival to its answer.", "histogram")
        for api, counts in sorted(self._times.items()):
            total = 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{PREFIX}{name}_bucket{{api="{api}",le="{bound}"}} {total}')
            lines.append(f'{PREFIX}{name}_sum{{api="{api}"}} {self._seconds[api]:.6f}')
            lines.append(f'{PREFIX}{name}_count{{api="{api}"}} {total}')
        return lines


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
