"""The bank: by stores with one flaw each, and by timelines."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from checkers import bank
from harness.errors import UsageError
from harness.guarantees import Contract, derive
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.outcomes import forgotten
from tests.checkers.witnesses import STRICT, all_stand

HISTORIES = 120
ACCOUNTS, TOTAL = 4, 40

Balances = dict[str, Any]


def drawn(text: str) -> History:
    return History.of(parse(text))


def checked(history: History, **promises: Any) -> Verdict:
    contract = derive("bank", {k.replace("_", "-"): v for k, v in promises.items()}, "strict")
    return contract.sort(all_stand(history, partial(_under, contract)), history)


def read(*balances: Any) -> str:
    told = "{" + ",".join(f'"{at}":{amount}' for at, amount in enumerate(balances)) + "}"
    return f"|- read -> {told} --|"


# -- timelines -----------------------------------------------------------------------------------

TRANSFER = '|- transfer {"from":0,"to":1,"amount":5}'
RIGHT, OTHER, WRONG = read(20, 20), read(15, 25), read(15, 20)
BELOW, NIL, MORE = read(-5, 45), read("null", 40), read(20, 20, 0)


@pytest.mark.parametrize(
    ("text", "promises", "found"),
    [
        (f"c0: {RIGHT} {OTHER}", {}, {}),
        (f"c0: {RIGHT} {WRONG}", {}, {"wrong-total": 1}),
        (f"c0: {RIGHT} {WRONG}", {"total": 40}, {"wrong-total": 1}),
        (f"c0: {RIGHT} {OTHER}", {"total": 39}, {"wrong-total": 2}),
        (f"c0: {BELOW} {RIGHT}", {}, {"negative-value": 1}),
        (f"c0: {BELOW} {RIGHT}", {"negative_balances": "true"}, {}),
        (f"c0: {NIL} {RIGHT} {OTHER}", {}, {"nil-balance": 1}),
        (f"c0: {MORE} {RIGHT}", {"accounts": "0,1"}, {"unexpected-key": 1}),
        (f"c0: {MORE} {RIGHT}", {"accounts": "0,1,2"}, {}),
        (f"c0: {read(0.1, 0.2)} {read(0.3, 0.0)}", {"total": "0.3"}, {}),
        (f"c0: {read(0.1, 0.2)} {read(0.3, 1e-7)}", {"total": "0.3"}, {"wrong-total": 1}),
        ("c0: |- read -> [20,20] --| |- read -> [15,20] --|", {}, {"wrong-total": 1}),
        (f"c0: {TRANSFER} --x {TRANSFER} --?\nc1: {RIGHT} {OTHER}", {}, {}),
        (f"c0: {RIGHT} |- read --> \nc1: |- read --x {RIGHT}", {}, {}),
    ],
)
def test_timelines(text: str, promises: dict[str, Any], found: dict[str, int]) -> None:
    verdict = checked(drawn(text), **promises)
    assert verdict.anomalies() == found
    assert verdict.outcome is (Outcome.INVALID if found else Outcome.VALID), verdict.doubts


def test_a_read_may_show_several_anomalies() -> None:
    verdict = checked(drawn(f"c0: {read(-5, 'null', 1)}"), accounts="0,1", total=40)
    assert verdict.counts == {"negative-value": 1, "nil-balance": 1, "unexpected-key": 1}


def test_findings_are_arguments() -> None:
    (finding,) = checked(drawn(f"c0: {RIGHT}\nc1: {WRONG}")).findings
    assert finding.claim == "a read has a total of 35, and another one of 40"
    assert finding.because[-1] == (
        'however, c1\'s read -> {"0": 15, "1": 20} (op 3) has a total of 35, of the same accounts, '
        "and transfers keep the total: a contradiction"
    )
    (finding,) = checked(drawn(f"c1: {WRONG}"), total=40).findings
    assert finding.claim == "a read of c1 has a total of 35"
    assert "have 40, and transfers keep that" in finding.because[-1]


# -- a total that nobody promised ------------------------------------------------------------------


def test_the_total_of_most_reads_is_said_to_be_inferred() -> None:
    verdict = checked(drawn(f"c0: {RIGHT} {WRONG} {OTHER}"))
    assert verdict.stats["total"] == 40 and verdict.stats["total-inferred"] is True
    assert "40 is that of most reads" in verdict.stats["note"]
    assert "total-inferred" not in checked(drawn(f"c0: {RIGHT}"), total=40).stats


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("", "nobody read"),
        (f"c0: {RIGHT}", "no two reads"),
        (f"c0: {RIGHT} {RIGHT} {read(20)}", "reads of different accounts have different ones"),
        (f"c0: {RIGHT} |- deposit 5 --| {WRONG}", "whether deposit keeps one is not known"),
        (f"c0: {RIGHT} {OTHER} |- read -> 7 --|", "1 reads are no balances"),
        (f'c0: {RIGHT} {OTHER} |- read -> {{"0":true}} --|', "1 reads are no balances"),
        (f"c0: {RIGHT} {OTHER} |- read --|", "1 reads are no balances"),
    ],
)
def test_what_cannot_be_told_is_a_doubt(text: str, doubt: str) -> None:
    verdict = checked(drawn(text))
    assert verdict.outcome is Outcome.UNKNOWN and doubt in verdict.doubts[0]


def test_a_promise_dispels_the_doubt() -> None:
    assert checked(drawn(f"c0: {RIGHT}"), total=40).outcome is Outcome.VALID
    assert checked(drawn(f"c0: {RIGHT} {read(20)}"), total=40).counts == {"wrong-total": 1}
    told = drawn(f"c0: {RIGHT} |- deposit 5 --| {WRONG}")
    assert checked(told, total=40).counts == {"wrong-total": 1}


def test_an_account_may_be_left_out_where_the_total_is_the_same() -> None:
    assert checked(drawn(f"c0: {RIGHT} {read(40)}")).outcome is Outcome.VALID


def test_promises_are_typed() -> None:
    assert derive("bank", {"accounts": [0, 1]}, "strict").promises["accounts"] == ["0", "1"]
    assert derive("bank", {"total": "-2.5"}, "strict").promises["total"] == -2.5
    for name, value in (
        ("total", "much"),
        ("total", "inf"),
        ("accounts", "0,,1"),
        ("accounts", ""),
    ):
        with pytest.raises(UsageError, match="expected"):
            derive("bank", {name: value}, "strict")


def test_amounts_of_any_size_are_summed_exactly() -> None:
    huge = 10**300
    same = f"c0: {read(huge, 0.5)} {read(huge + 1, -0.5)}"
    assert checked(drawn(same), negative_balances=True).outcome is Outcome.VALID
    assert checked(drawn(f"c0: {read(huge, 0.5)} {read(huge, 0.25)}")).counts == {"wrong-total": 1}
    assert checked(drawn(f"c0: {read(huge, 0)} {read(huge, 1)}")).counts == {"wrong-total": 1}


# -- stores ----------------------------------------------------------------------------------------


class Store:
    """Accounts; who takes more than there is is refused. `flaw` shows in a tenth of the reads."""

    def __init__(self, rng: random.Random, flaw: str) -> None:
        self.rng, self.flaw = rng, flaw
        self.balances: Balances = {str(at): TOTAL // ACCOUNTS for at in range(ACCOUNTS)}
        self.before = dict(self.balances)

    def transfer(self, source: str, target: str, amount: int) -> bool:
        if self.balances[source] < amount:
            return False
        self.before = dict(self.balances)
        self.balances[source] -= amount
        self.balances[target] += amount
        return True

    def read(self) -> Balances:
        told = dict(self.balances)
        if self.rng.random() < 0.1:
            FLAWS[self.flaw][1](self, told)
        return told


def _torn(store: Store, told: Balances) -> None:
    """One account as it was before the last transfer."""
    changed = [name for name in told if told[name] != store.before[name]]
    if changed:
        name = store.rng.choice(changed)
        told[name] = store.before[name]


def _overdrawn(store: Store, told: Balances) -> None:
    one, other = store.rng.sample(sorted(told), 2)
    told[one], told[other] = -1, told[other] + told[one] + 1


def _empty(store: Store, told: Balances) -> None:
    told[store.rng.choice(sorted(told))] = None


def _strange(store: Store, told: Balances) -> None:
    told["nobody's"] = 0


FLAWS: dict[str, tuple[str | None, Callable[[Store, Balances], None]]] = {
    "none": (None, lambda store, told: None),
    "torn": ("wrong-total", _torn),
    "overdrawn": ("negative-value", _overdrawn),
    "empty": ("nil-balance", _empty),
    "strange": ("unexpected-key", _strange),
}


def events(rng: random.Random, flaw: str, operations: int) -> tuple[list[Op], int]:
    """What clients of a store see, and how many reads its flaw has spoiled."""
    store, ops, spoiled, process = Store(rng, flaw), list[Op](), 0, list(range(3))

    def tell(kind: Kind, lane: int, f: str, value: Any) -> None:
        ops.append(Op(len(ops), len(ops), kind, process[lane], f, value))

    for _ in range(operations):
        lane = rng.randrange(3)
        if rng.random() < 0.5:
            told = store.read()
            tell(Kind.INVOKE, lane, "read", None)
            tell(Kind.OK, lane, "read", told)
            spoiled += told != store.balances
            continue
        source, target = rng.sample(sorted(store.balances), 2)
        amount = rng.randint(1, 5)
        asked = {"from": source, "to": target, "amount": amount}
        tell(Kind.INVOKE, lane, "transfer", asked)
        in_doubt = rng.random() < 0.2
        took = (not in_doubt or rng.random() < 0.5) and store.transfer(source, target, amount)
        tell(Kind.INFO if in_doubt else Kind.OK if took else Kind.FAIL, lane, "transfer", asked)
        if in_doubt:
            process[lane] += 3
    return ops, spoiled


PROMISED = derive("bank", {"total": TOTAL, "accounts": "0,1,2,3"}, "strict")


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_shows_what_it_breaks_and_nothing_else(flaw: str) -> None:
    rng, found = random.Random(flaw), Counter[str]()
    name, _ = FLAWS[flaw]
    for _ in range(HISTORIES):
        ops, spoiled = events(rng, flaw, 40)
        verdict = bank.check(History.of(ops), PROMISED)
        assert verdict.counts == ({str(name): spoiled} if spoiled else {})
        assert verdict.outcome is (Outcome.INVALID if spoiled else Outcome.VALID)
        found.update(verdict.counts)
    assert found[str(name)] > 150 or name is None


def test_without_a_promise_a_torn_read_is_found_where_two_reads_differ() -> None:
    rng, found = random.Random(3), 0
    for _ in range(HISTORIES):
        ops, spoiled = events(rng, "torn", 40)
        totals = {sum(op.value.values()) for op in ops if op.f == "read" and op.type is Kind.OK}
        verdict = bank.check(History.of(ops), STRICT)
        assert (verdict.outcome is Outcome.INVALID) == (len(totals) > 1)
        found += bool(spoiled)
    assert found > 60


def _under(contract: Contract, history: History, _: Contract) -> Verdict:
    return bank.check(history, contract)


def test_every_finding_stands_on_its_witness() -> None:
    rng, found = random.Random(4), Counter[str]()
    for flaw in FLAWS:
        for contract in (PROMISED, STRICT):
            check = partial(_under, contract)
            found.update(all_stand(History.of(events(rng, flaw, 60)[0]), check).counts)
    assert set(found) == set(bank.ANOMALIES)


def test_to_know_more_makes_nothing_valid() -> None:
    rng, invalid = random.Random(5), 0
    for _ in range(60):
        ops, _ = events(rng, rng.choice(sorted(FLAWS)), 8)
        for contract in (PROMISED, STRICT):
            whole = bank.check(History.of(ops), contract).outcome
            for less in forgotten(ops):
                before = bank.check(History.of(less), contract).outcome
                assert before is not Outcome.INVALID or whole is Outcome.INVALID
                invalid += before is Outcome.INVALID
    assert invalid > 80


def test_jepsens_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(
        "{:type :invoke, :f :read, :process 0, :time 1}\n"
        "{:type :ok, :f :read, :value {0 10, 1 30}, :process 0, :time 2}\n"
        "{:type :invoke, :f :transfer, :value {:from 0, :to 1, :amount 3}, :process 0, :time 3}\n"
        "{:type :ok, :f :transfer, :value {:from 0, :to 1, :amount 3}, :process 0, :time 4}\n"
        "{:type :invoke, :f :read, :process 1, :time 5}\n"
        "{:type :ok, :f :read, :value {0 7, 1 30}, :process 1, :time 6}\n"
    )
    assert bank.check(History.load(path), PROMISED).counts == {"wrong-total": 1}
