"""Whoever still waits when everything is healed is a finding; an interrupt is none."""

from __future__ import annotations

from typing import Any

import pytest

from checkers import liveness
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Outcome
from tests.checkers.witnesses import STRICT, all_stand

WAITS = "thread 2 waits for key 0: no send was acknowledged within 20 s of healing"


def end(phase: str, **extra: Any) -> list[Op]:
    return [Op(0, 9, Kind.INFO, "nemesis", "phase", phase, None, None, {"at": "end", **extra})] * 2


def begin(phase: str) -> list[Op]:
    return [Op(0, 5, Kind.INFO, "nemesis", "phase", phase, None, None, {"at": "begin"})] * 2


def test_who_waits_in_vain_is_stuck_and_the_finding_tells_what_the_system_says() -> None:
    view = {"controller": None, "states": {"n1": "running", "n2": "running"}, "leads": {"n1": 3}}
    history = History.of(
        [*begin("liveness"), *end("liveness", complete=False, stuck=[WAITS, "x"], view=view)]
    )
    verdict = all_stand(history, liveness.check)
    assert verdict.outcome is Outcome.INVALID and verdict.counts == {"stuck": 1}
    (finding,) = verdict.findings
    assert finding.claim == f"{WAITS}, and 1 more" and finding.witness == (2, 3)
    text = "\n".join(finding.because)
    assert "nobody is its controller" in text and "n2 is running and leads 0 partitions" in text


@pytest.mark.parametrize("phase", liveness.PHASES)
def test_each_phase_after_the_faults_must_come_to_its_end(phase: str) -> None:
    history = History.of(end(phase, complete=False, error="waited 60 s for n1, in vain"))
    assert liveness.check(history, STRICT).counts == {"stuck": 1}


@pytest.mark.parametrize(
    "marks",
    [
        end("liveness", complete=True),
        end("main", complete=False, stuck=["not asked for here"]),
        end("final-reads", complete=False),  # interrupted
        [],
    ],
)
def test_what_was_done_or_interrupted_is_not_stuck(marks: list[Op]) -> None:
    assert liveness.check(History.of(marks), STRICT).outcome is Outcome.VALID
