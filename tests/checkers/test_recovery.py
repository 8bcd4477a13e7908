"""Once everything is healed, whoever asks is served in time; else it is slow-recovery."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from checkers import recovery
from checkers.healings import healings
from harness.cli import main
from harness.errors import UsageError
from harness.guarantees import Contract, derive
from harness.history import History, Recorder
from harness.op import Kind, Op
from harness.spells import spells
from harness.verdict import Outcome, Verdict
from tests.checkers import witnesses
from tests.golden import Golden, golden
from tests.stories import Events, fault, history, mark, ns, operation, phase

LIMIT_S = 5.0
KILL = [fault(2, "kill", ["n1"], took_s=0.1), fault(3.5, "start", ["n1"], took_s=0.5)]


def check(told: History, limit_s: float | None = LIMIT_S) -> Verdict:
    promises = {} if limit_s is None else {"recovery": limit_s}
    return recovery.check(told, Contract("strict", promises))


def asked(
    begin_s: float,
    end_s: float | None,
    kind: Kind = Kind.OK,
    *,
    process: int = 0,
    node: str | None = "n1",
    f: str = "send",
    key: int = 0,
    error: tuple[str, str] | None = None,
) -> Events:
    value = [["send", key, 1]]
    events = [Op(0, ns(begin_s), Kind.INVOKE, process, f, value)]
    if end_s is not None:
        if kind is Kind.INFO or (kind is Kind.FAIL and error is None):
            error = ("TimedOut", "no answer")
        events.append(Op(0, ns(end_s), kind, process, f, value, error, node))
    return events


BEFORE = asked(0.5, 0.6)
END = mark(60, "stats", {})


def stands(told: History, limit_s: float = LIMIT_S) -> Verdict:
    """Each finding is confirmed by its witness, and needs all of it."""

    def judge(part: History, _: Contract) -> Verdict:
        return check(part, limit_s)

    verdict = check(told, limit_s)
    for finding in verdict.findings:
        witnesses.stands(told, finding, judge)
        assert "contradiction" in finding.because[-1] and finding.span is not None
    return verdict


def kinds(verdict: Verdict) -> list[str]:
    return [finding.claim.partition(" was ")[0] for finding in verdict.findings]


# -- what is slow --------------------------------------------------------------------------------


def test_who_asks_later_than_the_limit_and_in_vain_is_not_served_in_time() -> None:
    told = history(
        BEFORE,
        *KILL,
        asked(4.5, 4.6, Kind.FAIL),
        asked(9.5, 9.6, Kind.FAIL),
        asked(11, 11.1),
        END,
    )
    verdict = stands(told)
    assert verdict.outcome is Outcome.INVALID and verdict.counts == {"slow-recovery": 3}
    assert kinds(verdict) == ["send", "send at n1", "send of key 0"]
    first = verdict.findings[0]
    assert first.claim == "send was served only 7.100 s after kill of n1 at 2.0 s was over"
    text = "\n".join(first.because)
    assert "op 4: kill of n1 at 2.0 s was over at 4.000 s" in text
    assert "op 8: process 0 asked for it at 9.500 s, and in vain (TimedOut: no answer)" in text
    assert "op 11 was the first to be served, at 11.100 s" in text
    assert "however, it may take 5 s: a contradiction" in text
    assert verdict.findings[2].key == 0


def test_who_waits_for_longer_than_the_limit_is_not_served_in_time() -> None:
    assert len(stands(history(BEFORE, *KILL, asked(6, 11.5), END)).findings) == 3
    assert len(stands(history(BEFORE, *KILL, asked(6, 11.5, Kind.INFO), END)).findings) == 3
    assert stands(history(BEFORE, *KILL, asked(6, 10.9), END)).outcome is Outcome.VALID


def test_what_never_comes_back_is_told_with_the_end_of_the_history() -> None:
    verdict = stands(history(BEFORE, *KILL, asked(6, None, process=1), END))
    assert kinds(verdict) == ["send", "send of key 0"]  # whose client it was, nobody said
    assert (
        verdict.findings[0].claim == "send was not served again after kill of n1 at 2.0 s was over"
    )
    assert "nobody was served until the history ended, at 60.000 s" in verdict.findings[0].because


def test_what_a_process_did_before_tells_its_node() -> None:
    verdict = stands(history(BEFORE, *KILL, asked(6, None), END))
    assert kinds(verdict) == ["send", "send at n1", "send of key 0"]


def test_one_that_is_served_hides_no_other() -> None:
    told = history(
        BEFORE,
        asked(0.5, 0.6, process=1, node="n2", key=1),
        *KILL,
        asked(5, 5.1, process=1, node="n2", key=1),
        asked(9.5, 9.6, Kind.FAIL),
        END,
    )
    assert kinds(stands(told)) == ["send at n1", "send of key 0"]


def test_the_next_fault_ends_the_time_in_which_it_may_be_judged() -> None:
    again = [fault(8, "kill", ["n1"]), fault(30, "start", ["n1"])]
    late = asked(9.5, 9.6, Kind.FAIL)  # 5.5 s after the first healing, and in the next fault
    assert check(history(BEFORE, *KILL, *again, late, END)).outcome is Outcome.VALID
    stuck = asked(5, 20, Kind.FAIL)  # it waited for 3 s only when the next fault came
    assert check(history(BEFORE, *KILL, *again, stuck, END)).outcome is Outcome.VALID
    stands(history(BEFORE, *KILL, *again, asked(5, None), END), limit_s=2.5)
    verdict = stands(history(BEFORE, *KILL, *again, stuck, END), limit_s=2.5)
    assert (
        "nobody was served until the next fault, kill of n1 at 8.0 s" in verdict.findings[0].because
    )


# -- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [
        [],  # nobody asked
        [asked(50, 50.1)],  # nobody asked before
        [asked(4.5, 4.6, Kind.FAIL), asked(50, 50.1)],  # nor between
        [asked(4.5, 8.9, Kind.FAIL), asked(8.9, 9.2)],
        [asked(3, 20, Kind.INFO)],  # it began before the healing, and may have been lost
        [asked(9.5, 9.6, f="crash", kind=Kind.INFO)],  # it never succeeds, with or without faults
        [asked(9.5, 9.6, node="n9", key=7, f="poll", kind=Kind.FAIL)],
    ],
)
def test_what_nobody_asked_for_in_vain_is_not_slow(rest: list[Events]) -> None:
    assert check(history(BEFORE, *KILL, *rest, END)).outcome is Outcome.VALID


def test_an_answer_is_not_in_vain_whatever_it_says() -> None:
    value = [["send", 0, 1]]
    no = [
        Op(0, ns(9.5), Kind.INVOKE, 0, "send", value),
        Op(0, ns(9.6), Kind.FAIL, 0, "send", value),
    ]
    assert check(history(BEFORE, *KILL, no, END)).outcome is Outcome.VALID


def test_without_faults_or_with_faults_that_nobody_healed_there_is_nothing_to_judge() -> None:
    vain = asked(50, 50.1, Kind.FAIL)
    for faults in ([], [fault(2, "kill", ["n1"])], [fault(2, "kill", ["n1"], took_s=None)]):
        verdict = check(history(BEFORE, *faults, vain, END))
        assert verdict.outcome is Outcome.VALID and verdict.stats["healings"] == 0
        assert verdict.stats["never healed"] == len(faults)
    assert check(History.of([])).outcome is Outcome.VALID


def test_one_fault_that_nobody_healed_is_still_on_when_another_is_healed() -> None:
    still = fault(1, "pause", ["n2"])
    told = history(BEFORE, still, *KILL, asked(9.5, 9.6, Kind.FAIL), END)
    verdict = check(told)
    assert verdict.outcome is Outcome.VALID and verdict.stats["healings"] == 0


# -- overlapping faults --------------------------------------------------------------------------


def test_overlapping_faults_count_from_the_last_healing() -> None:
    longer = [fault(3, "pause", ["n2"]), fault(8, "resume", ["n2"])]
    told = history(BEFORE, *KILL, *longer, asked(10, 10.1, Kind.FAIL), asked(14, 14.1), END)
    assert check(told).outcome is Outcome.VALID
    (row,) = check(told).stats["by operation"]
    assert (row["healings"], row["served"], row["max s"]) == (1, 1, 6.1)
    (at_n1,) = check(told).stats["by node"]  # the fault of n2 does not touch it
    assert (at_n1["node"], at_n1["max s"]) == ("n1", 10.1)


def test_a_node_is_slow_only_once_nothing_at_all_is_broken() -> None:
    longer = [fault(3, "pause", ["n2"]), fault(8, "resume", ["n2"])]
    told = history(BEFORE, *KILL, *longer, asked(13.5, 13.6, Kind.FAIL), asked(14, 14.1), END)
    verdict = stands(told)
    at_n1 = next(one for one in verdict.findings if one.claim.startswith("send at n1"))
    assert "10.100 s after kill of n1" in at_n1.claim
    assert "nothing at all was broken from 8.000 s on" in at_n1.because
    well = asked(5, 5.1)  # it was served while the other one was still paused
    verdict = stands(history(BEFORE, *KILL, *longer, well, asked(13.5, 13.6, Kind.FAIL), END))
    assert kinds(verdict) == ["send", "send of key 0"]


def test_links_touch_their_ends_and_a_fault_without_a_target_touches_all() -> None:
    cut = [fault(2, "start-partition", {"n1": ["c1"]}), fault(4, "stop-partition")]
    (spell,) = spells(history(*cut, END))
    assert recovery.touches(spell, "n1") and not recovery.touches(spell, "n2")
    (anything,) = spells(history(fault(2, "start-partition", "majority"), END))
    assert recovery.touches(anything, "n2")


def test_the_phase_that_heals_ends_what_is_left() -> None:
    told = history(
        BEFORE, fault(2, "kill", ["n1"]), phase("heal", 10, 11), asked(17, 17.1, Kind.FAIL), END
    )
    assert [one.at for one in healings(spells(told), ns(60))] == [ns(11)]
    assert len(stands(told).findings) == 3


# -- statistics ----------------------------------------------------------------------------------


def test_the_statistics_tell_how_long_it_took_and_how_long_who_asked_waited() -> None:
    told = history(
        BEFORE,
        *KILL,
        asked(5, 5.5, Kind.FAIL),
        asked(6, 6.5),
        fault(10, "kill", ["n1"]),
        fault(12, "start", ["n1"]),
        asked(15, 15.5),
        fault(20, "kill", ["n1"]),
        fault(22, "start", ["n1"]),
        asked(23, 24, Kind.FAIL),
        fault(30, "kill", ["n1"]),
        fault(32, "start", ["n1"]),
        END,
    )
    stats = check(told, None).stats
    expected = {
        "operation": "send",
        "healings": 4,
        "served": 2,
        "in vain": 1,
        "nobody asked": 1,
        "p50 s": 3.0,
        "p95 s": 3.45,
        "max s": 3.5,
        "longest wait s": 1.5,
    }
    assert stats["by operation"] == [expected]
    assert stats["by node"] == [{"operation": "send", "node": "n1"} | expected]
    assert stats["by key"] == [{"operation": "send", "key": 0} | expected]
    assert stats["note"] == "healings: 4; who asked then waited at most send 1.500 s"


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ([3, None], [3]),
        (None, []),
        (7, []),
        ({"a": 1}, []),
        (["x", 1], []),
        ([["r", "x", None]], ["x"]),
    ],
)
def test_keys_are_those_of_micro_operations_and_of_independent_values(
    value: Any, keys: list[Any]
) -> None:
    told = history(operation(1, 1.1, 0, "read", value), *KILL, operation(6, 6.1, 0, "read", value))
    assert [row["key"] for row in check(told).stats.get("by key", [])] == keys


def test_a_cas_beside_reads_of_plain_values_has_no_key() -> None:
    told = history(
        *KILL, operation(6, 6.1, 0, "cas", [1, 2]), operation(7, 7.1, 0, "read", None, 2)
    )
    assert "by key" not in check(told).stats


def test_a_poll_is_about_the_keys_that_it_found() -> None:
    found = [["poll", {"3": [[0, 7]], "5": [[0, 8], [1, 9]]}]]
    told = history(*KILL, operation(6, 6.1, 0, "poll", [["poll"]], found), END)
    rows = check(told).stats["by key"]
    assert sorted(row["key"] for row in rows) == [3, 5]


# -- the oracle ----------------------------------------------------------------------------------


def slow(told: History, limit: int) -> set[tuple[int, str, str]]:
    """(healing, f, whom) of every case, straight from the definition."""
    faults, last = spells(told), int(told.time.max())
    edges = sorted({0, *(s.begin for s in faults), *(s.end for s in faults)})
    broken = [s for s in faults if s.healer is None]
    found = set()
    for at in edges:
        on = [s for s in faults if s.begin <= at <= s.end]
        if not any(s.end == at for s in on) or any(s.end > at or s in broken for s in on):
            continue
        run, before = list(on), None
        while run != before:  # all that overlap, by way of others
            before = run
            run = [s for s in faults if any(s.begin <= o.end and o.begin <= s.end for o in run)]
        if any(s in broken for s in run):
            continue
        until = min((s.begin for s in faults if s.begin > at), default=last)
        ops = [(told[i], told.completion(i)) for i in told.select(type=Kind.INVOKE).tolist()]
        names = {(op.f, f"node {end.node}") for op, end in ops if end is not None}
        names |= {(op.f, f"key {op.value[0][1]}") for op, _ in ops} | {(op.f, "") for op, _ in ops}
        for f, whom in names:
            if whom.startswith("node ") and not any(
                s.node in (None, whom.removeprefix("node ")) for s in run
            ):
                continue
            own = [
                (op, end)
                for op, end in ops
                if op.f == f
                and whom in ("", f"key {op.value[0][1]}", f"node {end.node}" if end else None)
            ]
            served = [end.time for _, end in own if end is not None and end.type is Kind.OK]
            if not any(time < at for time in served):
                continue
            touched = [s.end for s in run if whom in ("", f"node {s.node}") or "key" in whom]
            if any(max(touched) <= time < at for time in served):
                continue
            first = min([time for time in served if time >= at], default=until)
            first = min(first, until)
            for op, end in own:
                ended = last if end is None else end.time
                vain = end is not None and end.type in (Kind.FAIL, Kind.INFO)
                if at <= op.time < min(first, until) and (
                    min(ended, first) - op.time > limit
                    or (
                        op.time > at + limit
                        and vain
                        and ended < (first if first in served else until + 1)
                    )
                ):
                    found.add((at, f, whom))
    return found


def drawn(rng: random.Random) -> History:
    told: list[Events] = []
    for node in ("n1", "n2"):
        time = rng.uniform(2, 10)
        while time < 40 and rng.random() < 0.8:
            lasts = rng.uniform(0.5, 6)
            told.append(fault(time, "kill", [node]))
            if rng.random() < 0.9:
                told.append(fault(time + lasts, "start", [node]))
            time += lasts + rng.uniform(1, 12)
    for process in range(3):
        time = 0.0
        node = rng.choice(("n1", "n2"))
        while (time := time + rng.expovariate(1)) < 50:
            took = rng.choice((0.05, 0.3, 2.5))
            kind = rng.choice((Kind.OK, Kind.FAIL, Kind.FAIL, Kind.INFO))
            f = rng.choice(("send", "poll"))
            told.append(
                asked(
                    time, time + took, kind, process=process, node=node, f=f, key=rng.randrange(2)
                )
            )
            time += took
    return history(*told, END)


def test_the_checker_agrees_with_the_definition_on_random_histories() -> None:
    seen = 0
    for seed in range(150):
        told = drawn(random.Random(seed))
        expected = slow(told, ns(2))
        verdict = check(told, 2)
        assert sum(verdict.counts.values()) == len(expected), f"seed {seed}"
        seen += len(expected)
        if seed % 10 == 0:
            stands(told, 2)
    assert seen > 300


# -- the command line ----------------------------------------------------------------------------


def test_the_limit_is_an_option_of_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    recorder = Recorder(path)
    for op in history(BEFORE, *KILL, asked(9.5, 9.6, Kind.FAIL), asked(11, 11.1), END):
        recorder.record(op.time, op.type, op.process, op.f, op.value, op.error, op.node, op.extra)
    recorder.close()
    command = ["check", str(path), "--workload", "recovery", "--json"]
    assert main([*command, "-o", "recovery=5s"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["anomalies"]["slow-recovery"]["count"] == 3
    assert main([*command, "-o", "recovery=8000ms"]) == 0
    assert main(command) == 0
    assert main([*command, "-o", "recovery=soon"]) == 2
    assert main(["check", str(path), "--workload", "log", "-o", "recovery=5s"]) == 1


def test_a_limit_is_a_time() -> None:
    texts = {"5s": 5.0, "500ms": 0.5, "2.5": 2.5, 5.0: 5.0}
    for text, seconds in texts.items():
        assert derive("log", {"recovery": text}, "strict").promises["recovery"] == seconds
        assert derive("acme", {"recovery": text}, "strict").promises["recovery"] == seconds
    for wrong in ("0", "-1s", "5m", "", "s"):
        with pytest.raises(UsageError, match="expected a time"):
            derive("log", {"recovery": wrong}, "strict")
    rule = derive("log", {"recovery": "5s"}, "strict").explain()["slow-recovery"]
    assert rule["here"] == "forbidden" and "within 5 s" in rule["because"]


@pytest.mark.parametrize("one", golden("recovery"), ids=lambda one: one.file.stem)
def test_golden_histories_have_the_verdict_that_they_are_kept_for(one: Golden) -> None:
    contract = derive("recovery", one.options, "strict")
    verdict = recovery.check(History.load(one.file), contract)
    assert (verdict.outcome.name.lower(), set(verdict.counts)) == (one.verdict, set(one.anomalies))
