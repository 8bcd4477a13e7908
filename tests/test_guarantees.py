"""The contract: what is forbidden, what is licensed, and by which cause.

The controls (C01, …) are behaviours that must not be flagged; each stands here beside the nearest
behaviour that must be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.log import check
from harness.checker import judge
from harness.errors import UsageError
from harness.guarantees import FORBIDDEN, MODES, Contract, derive, forbidden_in
from harness.history import History
from harness.licences import LINGER_NS, LOSS, UNDOING
from harness.op import Kind
from harness.spells import spells
from harness.verdict import Finding, Outcome, Verdict
from harness.windows import Windows
from harness.workload import Load
from systems.clients.aiokafka import connect
from tests.stories import Events, fault, history, ns, operation, phase, poll, send
from workloads.log import Options, workload

SAFE: Mapping[str, Any] = {
    "acks": "all",
    "idempotence": True,
    "retries": None,
    "replication-factor": 3,
    "min-insync-replicas": 2,
    "unclean": False,
    "flush-messages": None,
    "isolation": "read_uncommitted",
    "disk": "real",
}

KILL = [fault(2, "kill", ["n1"]), fault(4, "start", ["n1"])]
PARTITION = [fault(2, "start-partition", {"n1": ["n2", "n3"]}), fault(4, "stop-partition")]
PAUSE = [fault(2, "pause", ["n1"]), fault(4, "resume", ["n1"])]
SLOW = [fault(2, "start-links", {"links": [["n1", "n2"]]}), fault(4, "stop-links")]
CLIENTS_CUT = [
    fault(2, "start-partition", {"n1": ["c1"], "c1": ["n1"]}),
    fault(4, "stop-partition"),
]
ALL_OFF = [fault(2, "power-off", ["n1", "n2", "n3"]), fault(4, "start", ["n1", "n2", "n3"])]
END = operation(99, 100, 9, "send")


def finding(name: str, begin_s: float = 1, end_s: float = 5, **more: Any) -> Finding:
    return Finding(name, f"{name} of message 7", span=(ns(begin_s), ns(end_s)), **more)


def allowed(
    name: str | Finding, told: list[Events], mode: str = "derived", **promises: Any
) -> str | None:
    """The reason for which the contract excuses the anomaly; None if it forbids it."""
    one = finding(name) if isinstance(name, str) else name
    contract = derive(
        "log", {**SAFE, **{k.replace("_", "-"): v for k, v in promises.items()}}, mode
    )
    verdict = contract.sort(Verdict.of([one]), history(*told, END))
    assert len(verdict.findings) + len(verdict.allowed) == 1
    assert (verdict.outcome is Outcome.VALID) == bool(verdict.allowed)
    return verdict.allowed[0].reason if verdict.allowed else None


# -- C01: loss with acks=0 and acks=1 ------------------------------------------------------------


@pytest.mark.parametrize("name", LOSS)
@pytest.mark.parametrize("told", [KILL, PARTITION, PAUSE, SLOW])
def test_c01_acks_1_may_lose_where_leaders_may_have_changed(name: str, told: list[Events]) -> None:
    assert allowed(finding(name, witness=(0,)), [operation(0, 1, 0, "send"), *told], acks="1")
    assert allowed(name, told) is None, "acks=all is acknowledged by all in sync"


@pytest.mark.parametrize("name", LOSS)
def test_a_loss_without_a_fault_is_a_bug_whatever_the_acks(name: str) -> None:
    for acks in ("0", "1", "all"):
        assert allowed(name, [], acks=acks) is None


def test_c01_cutting_clients_off_changes_no_leader() -> None:
    assert allowed("lost-write", CLIENTS_CUT, acks="1") is None
    assert allowed("lost-write", CLIENTS_CUT, acks="0"), "but nobody waits for what was cut off"


def test_c01_with_acks_0_a_client_that_goes_away_takes_what_it_had_not_sent() -> None:
    crash = [operation(2, 3, 0, "crash", kind=Kind.INFO)]
    assert allowed("unseen", crash, acks="0")
    assert allowed("unseen", crash, acks="1") is None
    assert allowed("unseen", [operation(6, 7, 0, "crash", kind=Kind.INFO)], acks="0") is None


def test_c01_a_single_replica_loses_with_its_power_only() -> None:
    assert allowed("lost-write", KILL, acks="1", replication_factor=1) is None
    assert allowed("lost-write", ALL_OFF, acks="1", replication_factor=1)
    assert allowed("lost-write", KILL, acks="1", replication_factor=1, disk="volatile")


def test_c01_what_two_readers_read_was_below_the_high_watermark() -> None:
    """acks=1 loses what one sender was told; two polls that disagree are a bug all the same."""
    told = [
        send(0.1, 0.2, 0, key=0, value=7, offset=3),
        poll(0.3, 0.4, 1, {0: [(3, 8)]}),
        poll(0.5, 0.6, 2, {0: [(3, 7)]}),
        *KILL,
    ]
    by_a_sender = finding("inconsistent-offsets", witness=(0, 1, 2, 3))
    by_readers = finding("inconsistent-offsets", window=Windows.of([ns(1)], [ns(5)], settled=True))
    assert allowed(by_a_sender, told, acks="1")
    assert allowed(by_readers, told, acks="1") is None
    assert allowed(by_readers, told, acks="1", unclean=True)


def test_c01_an_unclean_leader_may_undo_what_was_read() -> None:
    for name in (*UNDOING, "duplicate"):
        assert allowed(name, KILL, unclean=True)
        assert allowed(name, [], unclean=True) is None
    for name in ("phantom", "G1a", "precommitted-read", "crash"):
        assert allowed(name, KILL, unclean=True, acks="0", idempotence=False) is None


def test_c01_a_single_replica_has_nobody_else_who_could_lead_uncleanly() -> None:
    one: dict[str, Any] = {"unclean": True, "replication_factor": 1, "flush_messages": 1}
    assert allowed("unseen", KILL, **one) is None
    assert allowed("unseen", KILL, **{**one, "replication_factor": 2})


# -- C02: a message twice ------------------------------------------------------------------------


def test_c02_a_retry_without_idempotence_may_append_twice() -> None:
    flaky = [fault(2, "start-links", {"links": [["c1", "n1"]]}), fault(3, "reset-links")]
    disk = [fault(2, "start-disk", {"n1": {"how": "eio", "probability": 1.0}})]
    for told in (flaky, KILL, PAUSE, PARTITION, CLIENTS_CUT, disk):
        assert allowed("duplicate", told, idempotence=False, retries=5)
        assert allowed("duplicate", told, idempotence=False), "libraries retry by default"
        assert allowed("duplicate", told) is None
        assert allowed("duplicate", told, idempotence=False, retries=0) is None
    assert allowed("duplicate", [], idempotence=False, retries=5) is None
    assert allowed("lost-write", KILL, idempotence=False, retries=5) is None


# -- C13, C15: power ------------------------------------------------------------------------------


def off(*when: tuple[str, float, float]) -> list[Events]:
    return [
        event
        for node, begin, end in when
        for event in (fault(begin, "power-off", [node]), fault(end, "start", [node]))
    ]


def test_c15_no_more_survives_than_there_are_copies() -> None:
    two = off(("n1", 2, 3), ("n2", 2.5, 4))
    assert allowed("lost-write", two)
    assert allowed("lost-write", ALL_OFF)
    assert allowed("lost-write", off(("n1", 2, 3))) is None, "the other copy is there"
    assert allowed("lost-write", off(("n1", 2, 3), ("n1", 3.5, 4))) is None, "it is one node"
    assert allowed("lost-write", two, min_insync_replicas=3) is None
    assert allowed("lost-write", off(("n1", 2, 3)), min_insync_replicas=1)


def test_c15_nodes_that_came_back_in_sync_in_between_did_not_lose_it_together() -> None:
    late = 3 + LINGER_NS / 1e9 + 1
    told = off(("n1", 2, 3), ("n2", late, late + 1))
    assert allowed(finding("lost-write", 1, 60), told) is None


def weakly(begin: float, node: str, *weak: str) -> Events:
    return fault(begin, "power-off", [node], evidence={node: {}, "weak": [*weak]})


def test_c15_who_was_back_in_sync_is_known_better_than_by_time() -> None:
    soon = [weakly(2, "n1"), fault(3, "start", ["n1"]), weakly(3.5, "n2")]
    assert allowed("lost-write", soon) is None, "n1 was back when n2 was hit"
    late = [weakly(2, "n1"), fault(3, "start", ["n1"]), weakly(30, "n2", "n1")]
    assert allowed(finding("lost-write", 1, 60), late), "n1 was not back for long"
    crash = [fault(2, "crash", {"node": "n1", "time_ns": 2 * 10**9}), weakly(2.5, "n2")]
    assert allowed("lost-write", crash, disk="volatile"), "of a crash there are no accounts"


def test_c13_what_is_synced_before_it_is_acknowledged_survives_everything() -> None:
    assert allowed("lost-write", ALL_OFF, flush_messages=1) is None
    assert allowed("lost-write", ALL_OFF, flush_messages=1, acks="1"), "but nobody else had it"


def test_c13_a_kill_is_a_power_failure_where_disks_are_volatile() -> None:
    everyone = [fault(2, "kill", ["n1", "n2", "n3"]), fault(4, "start", ["n1", "n2", "n3"])]
    assert allowed("lost-write", everyone) is None
    assert allowed("lost-write", everyone, disk="volatile")


# -- C10, C04 -------------------------------------------------------------------------------------


def test_c10_what_has_expired_may_be_gone_in_every_mode() -> None:
    for mode in MODES:
        assert allowed(finding("unseen", 1, 62), [], mode, retention_ms=60_000)
        assert allowed(finding("unseen", 1, 60), [], mode, retention_ms=60_000) is None
        assert allowed(finding("duplicate", 1, 62), [], mode, retention_ms=60_000) is None
        assert allowed(finding("unseen", 1, 62), [], mode) is None


def test_c04_gaps_between_two_sends_are_nobodys_promise() -> None:
    for mode in MODES:
        assert allowed("int-send-skip", [], mode)


# -- C03, C06, C09: what the checker itself does not report --------------------------------------


def judged(*told: Events, **promises: Any) -> Verdict:
    contract = derive("log", {**SAFE, **promises}, "strict")
    return judge(history(*told), {"log": check}, contract)


def test_c03_a_send_of_unknown_outcome_may_be_seen_or_not() -> None:
    unknown = operation(1, 11, 0, "send", [["send", 0, 1]], kind=Kind.INFO)
    known = send(2, 3, 1, key=0, value=2, offset=1)
    seen = poll(12, 13, 2, {0: [(0, 1), (1, 2)]})
    unseen = poll(12, 13, 2, {0: [(1, 2)]})
    for read in (seen, unseen):
        assert judged(unknown, known, read).outcome is Outcome.VALID
    lost = [send(1, 2, 0, key=0, value=1, offset=0), known]
    assert judged(*lost, unseen).anomalies() == {"lost-write": 1}


def test_c06_a_seek_or_an_assignment_may_skip_and_go_back() -> None:
    sent = [send(k, k + 0.5, 0, key=0, value=k, offset=k) for k in range(4)]
    begun = [operation(5, 5.5, 1, "assign", [0]), poll(6, 6.5, 1, {0: [(0, 0)]})]
    rest = [operation(20, 21, 2, "assign", [0]), poll(22, 23, 2, {0: [(k, k) for k in range(4)]})]
    moved = [operation(7, 7.5, 1, "assign", []), operation(8, 8.5, 1, "assign", [0])]
    on = poll(9, 9.5, 1, {0: [(3, 3)]})
    assert judged(*sent, *begun, *moved, on, *rest).outcome is Outcome.VALID
    assert judged(*sent, *begun, on, *rest).anomalies() == {"poll-skip": 1}


def test_c09_refusals_and_time_outs_are_answers() -> None:
    refused = operation(1, 2, 0, "send", [["send", 0, 1]], kind=Kind.FAIL)
    late = operation(1, 11, 1, "poll", [["poll"]], kind=Kind.FAIL)
    verdict = judged(refused, late, send(2, 3, 2, key=0, value=2, offset=0), *PARTITION)
    assert verdict.outcome is Outcome.VALID
    read = poll(4, 5, 3, {0: [(0, 1)]})
    assert "G1a" in judged(refused, read).anomalies(), "but what was refused cannot be read"


# -- strict ---------------------------------------------------------------------------------------


def test_strict_forbids_what_weak_settings_license() -> None:
    weak: dict[str, Any] = {"acks": "1", "idempotence": False, "unclean": True}
    for name in (*UNDOING, "duplicate"):
        assert allowed(name, [*KILL, *ALL_OFF], **weak)
        if name not in ALWAYS:
            assert allowed(name, [*KILL, *ALL_OFF], "strict", **weak) is None


ALWAYS = {"listoffsets-too-late"}
"""Where somebody may have been deposed without knowing it, whatever the settings."""


def test_a_deposed_leader_that_finds_nothing_is_legal_in_strict_too() -> None:
    (name,) = ALWAYS
    assert allowed(name, KILL, "strict")
    assert allowed(name, [], "strict") is None
    strict = derive("log", SAFE, "strict").explain()[name]
    assert strict["here"] == "legal after a fault that can change leaders"


# -- when a fault counts --------------------------------------------------------------------------


def test_a_fault_counts_from_its_invocation_until_some_time_after_its_end() -> None:
    linger_s = LINGER_NS / 1e9
    for begin_s, end_s, counts in [
        (0, 1.9, False),
        (0, 2, True),
        (3, 3.5, True),
        (4 + linger_s, 60, True),
        (4.1 + linger_s, 60, False),
    ]:
        reason = allowed(finding("unseen", begin_s, end_s), KILL, acks="1")
        assert bool(reason) == counts, (begin_s, end_s)
    assert allowed(Finding("unseen", "without a span"), KILL, acks="1")


def test_faults_that_did_not_happen_excuse_nothing() -> None:
    skipped = [fault(2, "kill", ["n1"], outcome="skipped")]
    assert allowed("unseen", skipped, acks="1") is None


def gremlins(*, like: str | None = None, nodes: list[str] | None = None) -> list[Events]:
    """A fault of somebody's plug-in, which may say what it is like."""
    evidence = {} if like is None else {"like": like}
    return [fault(2, "start-gremlins", nodes, evidence=evidence), fault(4, "stop-gremlins")]


