"""The guarantees of sessions: by stores that lack one, by every explanation, and by timelines."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from checkers import session_links, sessions
from harness.errors import UsageError
from harness.guarantees import derive
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers import causal_stores
from tests.checkers.outcomes import forgotten, renumbered
from tests.checkers.session_worlds import SHORT, drawn, explained, recorded
from tests.checkers.witnesses import STRICT, all_stand

FULL = dict(zip(SHORT, sessions.ANOMALIES, strict=True))
SUBSETS = [some for size in (1, 2, 3, 4) for some in combinations(SHORT, size)]
HISTORIES = 400
"""By hand, beside these: 9,000 of up to seven operations."""


def told(text: str) -> History:
    return History.of(parse(text))


def judged(ops: list[Op], promised: tuple[str, ...] = SHORT, **more: str) -> Verdict:
    history = History.of(ops)
    contract = derive("sessions", {"sessions": ",".join(promised), **more}, "strict")
    return contract.sort(sessions.check(history, contract), history)


# -- every explanation -----------------------------------------------------------------------------


def test_what_the_guarantees_explain_is_never_called_wrong_and_little_else_goes_unseen() -> None:
    rng, seen = random.Random(1), Counter[tuple[bool, bool]]()
    for _ in range(HISTORIES):
        ops = drawn(rng, rng.randint(2, 6), rng.choice([1, 2, 3]), rng.choice([1, 2]))
        promised = rng.choice([SHORT, *SUBSETS])
        legal, verdict = explained(ops, promised), judged(ops, promised)
        if legal is None:
            assert verdict.outcome is not Outcome.VALID, "somebody read what nobody wrote"
            continue
        assert not (legal and verdict.findings), (promised, ops)
        seen[legal, bool(verdict.findings)] += 1
    assert seen[False, True] > 25 and seen[True, False] > 100
    # What is read before it is written, a circle in time, is not looked for.
    assert seen[False, False] < seen[False, True] / 5


def test_every_finding_stands_on_its_witness() -> None:
    rng, found = random.Random(2), Counter[str]()
    for _ in range(50):
        ops = drawn(rng, 8, rng.choice([1, 2, 3]), rng.choice([1, 2]))
        found.update(all_stand(History.of(ops), sessions.check).counts)
    for lacking in SHORT:
        kept = [one for one in SHORT if one != lacking]
        for form in ("register", "add", "append"):
            history = History.of(recorded(kept, rng, 50, form=form, keys=3))
            found.update(all_stand(history, sessions.check).counts)
    assert set(found) == set(sessions.ANOMALIES), found


def test_to_know_more_makes_nothing_valid() -> None:
    rng, invalid = random.Random(3), 0
    for _ in range(50):
        ops = renumbered(drawn(rng, 6, 2, rng.choice([1, 2])))
        whole = judged(ops).outcome
        for less in forgotten(ops):
            before = judged(less).outcome
            assert before is not Outcome.INVALID or whole is not Outcome.VALID
            invalid += before is Outcome.INVALID
    assert invalid > 15


# -- stores that lack a guarantee ------------------------------------------------------------------


@pytest.mark.parametrize("promised", SUBSETS, ids=",".join)
def test_a_store_of_registers_is_never_found_to_break_what_it_keeps(
    promised: tuple[str, ...],
) -> None:
    rng = random.Random(",".join(promised))
    for _ in range(6):
        verdict = judged(recorded(promised, rng, 40), promised)
        assert verdict.outcome is Outcome.VALID, (verdict.findings, verdict.doubts)
        assert {FULL[one] for one in promised}.isdisjoint(verdict.legal())


@pytest.mark.parametrize("lacking", SHORT)
@pytest.mark.parametrize("form", ["versions", "add", "append"])
def test_a_store_that_lacks_one_guarantee_shows_that_one_and_no_other(
    form: str, lacking: str
) -> None:
    rng, found = random.Random(form + lacking), Counter[str]()
    versions = str(form == "versions").lower()
    kept = [one for one in SHORT if one != lacking]
    tries = 0
    while found[FULL[lacking]] < 100:
        tries += 1
        assert tries < 150, found
        ops = recorded(kept, rng, 60, form=form)
        found.update(judged(ops, versions=versions).counts)
        assert not judged(recorded(SHORT, rng, 40, form=form), versions=versions).counts, (
            "and one with all"
        )
    assert set(found) == {FULL[lacking]}


@pytest.mark.parametrize("lacking", SHORT)
def test_a_store_of_registers_that_lacks_one_is_found_out(lacking: str) -> None:
    """Most take two guarantees to prove, so that the name may be that of the other one."""
    rng, found = random.Random(lacking), Counter[str]()
    kept = [one for one in SHORT if one != lacking]
    for _ in range(250):
        found.update(judged(recorded(kept, rng, 60, keys=3)).counts)
        if found.total() >= 100:
            break
    assert found[FULL[lacking]] >= 3 and found.total() >= 50, found


@pytest.mark.parametrize("kind", ["sequential", "memory", "convergent"])
def test_causal_stores_keep_all_of_them(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(25):
        history = causal_stores.recorded(kind, rng, 80)
        assert sessions.check(history, STRICT).outcome is Outcome.VALID


def test_a_store_that_delivers_in_any_order_is_found_out() -> None:
    rng, found = random.Random(5), Counter[str]()
    for _ in range(40):
        found.update(sessions.check(causal_stores.recorded("eventual", rng, 80), STRICT).counts)
    assert set(found) == {"monotonic-writes", "writes-follow-reads"}, "replicas keep the others"


def test_a_step_of_bounded_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(6)
    histories = [History.of(recorded((), rng, 40)) for _ in range(5)]
    before = [sessions.check(one, STRICT) for one in histories]
    monkeypatch.setattr(session_links, "STEP", 1)
    assert [sessions.check(one, STRICT) for one in histories] == before
    assert sum(len(one.findings) for one in before) > 10


# -- timelines: registers --------------------------------------------------------------------------

W1, W2, W3 = "|- write 1 --|", "|- write 2 --|", "|- write 3 --|"
R0, R1, R2 = "|- read -> null --|", "|- read -> 1 --|", "|- read -> 2 --|"


def of(key: str, bar: str) -> str:
    """The bar of a register of this key."""
    for value in ("null", "1", "2", "3"):
        bar = bar.replace(f"write {value} ", f'write ["{key}",{value}] ')
        bar = bar.replace(f"read -> {value} ", f'read ["{key}",null] -> ["{key}",{value}] ')
    return bar


X1, X2, Y3 = of("x", W1), of("x", W2), of("y", W3)
RX0, RX1, RX2, RY3 = of("x", R0), of("x", R1), of("x", R2), of("y", "|- read -> 3 --|")


@pytest.mark.parametrize(
    ("text", "found", "needed"),
    [
        (f"c0: {W1} {R0}", {"ryw": 1}, "ryw"),
        (f"c0: {W1} {W2} {R1}", {"ryw": 1}, "ryw,mw"),
        (f"c0: {R1} {W2} {R1}\nc1: {W1}", {"ryw": 1}, "ryw,wfr"),
        (f"c0: {R1} {R0}\nc1: {W1}", {"mr": 1}, "mr"),
        (f"c0: {R1} {R2} {R1}\nc1: {W1}\nc2: {W2}", {"mr": 1}, "mr"),
        (f"c0: {W1} {R2} {R1}\nc2: {W2}", {"mr": 1}, "ryw,mr"),
        (f"c0: {R2} {R1}\nc1: {W1} {W2}", {"mr": 1}, "mr,mw"),
        (f"c0: {R2} {R1}\nc1: {R1} {W2}\nc2: {W1}", {"mr": 1}, "mr,wfr"),
        (f"c0: {X1} {Y3}\nc1: {RY3} {RX0}", {"mw": 1}, "mr,mw"),
        (f"c0: {X1} {X2} {Y3}\nc1: {RY3} {RX1}", {"mw": 1}, "mr,mw"),
        (f"c0: {X1}\nc1: {RX1} {Y3}\nc2: {RY3} {RX0}", {"wfr": 1}, "mr,wfr"),
        (f"c0: {X1} {X2}\nc1: {RX2} {Y3}\nc2: {RY3} {RX1}", {"wfr": 1}, "mr,mw,wfr"),
        (f"c0: {W1}\nc1: {R1} {R2}\nc2: {R2} {R1}\nc3: {W2}", {}, ""),
        (f"c0: {W1} {R2}\nc1: {W2} {R1}", {}, ""),
        ("c0: |- write 1 --? |- read -> null --|", {}, ""),
        (f"c0: |- write 1 --x {R0}", {}, ""),
        (f"c0: {W1} |- write 2 --? {R1}\nc1: {R2}", {}, ""),
        (f"c0: {X1} {RX1} {RY3} {RX2}\nc1: {X2}\nc2: {Y3}", {}, ""),
    ],
)
def test_registers(text: str, found: dict[str, int], needed: str) -> None:
    verdict = all_stand(told(text), sessions.check)
    assert verdict.counts == {FULL[one]: count for one, count in found.items()}
    assert found or verdict.outcome is Outcome.VALID, verdict.doubts
    # It is forbidden where all that it takes was promised, and legal without any of that.
    ops = list(told(text))
    for some in SUBSETS:
        forbidden = bool(found) and set(needed.split(",")) <= set(some)
        verdict = judged(ops, some)
        assert verdict.outcome is (Outcome.INVALID if forbidden else Outcome.VALID), some
        assert not found or verdict.findings or verdict.allowed


def test_findings_are_arguments() -> None:
    text = f"c0: {X1}\nc1: {RX1} {Y3}\nc2: {RY3} {RX0}"
    (finding,) = all_stand(told(text), sessions.check).findings
    assert finding.claim == (
        'key "x": c2 read null, older than what had been read before a write that it had read'
    )
    seen = 'c2\'s read ["y", null] -> ["y", 3]'
    assert [said.replace(f"(op {at})", "") for said, at in zip(finding.because, "---", strict=True)]
    assert finding.because[0].startswith(seen) and "(monotonic reads)" in finding.because[0]
    assert finding.because[1].startswith('c1\'s read ["x", null] -> ["x", 1]')
    assert finding.because[1].endswith("(writes follow reads)")
    assert finding.because[2].startswith('however, c2\'s read ["x", null] (op')


# -- timelines: collections ------------------------------------------------------------------------

A1, A2, A3 = "|- add 1 --|", "|- add 2 --|", "|- add 3 --|"


def had(*elements: int) -> str:
    return f"|- read -> {list(elements)} --|".replace(", ", ",")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"c0: {A1} {had()}", {"ryw": 1}),
        (f"c0: {had(1)} {had()}\nc1: {A1}", {"mr": 1}),
        (f"c0: {had(1)} {had()}", {"mr": 1}),
        (f"c0: {A1} {A2}\nc1: {had(2)}", {"mw": 1}),
        (f"c0: {A1}\nc1: {had(1)} {A2}\nc2: {had(2)}", {"wfr": 1}),
        (f"c0: {A1} {A2}\nc1: {had(2, 1)}", {}),
        (f"c0: {A1} {A2}\nc1: {had(2, 1)}".replace("add", "append"), {"mw": 1}),
        (f"c0: {A1}\nc1: {had(1)} {A2}\nc2: {had(2, 1)}".replace("add", "append"), {"wfr": 1}),
        (f"c0: {A1} {A2}\nc1: {A2}\nc2: {had(2)}", {}),
        (f"c0: {A1} {A2}\nc1: {had(1)}\nc2: {had()}", {}),
        (f"c0: |- add 1 --? {had()}", {}),
        (f"c0: |- add 1 --? {A2}\nc1: {had(2)}", {}),
        (f"c0: |- add 1 --x {A2} {had(2)}", {}),
        (f"c0: {A1} |- add 2 --?\nc1: {had(2)}", {"mw": 1}),
        ("c0: |- add [7,1] --| |- read [7,null] -> [7,null] --|", {"ryw": 1}),
        ("c0: |- add [7,1] --| |- read [8,null] -> [8,null] --|", {}),
        ('c0: |- add {"a":[1]} --| |- read -> [true,null] --|', {"ryw": 1}),
    ],
)
def test_collections(text: str, found: dict[str, int]) -> None:
    verdict = all_stand(told(text), sessions.check)
    assert verdict.counts == {FULL[one]: count for one, count in found.items()}
    assert found or verdict.outcome is Outcome.VALID, verdict.doubts


def test_a_list_in_another_order_is_found_after_fine_ones() -> None:
    text = (
        f"c0: {A1} {A2} {A3}\nc1: {had(1)} {had(1, 2, 3)} {had(1, 3, 2)} {had(1, 2)} {had(2, 1, 3)}"
    )
    verdict = all_stand(told(text.replace("add", "append")), sessions.check)
    assert verdict.counts == {"monotonic-writes": 2, "monotonic-reads": 1}


# -- timelines: versions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("c0: |- write null -> 5 --| |- read -> 4 --|", {"ryw": 1}),
        ("c0: |- write 5 --| |- read -> null --|", {"ryw": 1}),
        ("c0: |- read -> 5 --| |- read -> 4 --|", {"mr": 1}),
        ("c0: |- write null -> 5 --| |- write null -> 4 --|", {"mw": 1}),
        ("c0: |- read -> 5 --| |- write null -> 4 --|", {"wfr": 1}),
        ("c0: |- read -> 5 --| |- read -> 5 --| |- write null -> 5 --|", {}),
        ("c0: |- write 5 --? |- read -> 4 --|", {}),
        ("c0: |- write [1,5] --| |- read [2,null] -> [2,4] --|", {}),
        ("c0: |- write [1,5] --| |- read [1,null] -> [1,4] --|", {"ryw": 1}),
        ("c0: |- write 5 --|\nc1: |- read -> 4 --|", {}),
    ],
)
def test_versions(text: str, found: dict[str, int]) -> None:
    contract = derive("sessions", {"versions": "true"}, "strict")
    verdict = all_stand(told(text), lambda history, _: sessions.check(history, contract))
    assert verdict.counts == {FULL[one]: count for one, count in found.items()}
    assert found or verdict.outcome is Outcome.VALID, verdict.doubts


# -- what is no such history -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "versions", "doubt"),
    [
        ("", "false", "nobody read or wrote"),
        ("", "true", "nobody read or wrote"),
        (f"c0: {A1}", "false", "nobody read anything"),
        (f"c0: {W1} {W1} {R1}", "false", "written more than once"),
        (f"c0: {R1}", "false", "1 reads have a value that nobody wrote"),
        (f"c0: |- write 1 --x {R1}", "false", "1 reads have a value that nobody wrote"),
        ("c0: |- write [1,1] --x |- read [1,null] -> [1,0] --|", "false", "nobody wrote"),
        (f"c0: {W1} {A1} {R0}", "false", "nothing was judged"),
        (f"c0: {W1} |- delete --| {R0}", "false", "delete: what that does"),
        (f"c0: {W1} |- cas [1,2] --? {R0}", "false", "cas: what that does"),
        (f"c0: {A1} |- read -> 7 --|", "false", "1 operations have values"),
        ("c0: |- write [1,1] --| |- read -> 7 --|", "false", "1 operations have values"),
        ('c0: |- write "a" --| |- read -> 4.5 --|', "true", "2 operations have no integer"),
        ("c0: |- write null --|", "true", "1 operations have no integer"),
    ],
)
def test_what_cannot_be_judged_is_a_doubt(text: str, versions: str, doubt: str) -> None:
    contract = derive("sessions", {"versions": versions}, "strict")
    verdict = sessions.check(told(text), contract)
    assert verdict.outcome is Outcome.UNKNOWN
    assert any(doubt in said for said in verdict.doubts), verdict.doubts


def test_promises_are_typed() -> None:
    def promised(value: Any) -> Any:
        return derive("sessions", {"sessions": value}, "strict").promises["sessions"]

    assert promised("wfr,ryw") == ["read-your-writes", "writes-follow-reads"]
    assert promised(["monotonic-reads"]) == promised("mr") == ["monotonic-reads"]
    assert promised("all") == list(FULL.values())
    for wrong in ("", "ryw,", "linearizable"):
        with pytest.raises(UsageError, match="expected"):
            promised(wrong)


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(
        "{:type :invoke, :f :write, :value 1, :process 0, :time 1}\n"
        "{:type :ok, :f :write, :value 1, :process 0, :time 2}\n"
        "{:type :invoke, :f :read, :value nil, :process 0, :time 3}\n"
        "{:type :ok, :f :read, :value nil, :process 0, :time 4}\n"
    )
    assert sessions.check(History.load(path), STRICT).counts == {"read-your-writes": 1}


def test_a_process_that_goes_on_after_a_doubt_is_another_session() -> None:
    ops = [
        Op(0, 0, Kind.INVOKE, 0, "write", 1),
        Op(0, 1, Kind.OK, 0, "write", 1),
        Op(0, 2, Kind.INVOKE, 0, "read", None),
        Op(0, 3, Kind.INFO, 0, "read", None),
        Op(0, 4, Kind.INVOKE, 0, "read", None),
        Op(0, 5, Kind.OK, 0, "read", None),
    ]
    assert sessions.check(History.of(ops), STRICT).outcome is Outcome.VALID
    ops[3] = Op(0, 3, Kind.FAIL, 0, "read", None)
    assert sessions.check(History.of(ops), STRICT).counts == {"read-your-writes": 1}
