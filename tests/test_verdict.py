"""Verdicts: outcomes are ordered, merging drops nothing, and no doubt ever heals a violation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict import EXAMPLES_MAX, Finding, Outcome, Verdict

LOST = Finding("lost-write", "a write is gone", ("it was acknowledged", "nobody reads it"), (3, 9))

outcomes = st.sampled_from(Outcome)
findings = st.builds(
    Finding,
    anomaly=st.sampled_from(["lost-write", "duplicate", "G1a"]),
    claim=st.text(max_size=5),
    witness=st.lists(st.integers(0, 99), max_size=3).map(tuple),
)
verdicts = st.builds(
    Verdict.of,
    st.lists(findings, max_size=3),
    doubts=st.lists(st.text(min_size=1, max_size=5), max_size=2),
    stats=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def test_outcomes_are_ordered_valid_unknown_invalid() -> None:
    assert Outcome.VALID < Outcome.UNKNOWN < Outcome.INVALID


@pytest.mark.parametrize(
    ("outcome", "json", "status"),
    [
        (Outcome.VALID, True, 0),
        (Outcome.UNKNOWN, "unknown", 3),
        (Outcome.INVALID, False, 1),
    ],
)
def test_an_outcome_has_one_word_and_one_exit_status(
    outcome: Outcome, json: Any, status: int
) -> None:
    assert outcome.json is json or outcome.json == json
    assert outcome.exit_status == status


def test_findings_weigh_more_than_doubts_and_doubts_more_than_nothing() -> None:
    assert Verdict.of().outcome is Outcome.VALID
    assert Verdict.of(doubts=["a torn line"]).outcome is Outcome.UNKNOWN
    assert Verdict.of([LOST], doubts=["a torn line"]).outcome is Outcome.INVALID


@given(st.dictionaries(st.text(max_size=3), verdicts, max_size=4))
def test_the_merged_outcome_is_the_worst_and_nothing_is_dropped(parts: dict[str, Verdict]) -> None:
    merged = Verdict.merge(parts)
    assert merged.outcome == max((p.outcome for p in parts.values()), default=Outcome.VALID)
    assert sorted(map(repr, merged.findings)) == sorted(
        repr(finding) for part in parts.values() for finding in part.findings
    )
    assert len(merged.doubts) == sum(len(part.doubts) for part in parts.values())
    for anomaly, count in merged.anomalies().items():
        assert count == sum(part.anomalies().get(anomaly, 0) for part in parts.values())
    assert merged.checkers == parts


def test_exact_counts_survive_merging_where_few_findings_were_kept() -> None:
    part = Verdict.of([LOST], counts={"lost-write": 4000})
    merged = Verdict.merge({"log": part, "other": Verdict.of([LOST])})
    assert merged.anomalies() == {"lost-write": 4001}


@given(verdicts, st.lists(st.text(max_size=4), max_size=3))
def test_a_doubt_makes_valid_unknown_and_nothing_better(
    verdict: Verdict, doubts: list[str]
) -> None:
    doubted = verdict.doubted(*doubts)
    assert doubted.outcome >= verdict.outcome
    assert doubted.outcome is not Outcome.VALID or not doubts
    assert doubted.findings == verdict.findings
    assert doubted.doubts == (*verdict.doubts, *doubts)


def test_more_numbers_change_nothing_else() -> None:
    verdict = Verdict.of([LOST], stats={"ops": 1}).with_stats({"rate": 2})
    assert verdict.stats == {"ops": 1, "rate": 2}
    assert verdict.findings == (LOST,)


def test_the_json_form_has_few_examples_and_exact_counts() -> None:
    verdict = Verdict.of([LOST] * 50)
    shape = verdict.to_json()
    assert shape["valid"] is False
    lost = shape["anomalies"]["lost-write"]
    assert lost["count"] == 50
    assert len(lost["examples"]) == EXAMPLES_MAX
    assert lost["examples"][0]["witness"] == [3, 9]


def test_what_is_allowed_is_listed_apart() -> None:
    allowed = Finding("lost-write", "gone", reason="acks=1 and the leader died")
    shape = Verdict(Outcome.VALID, allowed=(allowed,)).to_json()
    assert shape["valid"] is True and shape["anomalies"] == {}
    assert shape["allowed"]["lost-write"]["examples"][0]["reason"] == "acks=1 and the leader died"


@given(st.dictionaries(st.text(max_size=3), verdicts, max_size=3))
def test_any_verdict_is_json(parts: dict[str, Verdict]) -> None:
    shape = Verdict.merge(parts).to_json()
    assert msgspec.json.decode(msgspec.json.encode(shape)).keys() == shape.keys()


def test_a_finding_says_only_what_it_knows() -> None:
    assert LOST.to_json().keys() == {"anomaly", "claim", "because", "witness"}
    whole = Finding("x", "y", key=0, span=(1, 2), reason="z").to_json()
    assert (whole["key"], whole["span"], whole["reason"]) == (0, [1, 2], "z")