def test_a_fault_of_an_unknown_kind_excuses_nothing_however_long_it_lasts() -> None:
    """Whoever adds watchers, load or a snapshot must not switch off what acks=1 forbids."""
    for told in (gremlins(), gremlins(like="mischief"), gremlins(nodes=["n1"])):
        assert allowed("unseen", told, acks="1") is None
        assert allowed("unseen", told, acks="0") is None
        assert allowed("duplicate", told, idempotence=False) is None


def test_a_fault_of_a_plug_in_excuses_what_a_fault_that_it_is_like_does() -> None:
    reason = allowed("unseen", gremlins(like="pause"), acks="1")
    assert reason is not None and reason.endswith("here: gremlins at 2.0 s")
    assert allowed("duplicate", gremlins(like="pause"), idempotence=False)
    every = ["n1", "n2", "n3"]
    assert allowed("lost-write", gremlins(like="power-off", nodes=every))
    assert allowed("lost-write", gremlins(like="power-off", nodes=["n1"])) is None
    assert allowed("lost-write", gremlins(like="kill", nodes=every)) is None
    assert allowed("lost-write", gremlins(like="kill", nodes=every), disk="volatile")


@pytest.mark.parametrize("f", ["partition", "packet"])
def test_faults_of_jepsen_that_last_are_known(f: str) -> None:
    told = [fault(2, f"start-{f}", "majority", outcome=None), fault(4, f"stop-{f}", outcome=None)]
    assert allowed("unseen", told, acks="1")


