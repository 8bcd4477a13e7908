"""Transactions over registers: each anomaly, the rules of single keys, witnesses, databases."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import msgspec
import pytest

from checkers import rw_register
from checkers.rw_register import ANOMALIES, check, detected
from checkers.rw_register_versions import Registers
from harness import consistency
from harness.cli import main
from harness.guarantees import Contract, derive
from harness.history import History
from harness.op import Kind
from harness.timeline import render
from harness.verdict import Finding, Outcome, Verdict
from tests.checkers.test_list_append import t, write
from tests.checkers.test_rw_register_oracle import spoiled
from tests.checkers.txns import ISOLATIONS, Mop, events
from tests.checkers.witnesses import STRICT, all_stand
from tests.golden import Golden, golden
from tests.stories import Events, history, operation


def w(key: int, value: int) -> Mop:
    return ["w", key, value]


def r(key: int, value: int | None = None) -> Mop:
    return ["r", key, value]


TOLD: dict[str, tuple[list[Events], set[str]]] = {
    "phantom": ([t(0, 1, 0, r(1, 9))], {"phantom"}),
    "G1a": ([t(0, 9, 0, w(1, 1), kind=Kind.FAIL), t(0, 9, 1, r(1, 1))], {"G1a"}),
    "G1b": ([t(0, 9, 0, w(1, 1), w(1, 2)), t(0, 9, 1, r(1, 1))], {"G1b", "G-single"}),
    "internal": ([t(0, 1, 0, w(1, 1), r(1))], {"internal"}),
    "lost-update": (
        [t(0, 9, 0, r(1), w(1, 1)), t(0, 9, 1, r(1), w(1, 2))],
        {"lost-update", "G2-item"},
    ),
    "cyclic-versions": (
        [t(0, 9, 0, r(1, 2), w(1, 1)), t(0, 9, 1, r(1, 1), w(1, 2))],
        {"cyclic-versions", "G1c"},
    ),
    "G0": (
        [t(0, 9, 0, w(1, 1), r(2, 2), w(2, 3)), t(0, 9, 1, r(1, 1), w(1, 4), w(2, 2))],
        {"G0"},
    ),
    "G1c": ([t(0, 9, 0, w(1, 1), r(2, 1)), t(0, 9, 1, w(2, 1), r(1, 1))], {"G1c"}),
    "G-single": ([t(0, 9, 0, w(1, 1), w(2, 1)), t(0, 9, 1, r(1, 1), r(2))], {"G-single"}),
    "G-nonadjacent": (
        [
            *(t(0, 9, 0, w(1, 1)), t(0, 9, 1, w(2, 1))),
            *(t(0, 9, 2, r(1, 1), r(2)), t(0, 9, 3, r(1), r(2, 1))),
        ],
        {"G-nonadjacent"},
    ),
    "G2-item": ([t(0, 9, 0, w(1, 1), r(2)), t(0, 9, 1, w(2, 1), r(1))], {"G2-item"}),
    "G0-process": ([t(0, 1, 0, r(1, 2), w(1, 1)), t(2, 3, 0, w(1, 2))], {"G0-process"}),
    "G1c-process": ([t(0, 1, 0, r(1, 1)), t(2, 3, 0, w(1, 1))], {"G1c-process"}),
    "G-single-process": ([t(0, 1, 0, w(1, 1)), t(2, 3, 0, r(1))], {"G-single-process"}),
    "G-nonadjacent-process": (
        [
            *(t(0, 4, 0, w(1, 1)), t(6, 9, 0, r(2))),
            *(t(0, 5, 1, w(2, 1)), t(5.5, 9, 1, r(1))),
        ],
        {"G-nonadjacent-process"},
    ),
    "G2-item-process": (
        [t(0, 1, 0, w(2, 1)), t(2, 3, 0, r(1)), t(0, 9, 1, w(1, 1), r(2))],
        {"G2-item-process"},
    ),
    "G0-realtime": ([t(0, 1, 0, r(1, 2), w(1, 1)), t(2, 3, 1, w(1, 2))], {"G0-realtime"}),
    "G1c-realtime": ([t(0, 1, 0, r(1, 1)), t(2, 3, 1, w(1, 1))], {"G1c-realtime"}),
    "G-single-realtime": ([t(0, 1, 0, w(1, 1)), t(2, 3, 1, r(1))], {"G-single-realtime"}),
    "G-nonadjacent-realtime": (
        [
            *(t(0, 4, 0, w(1, 1)), t(5, 9, 1, r(2))),
            *(t(0, 9, 2, w(2, 1), w(3, 1)), t(0, 9, 3, r(1), r(3, 1))),
        ],
        {"G-nonadjacent-realtime"},
    ),
    "G2-item-realtime": (
        [t(0, 1, 0, w(2, 1)), t(2, 3, 2, r(1)), t(0, 9, 1, w(1, 1), r(2))],
        {"G2-item-realtime"},
    ),
}


def under(**options: str) -> Contract:
    return derive("wr", {name.replace("_", "-"): on for name, on in options.items()}, "strict")


def checked_by(contract: Contract, told: History) -> Verdict:
    """As `all_stand` does, under another contract."""
    return all_stand(told, lambda part, _: check(part, contract, examples=100))


@pytest.mark.parametrize("name", ANOMALIES)
def test_each_anomaly_is_found_and_its_witness_is_minimal(name: str) -> None:
    told, expected = TOLD[name]
    assert name in expected
    verdict = all_stand(history(*told), check)
    assert set(verdict.counts) == expected


LEGAL: dict[str, list[Events]] = {
    "a write of unknown outcome may be read later": [
        *(t(0, 1, 0, w(1, 1), kind=Kind.INFO), t(2, 3, 1, r(1)), t(4, 5, 1, r(1, 1))),
    ],
    "or never": [t(0, None, 0, w(1, 1)), t(2, 3, 1, r(1))],
    "a transaction reads what it wrote": [t(0, 1, 0, r(1), w(1, 1), w(1, 2), r(1, 2))],
    "two that write without reading lose nothing": [
        *(t(0, 9, 0, w(1, 1)), t(0, 9, 1, w(1, 2)), t(10, 11, 0, r(1, 1))),
    ],
    "a transaction that failed is not seen": [
        *(t(0, 1, 0, w(1, 1), kind=Kind.FAIL), t(2, 3, 1, r(1))),
    ],
}


@pytest.mark.parametrize("what", LEGAL)
def test_what_is_legal_is_not_found(what: str) -> None:
    contract = under(linearizable_keys="true", sequential_keys="true")
    verdict = check(history(*LEGAL[what]), contract)
    # Where nothing depends on anything, nothing was tested: an unknown verdict says so.
    idle = any("nothing was tested" in doubt for doubt in verdict.doubts)
    assert verdict.outcome is (Outcome.UNKNOWN if idle else Outcome.VALID), verdict.findings
    assert not verdict.counts


STALE = [t(0, 1, 0, w(1, 1)), t(2, 3, 1, w(1, 2)), t(4, 5, 2, r(1, 1))]
BACK = [t(0, 9, 0, w(1, 1)), t(0, 9, 1, w(1, 2)), t(1, 2, 2, r(1, 2)), t(3, 4, 2, r(1, 1))]
BACK += [t(5, 6, 2, r(1, 2))]


def test_a_stale_read_is_seen_where_each_key_is_linearizable() -> None:
    assert not check(history(*STALE), STRICT).counts
    verdict = checked_by(under(linearizable_keys="true"), history(*STALE))
    assert set(verdict.counts) == {"cyclic-versions"}


def test_a_process_that_is_set_back_is_seen_where_each_key_is_sequential() -> None:
    assert not check(history(*BACK), STRICT).counts
    verdict = checked_by(under(sequential_keys="true"), history(*BACK))
    assert set(verdict.counts) == {"cyclic-versions"}


def test_without_the_rule_that_writes_follow_reads_nothing_is_known_of_them() -> None:
    told = history(*TOLD["cyclic-versions"][0])
    assert "cyclic-versions" in check(told, STRICT).counts
    assert "cyclic-versions" not in check(told, under(wfr_keys="false")).counts


def test_a_write_of_unknown_outcome_that_was_read_takes_part_in_cycles() -> None:
    told = [t(0, None, 0, w(1, 1), w(2, 1)), t(0, 9, 1, r(1, 1), r(2))]
    verdict = all_stand(history(*told), check)
    assert set(verdict.counts) == {"G-single"}


def test_a_null_that_many_read_comes_before_all_that_many_write() -> None:
    """Beyond the number for which each reader has an edge to each writer."""
    writers = [t(0, 1, at, w(1, at)) for at in range(1, 101)]
    readers = [t(0, 9, 200 + at, r(1)) for at in range(100)]
    assert not check(history(*writers, *readers), STRICT).counts
    late = t(2, 3, 500, r(1))
    assert dict(check(history(*writers, *readers, late), STRICT).counts) == {"G-single-realtime": 1}


def test_what_cannot_be_read_is_a_doubt() -> None:
    verdict = check(history(operation(0, 1, 0, "txn", [["append", 1, 2]])), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "not understood" in verdict.doubts[0]
    verdict = check(history(t(0, 1, 0, ["r", 1, [5]])), STRICT)
    assert verdict.outcome is Outcome.UNKNOWN and "no single value" in verdict.doubts[0]


SHOWN = {
    "snapshot-isolation": {"G2-item"},
    "read-committed": {"internal", "lost-update"},
    "nothing": {"G1b", "G1c", "internal"},
}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_database_shows_what_its_isolation_allows_and_no_more(isolation: str) -> None:
    seen: set[str] = set()
    for seed in range(60):
        rng = random.Random(f"{isolation}/{seed}")
        told = History.of(events(rng, isolation, 40, keys=3, processes=5, registers=True))
        names = set(detected(Registers(told)))
        if isolation in consistency.WEAKER:
            assert not names & consistency.forbidden(isolation), f"{names}\n{render(told)}"
        seen |= names
    assert SHOWN.get(isolation, set()) <= seen
    if isolation == "strict-serializable":
        assert not seen


@pytest.mark.parametrize("seed", range(60))
def test_findings_stand_on_their_witnesses(seed: int) -> None:
    rng = random.Random(f"witness/{seed}")
    ops = events(rng, rng.choice(ISOLATIONS), 12, keys=2, processes=4, registers=True)
    told = History.of(spoiled(rng, ops))
    all_stand(told, partial(check, examples=100))


@pytest.mark.parametrize("one", golden("wr"), ids=lambda one: one.file.name)
def test_a_golden_history_has_the_verdict_that_is_written_beside_it(one: Golden) -> None:
    contract = derive("wr", one.options, "strict")
    verdict = checked_by(contract, History.load(one.file))
    assert sorted(verdict.counts) == sorted(one.anomalies)
    assert verdict.outcome.name.lower() == one.verdict


def test_every_anomaly_has_a_golden_history() -> None:
    assert {name for one in golden("wr") for name in one.anomalies} == set(ANOMALIES)


def test_the_command_line_takes_the_promises_of_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "h.jsonl", list(history(*STALE)))
    assert main(["check", str(path), "--workload", "wr"]) == 0
    capsys.readouterr()
    options = ["-o", "linearizable-keys=true", "--json"]
    assert main(["check", str(path), "--workload", "wr", *options]) == 1
    assert list(json.loads(capsys.readouterr().out)["anomalies"]) == ["cyclic-versions"]
    assert main(["check", str(path), "--workload", "wr", "-o", "linearizable-keys=often"]) == 2


def test_the_module_says_each_of_its_anomalies() -> None:
    for name in ANOMALIES:
        base = name.removesuffix("-process").removesuffix("-realtime")
        assert base in str(rw_register.__doc__)


def test_an_argument_says_why_a_version_is_later() -> None:
    told = [
        t(0, 9, 0, w(1, 1)),
        t(0, 9, 1, r(1, 1), w(1, 2), w(2, 1)),
        t(0, 9, 2, r(2, 1), r(1, 1)),
    ]
    (finding,) = check(history(*told), STRICT).findings
    assert isinstance(finding, Finding) and finding.anomaly == "G-single"
    assert any("read 1 and then wrote 2" in sentence for sentence in finding.because)


# -- what the database tells ---------------------------------------------------------------------


def at(number: object, told: Events) -> Events:
    """The transaction, of which the database says that it took place then."""
    return [*told[:-1], msgspec.structs.replace(told[-1], extra={"commit-ts": number})]


BY = derive("wr", {"transaction-order": "commit-ts"}, "strict")


def by_numbers(history: History, _: Contract) -> Verdict:
    return check(history, BY)


def told_apart(one: object, other: object) -> History:
    return history(
        at(one, t(0, 9, 0, w(1, 1), w(2, 1))),
        at(other, t(0, 9, 1, w(1, 2), w(2, 2))),
        at(None, t(0, 9, 2, r(1, 2), r(2, 1))),
    )


def test_an_order_that_the_database_tells_is_the_order_of_versions() -> None:
    verdict = all_stand(told_apart(1, 2), by_numbers)
    assert verdict.counts == {"G-single": 1}
    (finding,) = verdict.findings
    assert "the database says that" in " ".join(finding.because)
    assert "took place by commit-ts 1, and" in " ".join(finding.because)
    assert all_stand(told_apart(2.5, 1), by_numbers).counts == {"G-single": 1}, "the other way"
    assert not check(told_apart(1, 2), STRICT).counts, "nobody asked for it"


@pytest.mark.parametrize("one", [1, None, "2", True, [1]])
def test_numbers_that_are_none_or_alike_tell_nothing(one: object) -> None:
    assert not check(told_apart(one, 1), BY).counts
    assert not check(told_apart(one, one), BY).counts


def test_a_number_against_what_a_transaction_saw_is_a_cycle_of_versions() -> None:
    told = history(
        at(1, t(0, 9, 0, w(1, 1))),
        at(0, t(0, 9, 1, r(1, 1), w(1, 2))),
    )
    assert set(all_stand(told, by_numbers).counts) == {"cyclic-versions"}


def test_an_order_that_no_completion_tells_is_a_doubt() -> None:
    told = history(t(0, 1, 0, w(1, 1)), t(2, 3, 1, r(1, 1)))
    assert "no completion has a number commit-ts" in check(told, BY).doubts[0]
    assert not check(told, STRICT).doubts


@pytest.mark.parametrize("seed", range(100))
def test_numbers_that_are_true_show_nothing_and_a_stale_read_by_them(seed: int) -> None:
    rng = random.Random(seed)
    state: dict[int, list[int | None]] = {key: [None] for key in range(3)}
    told: list[Events] = []
    known: set[int] = set()
    for number in range(12):
        mops: list[Mop] = []
        for key in rng.sample(range(3), 2):
            if rng.random() < 0.5:
                state[key].append(100 * key + number)
                mops.append(w(key, 100 * key + number))
            else:
                mops.append(r(key, state[key][-1]))
        if rng.random() < 0.9:
            known.add(number)
        told.append(at(number if number in known else None, t(0, 9, number, *mops)))
    assert not detected(Registers(history(*told), by="commit-ts"))
    key = max(state, key=lambda key: len(state[key]))
    other = (key + 1) % 3
    old = state[key][-1]
    if old is None or old % 100 not in known:
        return  # nobody knows when it was written
    both = at(98, t(0, 9, 98, w(other, 998), w(key, 999)))
    stale = at(None, t(0, 9, 99, r(other, 998), r(key, old)))
    assert detected(Registers(history(*told, both, stale), by="commit-ts"))


def test_the_command_line_is_told_the_numbers_name(tmp_path: Path) -> None:
    lines = [
        f"{{:type :{kind}, :f :txn, :process {process}, :commit-ts {number}, :value [{value}]}}"
        for kind in ("invoke", "ok")
        for process, number, value in (
            (0, 1, "[:w 1 1] [:w 2 1]"),
            (1, 2, "[:w 1 2] [:w 2 2]"),
            (2, "nil", "[:r 1 2] [:r 2 1]"),
        )
    ]
    path = tmp_path / "history.edn"
    path.write_text("\n".join(lines))
    asked = ["check", str(path), "--workload", "wr"]
    assert main([*asked, "-o", "transaction-order=commit-ts"]) == 1
    assert main([*asked, "-o", "transaction-order="]) == 2
