"""A job is as expected, or not, or nobody knows, or it could not run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.suite.jobs import Job
from harness.suite.outcome import outcome
from harness.suite.running import Ended

LOST = {"anomalies": {"lost-write": {"count": 3}}, "valid": False, "run": "results/log/1"}
VALID = {"anomalies": {}, "valid": True, "run": "results/log/2"}
DOUBT = {"anomalies": {}, "valid": "unknown", "doubts": ["nothing happened"], "run": "r"}
SEEDS = {
    "runs": 7,
    "run": "results/explore/1",
    "found": [
        {"anomaly": "lost-write", "seeds": [3, 5], "runs": ["results/log/3"]},
        {"anomaly": "failed", "seeds": [4], "runs": ["results/log/4"]},
    ],
}
NOTHING = {"runs": 7, "run": "results/explore/1", "found": [], "outcomes": {"valid": 7}}


def ended(status: int, shape: Any = None, cut_short: str | None = None, err: str = "") -> Ended:
    return Ended(status, "" if shape is None else json.dumps(shape), err, cut_short, 2.0)


@pytest.mark.parametrize(
    ("expect", "how", "status", "said"),
    [
        ("valid", ended(0, VALID), 0, "valid in 1 run"),
        ("valid", ended(1, LOST), 1, "found lost-write 3 in 1 run"),
        ("valid", ended(3, DOUBT), 3, "unknown: nothing happened in 1 run"),
        ("valid", ended(1, [VALID, LOST]), 1, "found lost-write 3 in 2 runs"),
        ("valid", ended(0, NOTHING), 0, "valid in 7 runs"),
        ("valid", ended(1, SEEDS), 1, "found lost-write 2 in 7 runs"),
        (
            "valid",
            ended(3, NOTHING, "the time was up"),
            3,
            "unknown: 7 valid in 7 runs (the time was up)",
        ),
        ("found", ended(1, SEEDS), 0, "found lost-write in 7 runs"),
        ("found", ended(0, NOTHING), 1, "expected something, found nothing in 7 runs"),
        (("unseen", "lost-write"), ended(1, SEEDS), 0, "found lost-write in 7 runs"),
        (("unseen",), ended(1, SEEDS), 1, "expected unseen, found lost-write 2 in 7 runs"),
        (
            ("unseen",),
            ended(3, NOTHING, "interrupted"),
            3,
            "found nothing yet in 7 runs (interrupted)",
        ),
        ("valid", ended(4, None, err="x\nassay: no disk\n"), 4, "no disk"),
        ("valid", ended(4, {**VALID, "run": None}, err="assay: no disk"), 4, "no disk"),
        ("valid", ended(-2, None, "interrupted"), 3, "it had not begun (interrupted)"),
        ("valid", ended(-9, None, "interrupted"), 4, "it ended with -9 (interrupted)"),
        ("found", ended(-9), 4, "it ended with -9"),
        ("valid", ended(0, None), 4, "it ended with 0"),
    ],
)
def test_what_is_expected_decides(expect: Any, how: Ended, status: int, said: str) -> None:
    came = outcome(Job(name="a", expect=expect), how)
    assert (came.status, came.said) == (status, said)
    assert came.verdict.outcome.exit_status == {0: 0, 1: 1, 3: 3, 4: 3}[status]


def test_the_folders_to_look_at_are_named() -> None:
    assert outcome(Job(name="a"), ended(1, SEEDS)).runs == (
        "results/explore/1",
        "results/log/3",
        "results/log/4",
    )