@pytest.mark.parametrize("f", ["noop", "look", "sleep"])
def test_what_is_over_at_once_and_has_no_name_of_a_fault_is_no_cause(f: str) -> None:
    assert allowed("unseen", [fault(2, f)], acks="1") is None
    assert allowed("duplicate", [fault(2, f)], idempotence=False) is None


def test_the_reason_names_the_setting_the_control_and_the_fault() -> None:
    reason = allowed("unseen", KILL, acks="1")
    assert reason is not None
    assert reason.startswith("acks=1: ") and "(C01)" in reason
    assert reason.endswith("here: kill of n1 at 2.0 s")


# -- sorting --------------------------------------------------------------------------------------


def test_a_verdict_is_as_bad_as_what_is_left_of_it() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    told = history(*KILL, END)
    both = contract.sort(Verdict.of([finding("unseen"), finding("phantom")]), told)
    assert both.outcome is Outcome.INVALID
    assert [f.anomaly for f in both.findings] == ["phantom"]
    doubted = contract.sort(Verdict.of([finding("unseen")], doubts=["a torn line"]), told)
    assert doubted.outcome is Outcome.UNKNOWN and not doubted.findings
    nothing = Verdict.of(stats={"keys": 1})
    assert contract.sort(nothing, told) == nothing


