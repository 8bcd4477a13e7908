"""Any checker by key: what is said of each key alone is said of all, in terms of the whole."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkers import independent, mutex
from checkers.independent import by_key
from checkers.linearizable import register
from harness import catalog, cli
from harness.guarantees import Contract, derive
from harness.history import History, Recorder
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import EXAMPLES_MAX, Finding, Outcome, Verdict
from harness.windows import Windows
from tests import acme
from tests.checkers import by_hand
from tests.checkers.by_hand import lists
from tests.checkers.witnesses import STRICT, all_stand
from tests.golden import Golden, golden
from tests.stories import fault, history, operation

OVERLAP = """
c0: |- acquire [1,null] -> [1,1] --|
c1: |- acquire [2,null] -> [2,1] --|
c2:                                   |- acquire [2,null] -> [2,2] --|
"""
OF_KEY_2 = """
c1: |- acquire null -> 1 --|
c2:                          |- acquire null -> 2 --|
"""


def drawn(text: str) -> History:
    return History.of(parse(text))


def test_findings_tell_the_key_and_speak_of_the_whole_history() -> None:
    verdict = all_stand(drawn(OVERLAP), by_key("mutex", mutex.check))
    (finding,) = verdict.findings
    (alone,) = mutex.check(drawn(OF_KEY_2), STRICT).findings
    assert finding.key == 2 and finding.claim == f"key 2: {alone.claim}"
    assert finding.witness == (1, 2, 4, 5) or finding.witness == (1, 3, 4, 5)
    assert f"(op {finding.witness[1]})" in finding.because[0]
    assert f"(op {finding.witness[3]})" in finding.because[1]
    assert verdict.stats["keys"] == 2 and verdict.stats["failing"] == [2]
    assert verdict.stats["note"] == "1 of 2 keys fail: key 2"


def interleaved(rng: random.Random, by: dict[Any, History]) -> History:
    """One history of all, in which each is that of its key."""
    left = {key: list(one) for key, one in by.items()}
    ops: list[Op] = []
    while left:
        key = rng.choice(list(left))
        op = left[key].pop(0)
        if not left[key]:
            del left[key]
        process = op.process
        if isinstance(process, int):  # processes have one operation at a time, whatever its key
            process += 1000 * list(by).index(key)
        ops.append(Op(len(ops), len(ops) * 1000, op.type, process, op.f, [key, op.value]))
    return History.of(ops)


@pytest.mark.parametrize("seed", range(20))
def test_all_keys_together_show_what_each_one_shows_alone(seed: int) -> None:
    rng = random.Random(seed)
    check = catalog.find("checkers", "append")
    by: dict[Any, History] = {key: History.of(lists(rng, 5)) for key in (0, "b", 2.5, True)}
    whole = interleaved(rng, by)
    verdict = by_key("append", check)(whole, STRICT)
    alone = {json.dumps(key): check(one, STRICT) for key, one in by.items()}
    expected: Counter[str] = Counter()
    for one in alone.values():
        expected.update(one.anomalies())
    assert verdict.anomalies() == expected
    assert verdict.outcome is max(one.outcome for one in alone.values())
    for finding in verdict.findings:
        key = finding.key[0] if isinstance(finding.key, list) else finding.key
        assert all(whole[at].value[0] == key for at in finding.witness)
        named = {int(at) for said in finding.because for at in re.findall(r"\bop (\d+)", said)}
        assert named <= set(finding.witness)
        if finding.cycle is not None:
            assert finding.because == finding.cycle.sentences()


@pytest.mark.parametrize("seed", range(30))
def test_keys_judged_at_once_and_one_by_one_have_the_same_verdict(seed: int) -> None:
    rng = random.Random(seed)
    ops: list[Op] = []
    for number in range(30):
        key, process = rng.randrange(3), number
        f = rng.choice(["read", "write"])
        asked = [key, number if f == "write" else None]
        told = [key, number if f == "write" else rng.choice([None, *range(number)])]
        ops.append(Op(0, number * 2, Kind.INVOKE, process, f, asked))
        ops.append(Op(0, number * 2 + rng.randrange(9), Kind.OK, process, f, told))
    whole = History.of(sorted(ops, key=lambda op: op.time))
    at_once = by_key("register", register.check)(whole, STRICT)
    one_by_one = by_key("another", register.check)(whole, STRICT)
    assert at_once.anomalies() == one_by_one.anomalies()
    assert at_once.stats["keys"] == one_by_one.stats["keys"]
    assert "failing" not in at_once.stats, "it was handed over"


SUBJECTS = {name: by_hand.SUBJECTS[name] for name in independent.AT_ONCE if name != "stack"}


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_checker_that_is_handed_all_keys_says_what_it_says_of_each(name: str) -> None:
    check, outcomes = catalog.find("checkers", name), set[Outcome]()
    for seed in range(40):
        rng = random.Random(f"{name}/{seed}")
        by: dict[Any, History] = {
            key: History.of(SUBJECTS[name].draw(rng, 6)) for key in (1, 2) if rng.random() < 0.9
        }
        whole = interleaved(rng, by)
        at_once = by_key(name, check)(whole, STRICT)
        one_by_one = by_key("another", check)(whole, STRICT)
        assert at_once.outcome is one_by_one.outcome
        assert at_once.anomalies() == one_by_one.anomalies()
        outcomes.add(at_once.outcome)
    assert outcomes >= {Outcome.VALID, Outcome.INVALID}


GOLDEN = [one for one in golden() if one.file.suffix == ".jsonl" and one.workload != "adya"]


@pytest.mark.parametrize("one", GOLDEN, ids=lambda one: one.file.stem)
def test_a_golden_history_is_that_of_a_key(one: Golden) -> None:
    """Whatever the workload, its values have other keys of their own, and how it is told."""
    whole = History.load(one.file)
    ops = [
        Op(*(op.index, op.time, op.type, op.process, op.f), [["k"], op.value], *rest(op))
        if isinstance(op.process, int)
        else op
        for op in whole
    ]
    name = one.workload.removeprefix(catalog.INDEPENDENT)
    contract = derive(name, one.options, "strict")
    keyed = History.of(ops)
    check = catalog.find("checkers", f"independent:{one.workload}")
    verdict = contract.sort(check(keyed, contract), keyed)
    assert sorted(verdict.anomalies()) == sorted(one.anomalies)
    assert all(["k"] in (finding.key, finding.key[0]) for finding in verdict.findings)


def rest(op: Op) -> tuple[Any, ...]:
    return op.error, op.node, op.extra


def test_names_of_keys_may_be_anything() -> None:
    text = """
    c0: |- write ["x",1] --| |- write ["x",2] --|                         |- write [null,1] --|
    c1:                                           |- read ["x",null] -> ["x",1] --|
    """
    verdict = all_stand(drawn(text), by_key("register", register.check))
    assert verdict.anomalies() == {"stale-read": 1} and verdict.findings[0].key == "x"


def test_adya_keeps_the_keys_that_it_is_about() -> None:
    told = drawn('c0: |- insert ["a",[1,null]] --|\nc1: |- insert ["a",[null,2]] --|')
    check = catalog.find("checkers", "independent:adya")
    assert check(told, STRICT).anomalies() == {"G2": 1}


# -- contracts -----------------------------------------------------------------------------------


def overlaps(keys: int) -> list[list[Op]]:
    told = []
    for key in range(keys):
        told.append(operation(key, key + 0.1, 2 * key, "acquire", [key, None], [key, 1]))
        told.append(operation(key + 0.2, key + 0.3, 2 * key + 1, "acquire", [key, None], [key, 2]))
    return told


def test_what_a_setting_allows_is_allowed_of_every_key() -> None:
    told = history(*overlaps(30), fault(1, "kill", ["n1"]))
    check = catalog.find("checkers", "independent:mutex")
    contract = derive("mutex", {"fenced": "true"}, "strict")
    verdict = contract.sort(check(told, contract), told)
    assert verdict.legal() == {"mutex-overlap": 30} and not verdict.findings
    strict = derive("mutex", {}, "strict")
    verdict = strict.sort(check(told, strict), told)
    assert verdict.anomalies() == {"mutex-overlap": 30}
    assert len(verdict.findings) == EXAMPLES_MAX


def unseen(history: History, contract: Contract) -> Verdict:
    """One case a key, from when it began, of which nothing more is known."""
    at = int(history.time[history.type == 0][0])
    span = (at, at + 1_000_000_000)
    return Verdict.of([Finding("unseen", "it is gone", witness=(0,), span=span)])


def counted(history: History, contract: Contract) -> Verdict:
    """The same, and another case that is not shown."""
    found = unseen(history, contract).findings
    return Verdict.of(found, counts={"unseen": 2})


def whole(history: History, contract: Contract) -> Verdict:
    """The same, with the windows of both."""
    found = unseen(history, contract).findings
    windows = {"unseen": Windows.of([found[0].span[0], 0], 2**62)}  # type: ignore[index]
    return Verdict.of(found, counts={"unseen": 2}, windows=windows)


KILL = [fault(1, "kill", ["n1"]), fault(2, "start", ["n1"])]
ACKS_1 = derive("log", {"acks": "1"}, "derived")


def judged(check: Any, keys: int, begin_s: float = 1.1) -> Verdict:
    told = [operation(begin_s, begin_s + 0.1, key, "write", [key, 1]) for key in range(keys)]
    one = history(*KILL, *told)
    return ACKS_1.sort(by_key("unseen", check)(one, ACKS_1), one)


def test_findings_with_a_span_are_judged_one_by_one() -> None:
    assert judged(unseen, 40).legal() == {"unseen": 40}
    assert judged(unseen, 40, begin_s=100).anomalies() == {"unseen": 40}


def test_cases_that_are_not_shown_are_sorted_by_their_windows_or_in_doubt() -> None:
    assert judged(whole, 40).legal() == {"unseen": 80}
    verdict = judged(counted, 40)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "40 more cases of unseen were counted and not shown" in verdict.doubts[-1]


# -- doubts --------------------------------------------------------------------------------------


def test_a_key_that_crashes_the_checker_is_unknown_and_the_others_are_judged() -> None:
    def check(history: History, contract: Contract) -> Verdict:
        """Of locks, but not of the first one."""
        if history[0].value == "boom":
            raise ZeroDivisionError("boom")
        return mutex.check(history, contract)

    told = history(operation(0, 1, 9, "write", [7, "boom"]), *overlaps(2))
    verdict = by_key("fragile", check)(told, STRICT)
    assert verdict.anomalies() == {"mutex-overlap": 2}
    (doubt,) = verdict.doubts
    assert doubt.startswith("key 7: the checker crashed") and "ZeroDivisionError: boom" in doubt
    assert verdict.stats["unknown"] == 1


def test_doubts_name_their_keys_and_are_not_told_for_ever() -> None:
    told = [operation(key, key + 1, key, "release", [key, None]) for key in range(30)]
    verdict = by_key("mutex", mutex.check)(history(*told), STRICT)
    assert verdict.doubts == ("keys 0 and 29 more: nobody acquired a lock",)

    def each(history: History, contract: Contract) -> Verdict:
        """A doubt of its own for each key."""
        return Verdict.of(doubts=[f"{history[0].process} is late, at op 0"])

    verdict = by_key("each", each)(history(*told), STRICT)
    assert len(verdict.doubts) == EXAMPLES_MAX + 1
    assert verdict.doubts[1] == f"key 1: 1 is late, at op {2}"
    assert verdict.doubts[-1] == "22 more doubts of other keys are not told"


def test_without_keys_nothing_is_judged() -> None:
    check = by_key("mutex", mutex.check)
    for text in ("", OF_KEY_2):
        assert check(drawn(text), STRICT).outcome is Outcome.UNKNOWN
    mixed = check(drawn("c0: |- acquire [1,null] -> [2,5] --|"), STRICT)
    assert "1 operations have completions of another key" in " ".join(mixed.doubts)


def test_too_many_keys_for_operations_without_one_are_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.keyed.EVERYWHERE_MAX", 1)
    told = history(*overlaps(2), operation(50, 51, 99, "sync"))
    verdict = by_key("mutex", mutex.check)(told, STRICT)
    assert "1 operations have no key and so belong to all 2" in verdict.doubts[-1]


# -- the command line ----------------------------------------------------------------------------


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """Somebody reads key 3 as it was."""
    told = [(0, "write", 1, 1), (0, "write", 2, 2), (1, "read", None, 1), (1, "read", None, 2)]
    return stored(tmp_path / "history.jsonl", told)


def stored(path: Path, told: list[tuple[int, str, Any, Any]]) -> Path:
    recorder = Recorder(path)
    for number, (process, f, asked, answer) in enumerate(told):
        recorder.record(2 * number, Kind.INVOKE, process, f, [3, asked])
        recorder.record(2 * number + 1, Kind.OK, process, f, [3, answer])
    recorder.close()
    return path


@pytest.mark.parametrize("name", ["independent:register", "independent:independent:register"])
def test_the_command_line_judges_key_by_key(
    name: str, stale: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = name.count("independent") > 1
    assert cli.main(["check", str(stale), "--workload", name]) == (3 if nested else 1)
    assert ("stale-read: 1" in capsys.readouterr().out) is not nested


def test_options_are_those_of_the_checker(stale: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [(0, "txn", [["append", 1, 1]], [["append", 1, 1]])]
    told += [(1, "txn", [["r", 1, None]], [["r", 1, []]])]
    path = stored(stale.parent / "append.jsonl", told)
    asked = ["check", str(path), "--workload", "independent:append"]
    assert cli.main(asked) == 1
    assert "G-single-realtime: 1" in capsys.readouterr().out
    assert cli.main([*asked, "-o", "consistency-model=serializable"]) == 0
    assert "allowed: G-single-realtime × 1" in capsys.readouterr().out
    assert cli.main([*asked, "-o", "consistency-model=no-such"]) == 2


def test_a_checker_beside_others_one_of_a_file_and_one_of_a_package(
    stale: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["check", str(stale), "--checker", "independent:register"]) == 1
    assert "stale-read: 1" in capsys.readouterr().out
    acme.install(stale.parent)
    monkeypatch.syspath_prepend(stale.parent)
    odd = stored(stale.parent / "odd.jsonl", [(0, "add", 4, 4), (0, "add", 5, 5)])
    for name in (f"independent:{acme.__file__}:check_even", "independent:acme-even"):
        for flag in ("--checker", "--workload"):
            assert cli.main(["check", str(odd), flag, name, "--json"]) == 1
            (found,) = json.loads(capsys.readouterr().out)["anomalies"]["odd"]["examples"]
            assert (found["claim"], found["witness"]) == ("key 3: 5 is odd", [3])


def test_a_name_that_is_none_is_refused_as_ever(stale: Path) -> None:
    assert cli.main(["check", str(stale), "--workload", "independent:nothing"]) == 2
    assert cli.main(["check", str(stale), "--workload", "independent:"]) == 2
    assert cli.main(["check", str(stale), "--checker", "independent"]) == 3


@pytest.mark.parametrize("tuple_of", ["#jepsen.independent/tuple [{} {}]", "[{} {}]"])
def test_tuples_of_jepsen_are_read(tuple_of: str, tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text("".join(edn(tuple_of)))
    verdict = catalog.find("checkers", "independent:register")(History.load(path), STRICT)
    assert verdict.anomalies() == {"stale-read": 1} and verdict.findings[0].key == "x"


def edn(tuple_of: str) -> Iterator[str]:
    told = [(0, "write", 1), (0, "write", 2), (1, "read", 1)]
    for number, (process, f, value) in enumerate(told):
        asked = "nil" if f == "read" else value
        for kind, said in (("invoke", asked), ("ok", value)):
            value_of = tuple_of.format('"x"', said)
            yield f"{{:type :{kind}, :f :{f}, :process {process}, :value {value_of}}}\n"
        assert number < 3


def test_a_bare_name_says_what_is_missing() -> None:
    assert "independent:register" in independent.unnamed(drawn(""), STRICT).doubts[0]
