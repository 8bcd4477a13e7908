"""Transactions over lists: each anomaly and its legal neighbour, witnesses, planted flaws."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from checkers import list_append
from checkers.list_append import ANOMALIES, check, detected
from checkers.list_append_versions import Versions
from harness import consistency
from harness.checker import judge
from harness.cli import main
from harness.guarantees import derive
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import render
from harness.verdict import Outcome, Verdict
from tests.checkers.txns import ISOLATIONS, Mop, events, spoiled
from tests.checkers.witnesses import STRICT, all_stand
from tests.golden import Golden, golden
from tests.stories import Events, history, operation


def a(key: int, value: int) -> Mop:
    return ["append", key, value]


def r(key: int, *values: int) -> Mop:
    return ["r", key, list(values)]


def t(
    begin_s: float, end_s: float | None, process: int, *mops: Mop, kind: Kind = Kind.OK
) -> Events:
    """A transaction; without an end it is pending."""
    asked = [[f, key, None if f == "r" else value] for f, key, value in mops]
    return operation(begin_s, end_s, process, "txn", asked, list(mops), kind)


def found(*told: Events) -> dict[str, int]:
    return dict(check(history(*told), STRICT).counts)


TOLD: dict[str, tuple[list[Events], set[str]]] = {
    "phantom": ([t(0, 1, 0, r(1, 9))], {"phantom"}),
    "duplicate-elements": ([t(0, 1, 0, a(1, 1)), t(0, 1, 1, r(1, 1, 1))], {"duplicate-elements"}),
    "incompatible-order": (
        [
            *(t(0, 9, 0, a(1, 1)), t(0, 9, 1, a(1, 2))),
            *(t(0, 9, 2, r(1, 1, 2)), t(0, 9, 3, r(1, 2, 1))),
        ],
        {"incompatible-order"},
    ),
    "G1a": ([t(0, 9, 0, a(1, 1), kind=Kind.FAIL), t(0, 9, 1, r(1, 1))], {"G1a"}),
    "dirty-update": (
        [t(0, 9, 0, a(1, 1), kind=Kind.FAIL), t(0, 9, 1, a(1, 2)), t(0, 9, 2, r(1, 1, 2))],
        {"G1a", "dirty-update"},
    ),
    "G1b": ([t(0, 9, 0, a(1, 1), a(1, 2)), t(0, 9, 1, r(1, 1))], {"G1b", "G-single"}),
    "future-read": ([t(0, 1, 0, r(1, 1), a(1, 1))], {"future-read"}),
    "internal": ([t(0, 1, 0, a(1, 1), r(1))], {"internal"}),
    "lost-update": (
        [t(0, 9, 0, r(1), a(1, 1)), t(0, 9, 1, r(1), a(1, 2)), t(0, 9, 2, r(1, 1, 2))],
        {"lost-update", "G-single"},
    ),
    "G0": (
        [
            *(t(0, 9, 0, a(1, 1), a(2, 1)), t(0, 9, 1, a(1, 2), a(2, 2))),
            t(0, 9, 2, r(1, 1, 2), r(2, 2, 1)),
        ],
        {"G0"},
    ),
    "G1c": ([t(0, 9, 0, a(1, 1), r(2, 1)), t(0, 9, 1, a(2, 1), r(1, 1))], {"G1c"}),
    "G-single": ([t(0, 9, 0, a(1, 1), a(2, 1)), t(0, 9, 1, r(1, 1), r(2))], {"G-single"}),
    "G-nonadjacent": (
        [
            *(t(0, 9, 0, a(1, 1)), t(0, 9, 1, a(2, 1))),
            *(t(0, 9, 2, r(1, 1), r(2)), t(0, 9, 3, r(1), r(2, 1))),
        ],
        {"G-nonadjacent"},
    ),
    "G2-item": ([t(0, 9, 0, a(1, 1), r(2)), t(0, 9, 1, a(2, 1), r(1))], {"G2-item"}),
    "G0-process": (
        [t(0, 1, 0, a(1, 1)), t(2, 3, 0, a(1, 2)), t(0, 9, 1, r(1, 2, 1))],
        {"G0-process"},
    ),
    "G1c-process": ([t(0, 1, 0, r(1, 1)), t(2, 3, 0, a(1, 1))], {"G1c-process"}),
    "G-single-process": ([t(0, 1, 0, a(1, 1)), t(2, 3, 0, r(1))], {"G-single-process"}),
    "G-nonadjacent-process": (
        [
            *(t(0, 4, 0, a(1, 1)), t(6, 9, 0, r(2))),
            *(t(0, 5, 1, a(2, 1)), t(5.5, 9, 1, r(1))),
        ],
        {"G-nonadjacent-process"},
    ),
    "G2-item-process": (
        [t(0, 1, 0, a(2, 1)), t(2, 3, 0, r(1)), t(0, 9, 1, a(1, 1), r(2))],
        {"G2-item-process"},
    ),
    "G0-realtime": (
        [t(0, 1, 0, a(1, 1)), t(2, 3, 1, a(1, 2)), t(0, 9, 2, r(1, 2, 1))],
        {"G0-realtime"},
    ),
    "G1c-realtime": ([t(0, 1, 0, r(1, 1)), t(2, 3, 1, a(1, 1))], {"G1c-realtime"}),
    "G-single-realtime": ([t(0, 1, 0, a(1, 1)), t(2, 3, 1, r(1))], {"G-single-realtime"}),
    "G-nonadjacent-realtime": (
        [
            *(t(0, 4, 0, a(1, 1)), t(5, 9, 1, r(2))),
            *(t(0, 9, 2, a(2, 1), a(3, 1)), t(0, 9, 3, r(1), r(3, 1))),
        ],
        {"G-nonadjacent-realtime"},
    ),
    "G2-item-realtime": (
        [t(0, 1, 0, a(2, 1)), t(2, 3, 2, r(1)), t(0, 9, 1, a(1, 1), r(2))],
        {"G2-item-realtime"},
    ),
}


@pytest.mark.parametrize("name", ANOMALIES)
def test_each_anomaly_is_found_and_its_witness_is_minimal(name: str) -> None:
    told, expected = TOLD[name]
    assert name in expected
    verdict = all_stand(history(*told), check)
    assert set(verdict.counts) == expected
    assert verdict.outcome is Outcome.INVALID


LEGAL: dict[str, list[Events]] = {
    "an append of unknown outcome may be read later": [
        t(0, 1, 0, a(1, 1), kind=Kind.INFO),
        t(2, 3, 1, r(1)),
        t(4, 5, 1, r(1, 1)),
    ],
    "or never": [t(0, None, 0, a(1, 1)), t(2, 3, 1, r(1))],
    "who overlaps may be read or not": [t(0, 9, 0, a(1, 1)), t(1, 2, 1, r(1, 1))],
    "a transaction reads what it appended": [t(0, 1, 0, r(1), a(1, 1), a(1, 2), r(1, 1, 2))],
    "two that append without reading lose nothing": [
        *(t(0, 9, 0, a(1, 1)), t(0, 9, 1, a(1, 2)), t(10, 11, 0, r(1, 2, 1))),
    ],
    "a transaction that failed is not seen": [
        t(0, 1, 0, a(1, 1), kind=Kind.FAIL),
        t(2, 3, 1, r(1)),
    ],
    "who read the last list may have come before the next append": [
        *(t(0, 1, 0, a(1, 1)), t(2, 9, 1, r(1, 1)), t(2, 9, 2, a(1, 2))),
    ],
}


@pytest.mark.parametrize("what", LEGAL)
def test_what_is_legal_is_not_found(what: str) -> None:
    verdict = check(history(*LEGAL[what]), STRICT)
    # Where nothing depends on anything, nothing was tested: an unknown verdict says so.
    idle = any("nothing was tested" in doubt for doubt in verdict.doubts)
    assert verdict.outcome is (Outcome.UNKNOWN if idle else Outcome.VALID), verdict.findings
    assert not verdict.counts


@pytest.mark.parametrize("read", [(2, 1), (2,)])
def test_the_appends_of_a_transaction_keep_their_order(read: tuple[int, ...]) -> None:
    told = [t(0, 9, 0, a(1, 1), r(1, 1), a(1, 2)), t(0, 9, 1, r(1, *read))]
    assert "incompatible-order" in all_stand(history(*told), check).counts
    told = [t(0, 9, 0, a(1, 1), a(1, 2)), t(0, 9, 1, r(1, *read))]
    assert "incompatible-order" in all_stand(history(*told), check).counts


def test_a_null_is_the_empty_list() -> None:
    told = history(t(0, 1, 0, a(1, 1)), t(2, 3, 1, ["r", 1, None]))
    assert dict(check(told, STRICT).counts) == {"G-single-realtime": 1}


def test_a_cycle_is_an_argument() -> None:
    (finding,) = check(history(*TOLD["G-single"][0]), STRICT).findings
    assert finding.because[-2:] == (
        "T1 < T2, because T1 read [] of key 2, without the 1 that T2 appended",
        "however, T2 < T1, because T2 appended 1 to key 1, and T1 saw it: it read [1]; "
        "so T1 would come before itself: a contradiction",
    )


def test_many_who_append_what_nobody_reads_are_all_after_who_read_less() -> None:
    """Beyond the number for which each has an edge of its own."""
    many = [t(0, 1, at, a(1, at)) for at in range(1, 41)]
    assert found(*many, t(2, 3, 50, r(1))) == {"G-single-realtime": 1}
    assert found(*many, t(0, 3, 50, r(1))) == {}
    own = [t(0, 9, at, r(1), a(1, at)) for at in range(1, 41)]
    assert found(*own) == {"lost-update": 1, "G2-item": 1}
    assert found(own[0], *many[1:]) == {}, "what one appends itself is not missing"


def test_what_cannot_be_read_is_a_doubt() -> None:
    twice = [t(0, 1, 0, a(1, 1)), t(0, 1, 1, a(1, 1)), t(2, 3, 1, r(1, 1))]
    verdict = check(history(*twice), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "key 1" in verdict.doubts[0]
    verdict = check(history(operation(0, 1, 0, "txn", [["w", 1, 2]])), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "not understood" in verdict.doubts[0]
    verdict = check(history(t(0, 1, 0, ["r", 1, 5])), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "no list" in verdict.doubts[0]
    assert check(history(), STRICT).outcome is Outcome.UNKNOWN


# -- the contract --------------------------------------------------------------------------------


def judged(told: History, model: str) -> Verdict:
    contract = derive("append", {"consistency-model": model}, "strict")
    return judge(told, {"append": check}, contract)


@pytest.mark.parametrize(
    ("name", "model", "outcome"),
    [
        ("G2-item", "serializable", Outcome.INVALID),
        ("G2-item", "snapshot-isolation", Outcome.VALID),
        ("G-nonadjacent", "snapshot-isolation", Outcome.INVALID),
        ("G-nonadjacent", "parallel-snapshot-isolation", Outcome.VALID),
        ("G-single", "PL-SI", Outcome.INVALID),
        ("G-single", "read-committed", Outcome.VALID),
        ("G1c", "read-committed", Outcome.INVALID),
        ("G1c", "read-uncommitted", Outcome.VALID),
        ("G-single-realtime", "serializable", Outcome.VALID),
        ("G-single-realtime", "strong-session-serializable", Outcome.VALID),
        ("G-single-process", "strong-session-serializable", Outcome.INVALID),
        ("G-single-realtime", "strict-serializable", Outcome.INVALID),
        ("internal", "read-committed", Outcome.VALID),
        ("internal", "read-atomic", Outcome.INVALID),
    ],
)
def test_a_model_of_consistency_says_what_is_forbidden(
    name: str, model: str, outcome: Outcome
) -> None:
    verdict = judged(history(*TOLD[name][0]), model)
    assert verdict.outcome is outcome
    if outcome is Outcome.VALID:
        assert set(verdict.legal()) == TOLD[name][1]
        assert "consistency-model=" in str(verdict.allowed[0].reason)


def test_a_verdict_tells_which_models_are_ruled_out() -> None:
    stats = check(history(*TOLD["G2-item"][0]), STRICT).stats
    assert stats["not"] == ["repeatable-read"]
    assert "strict-serializable" in stats["also-not"]
    assert "snapshot-isolation" not in (*stats["not"], *stats["also-not"])


def test_the_strictest_model_forbids_all() -> None:
    assert consistency.forbidden(consistency.DEFAULT) == set(consistency.ANOMALIES)
    assert set(ANOMALIES) <= set(consistency.ANOMALIES)


# -- databases -----------------------------------------------------------------------------------

SHOWN = {
    "snapshot-isolation": {"G2-item"},
    "read-committed": {"G-single", "internal", "lost-update"},
    "nothing": {"G0", "G1b", "G1c", "G-single"},
}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_database_shows_what_its_isolation_allows_and_no_more(isolation: str) -> None:
    seen: set[str] = set()
    for seed in range(60):
        rng = random.Random(f"{isolation}/{seed}")
        told = History.of(events(rng, isolation, 40, keys=3, processes=5))
        names = set(detected(Versions(told)))
        if isolation in consistency.WEAKER:
            assert not names & consistency.forbidden(isolation), f"{names}\n{render(told)}"
        seen |= names
    assert SHOWN.get(isolation, set()) <= seen
    if isolation == "strict-serializable":
        assert not seen
    if isolation == "serializable":
        assert seen and all(name.endswith(("-process", "-realtime")) for name in seen)


@pytest.mark.parametrize("seed", range(60))
def test_findings_stand_on_their_witnesses(seed: int) -> None:
    rng = random.Random(f"witness/{seed}")
    ops = events(rng, rng.choice(ISOLATIONS), 12, keys=2, processes=4)
    all_stand(History.of(spoiled(rng, ops)), partial(check, examples=100))


# -- golden histories, and the command line ------------------------------------------------------


@pytest.mark.parametrize("one", golden("append"), ids=lambda one: one.file.name)
def test_a_golden_history_has_the_verdict_that_is_written_beside_it(one: Golden) -> None:
    verdict = all_stand(History.load(one.file), check)
    assert sorted(verdict.counts) == sorted(one.anomalies)
    assert verdict.outcome.name.lower() == one.verdict


def test_every_anomaly_has_a_golden_history() -> None:
    assert {name for one in golden("append") for name in one.anomalies} == set(ANOMALIES)


def write(path: Path, ops: list[Op]) -> Path:
    lines = [json.dumps(_plain(op)) for op in ops]
    path.write_text("\n".join(lines) + "\n")
    return path


def _plain(op: Op) -> dict[str, Any]:
    return {
        "index": op.index,
        "time": op.time,
        "type": op.type.value,
        "process": op.process,
        "f": op.f,
        "value": op.value,
    }


def test_the_command_line_judges_by_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "h.jsonl", list(history(*TOLD["G2-item"][0])))
    assert main(["check", str(path), "--workload", "append", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert list(told["anomalies"]) == ["G2-item"]
    assert told["stats"]["append"]["also-not"][0] == "strict-serializable"
    model = ["-o", "consistency-model=snapshot-isolation"]
    assert main(["check", str(path), "--workload", "append", *model]) == 0
    assert "allowed: G2-item" in capsys.readouterr().out
    assert main(["check", str(path), "--workload", "append", "-o", "consistency-model=x"]) == 2


def test_the_module_says_each_of_its_anomalies() -> None:
    for name in ANOMALIES:
        base = name.removesuffix("-process").removesuffix("-realtime")
        assert base in str(list_append.__doc__)