def test_cases_that_were_counted_and_not_shown_are_not_excused_by_those_that_were() -> None:
    """A checker that tells no windows may have kept the excused ones and left out the others."""
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    told = history(*KILL, END)
    early, within = finding("unseen", 0, 1), finding("unseen")
    hidden = contract.sort(Verdict.of([within] * 2, counts={"unseen": 500}), told)
    assert (hidden.anomalies(), hidden.legal()) == ({}, {"unseen": 2})
    assert hidden.outcome is Outcome.UNKNOWN
    (doubt,) = hidden.doubts
    assert doubt.startswith("498 more cases of unseen were counted and not shown")
    mixed = contract.sort(Verdict.of([within, early], counts={"unseen": 500}), told)
    assert (mixed.anomalies(), mixed.legal()) == ({"unseen": 499}, {"unseen": 1})
    assert mixed.outcome is Outcome.INVALID and not mixed.doubts, "none of them is excused"
    none = contract.sort(Verdict.of([early] * 2, counts={"unseen": 500}), told)
    assert (none.anomalies(), none.legal()) == ({"unseen": 500}, {})


def test_cases_that_were_all_shown_need_no_windows() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    shown = contract.sort(
        Verdict.of([finding("unseen")] * 2, counts={"unseen": 2}), history(*KILL, END)
    )
    assert shown.outcome is Outcome.VALID and shown.legal() == {"unseen": 2}


def test_cases_whose_windows_are_told_are_sorted_though_few_are_shown() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    told, windows = history(*KILL, END), Windows.of([ns(1)] * 500, [ns(5)] * 500)
    found = Verdict.of([finding("unseen")], counts={"unseen": 500}, windows={"unseen": windows})
    sorted_out = contract.sort(found, told)
    assert sorted_out.outcome is Outcome.VALID and sorted_out.legal() == {"unseen": 500}
    assert sorted_out.to_json()["allowed"]["unseen"]["count"] == 500


def test_a_case_that_nothing_excuses_is_a_finding_though_its_checker_shows_only_others() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    windows = Windows.of([ns(1)] * 8 + [ns(0)], [ns(5)] * 8 + [ns(1)])
    found = Verdict.of([finding("unseen")] * 8, counts={"unseen": 9}, windows={"unseen": windows})
    verdict = contract.sort(found, history(*KILL, END))
    assert (verdict.anomalies(), verdict.legal()) == ({"unseen": 1}, {"unseen": 8})
    assert verdict.outcome is Outcome.INVALID
    (hidden,) = verdict.findings
    assert hidden.span == (ns(0), ns(1)) and "does not show" in hidden.claim


def test_counts_survive_the_merging_of_checkers() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    windows = {"unseen": Windows.of([ns(1)] * 12, [ns(5)] * 12)}
    found = Verdict.of([finding("unseen")], counts={"unseen": 12}, windows=windows)
    merged = judge(history(*KILL, END), {"a": lambda *_: found, "b": lambda *_: found}, contract)
    assert merged.outcome is Outcome.VALID and merged.legal() == {"unseen": 24}


NAMES = st.sampled_from([*FORBIDDEN, "int-send-skip"])
TIMES = st.integers(0, 30)
STORY = st.lists(st.sampled_from([KILL, PARTITION, PAUSE, ALL_OFF, CLIENTS_CUT]), max_size=2)
SETTINGS = st.fixed_dictionaries(
    {
        "acks": st.sampled_from(["0", "1", "all"]),
        "idempotence": st.booleans(),
        "unclean": st.booleans(),
        "min-insync-replicas": st.sampled_from([1, 2, 3]),
        "flush-messages": st.sampled_from([None, 1, 100]),
    }
)


@given(st.lists(st.tuples(NAMES, TIMES, TIMES), max_size=5), STORY, SETTINGS)
def test_sorting_keeps_every_finding_and_strict_excuses_no_more_than_derived(
    found: list[tuple[str, int, int]], told: list[list[Events]], settings: dict[str, Any]
) -> None:
    findings = [finding(name, min(a, b), max(a, b)) for name, a, b in found]
    recorded = history(*(events for story in told for events in story), END)
    legal = {}
    for mode in MODES:
        contract = derive("log", {**SAFE, **settings}, mode)
        verdict = contract.sort(Verdict.of(findings), recorded)
        assert len(verdict.findings) + len(verdict.allowed) == len(findings)
        assert all(f.reason for f in verdict.allowed) and not any(
            f.reason for f in verdict.findings
        )
        assert (verdict.outcome is Outcome.INVALID) == bool(verdict.findings)
        legal[mode] = {f.claim for f in verdict.allowed}
        assert contract.sort(verdict, recorded) == verdict, "sorting is done once"
    assert legal["strict"] <= legal["derived"]


@given(st.lists(st.tuples(NAMES, TIMES, TIMES), max_size=5), SETTINGS)
def test_without_a_fault_nothing_is_excused_but_gaps(
    found: list[tuple[str, int, int]], settings: dict[str, Any]
) -> None:
    findings = [finding(name, min(a, b), max(a, b)) for name, a, b in found]
    assert not spells(history(END))
    contract = derive("log", {**SAFE, **settings}, "derived")
    verdict = contract.sort(Verdict.of(findings), history(END, phase("main", 0, 100)))
    assert {f.anomaly for f in verdict.allowed} <= {"int-send-skip"}


# -- deriving, storing, explaining ----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_a_stored_contract_is_the_same_contract(mode: str, acks: str) -> None:
    contract = derive("log", {**SAFE, "acks": acks, "retention-ms": 5}, mode)
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_promises_are_read_from_text_as_from_values() -> None:
    text = {"acks": "1", "idempotence": "false", "min-insync-replicas": "2", "retries": "none"}
    assert derive("log", text, "strict").promises == {
        "acks": "1",
        "idempotence": False,
        "min-insync-replicas": 2,
        "retries": None,
    }


@pytest.mark.parametrize(
    ("promises", "complaint"),
    [
        ({"acks": "2"}, "acks=2: expected one of 0, 1, all"),
        ({"unclean": "maybe"}, "unclean=maybe: expected one of true, false"),
        ({"retries": "many"}, "retries=many: expected a number"),
        ({"partitions": "4"}, "no promise of log depends on it; its promises depend on acks, "),
    ],
)
def test_promises_that_are_none_are_refused_with_what_there_is(
    promises: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        derive("log", promises, "derived")


def test_modes_and_stored_contracts_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="'lenient' is no contract: expected one of derived"):
        derive("log", {}, "lenient")
    with pytest.raises(UsageError, match="give --contract"):
        Contract.from_json({"mode": "strict"})


def test_a_workload_of_somebody_else_promises_what_it_likes_and_is_held_to_everything() -> None:
    contract = derive("pub-sub", {"delivery": "at-most-once"}, "derived")
    assert contract.promises == {"delivery": "at-most-once"}
    verdict = contract.sort(Verdict.of([finding("unheard")]), history(*KILL, END))
    assert verdict.outcome is Outcome.INVALID


def test_the_contract_explains_itself_for_every_anomaly() -> None:
    rules = derive("log", {**SAFE, "acks": "1", "idempotence": False}, "derived").explain()
    own = set(forbidden_in("log"))
    assert set(rules) >= own and "nonlinearizable" not in rules
    assert rules["phantom"] == {"here": "forbidden", "because": "nobody can invent a message"}
    assert rules["duplicate"]["here"].startswith("legal after a fault that can lose an answer, or ")
    assert rules["duplicate"]["because"].startswith("idempotence=false: ")
    assert rules["unseen"]["here"].startswith("legal after a fault that can change leaders, or ")
    strict = derive("log", {**SAFE, "acks": "1"}, "strict").explain()
    assert all(strict[name]["here"] == "forbidden" for name in own - ALWAYS)


def test_each_workload_is_told_of_its_own_anomalies_and_a_strange_one_of_all() -> None:
    assert "stale-read" in derive("register", {}, "strict").explain()
    assert "stale-read" not in derive("append", {}, "strict").explain()
    assert set(Contract("strict", {}, "acme").explain()) >= set(FORBIDDEN)
    stored = derive("log", {"acks": "1"}, "derived")
    assert Contract.from_json(stored.to_json()) == stored


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_the_log_workload_says_all_that_its_contract_depends_on(acks: str) -> None:
    made = workload(Options(acks=acks), Load(), connect)
    contract = derive(made.name, made.promises, "derived")
    assert set(contract.promises) >= set(SAFE) - {"disk"}
    assert contract.promises["acks"] == acks
    assert contract.promises["min-insync-replicas"] == 2


def test_a_history_without_events_can_be_sorted_too() -> None:
    contract = derive("log", {**SAFE, "acks": "1"}, "derived")
    assert contract.sort(Verdict.of([finding("unseen")]), History.of([])).findings
