"""Histories of other tools are read as they are, judged, and refused by line and column."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import decode, foreign, jsonl
from harness.cli import main
from harness.errors import HistoryError
from harness.history import History, Recorder
from harness.op import Kind, Op
from tests.values import assert_identical, histories, same, usual_values, values

FOLDER = Path(__file__).parent / "foreign"
CORPUS = Path(__file__).parent / "fuzz" / "corpus"

GOLDEN: dict[str, tuple[str, int, set[str], tuple[str, ...]]] = {
    "etcd-cas-valid.log": ("register", 0, set(), ("no index", "no time")),
    "etcd-cas-stale.log": ("register", 1, {"nonlinearizable"}, ("no index", "no time")),
    "etcd-hints-valid.log": ("register", 0, set(), ("no index", "no time")),
    "history-txt-mutex.txt": ("lock", 1, {"nonlinearizable"}, ("no index", "no time")),
    "kv-valid.txt": ("register", 0, set(), ("get and put", "no index", "no time")),
    "kv-stale.txt": ("register", 1, {"nonlinearizable"}, ("get and put", "no index", "no time")),
    "elle-no-process.edn": ("append", 1, {"G1a"}, ("no f", "no process", "no time")),
    "elle-answers-only.edn": (
        *("append", 1, {"G1c"}),
        ("no f", "no invocations", "no index", "no time"),
    ),
    "elle-sparse-index.edn": ("append", 1, {"G2-item"}, ("another index",)),
    "elle-aborted-read.json": ("append", 1, {"G1a"}, ("no f", "no time")),
    "knossos-list.edn": ("register", 1, {"phantom"}, ("no index", "no time")),
    "jepsen-tuples.edn": ("register", 1, {"nonlinearizable"}, ()),
    "jepsen-set.edn": ("set", 1, {"stale-read"}, ("no index", "no time")),
    "named-clients.ndjson": ("queue", 1, {"phantom"}, ("have names", "no index", "no time")),
}
"""Workload, exit status, anomalies, and of what was put in some words each."""


def judged(path: Path, workload: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    status = main(["check", str(path), "--workload", workload, "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_history_of_another_tool_has_its_verdict(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workload, status, anomalies, put_in = GOLDEN[name]
    found_status, verdict = judged(FOLDER / name, workload, capsys)
    assert found_status == status, verdict
    assert set(verdict["anomalies"]) == anomalies
    told = verdict["stats"].get("reading", [])
    assert len(told) == len(put_in)
    for words in put_in:
        assert any(words in remark for remark in told), words


def test_every_sample_is_judged() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN)


def test_a_folder_of_another_tool_is_judged_by_the_history_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "history.edn").write_bytes((FOLDER / "knossos-list.edn").read_bytes())
    (tmp_path / "results.edn").write_text("{:valid? true}", encoding="utf-8")
    status, verdict = judged(tmp_path, "register", capsys)
    assert status == 1 and set(verdict["anomalies"]) == {"phantom"}


def test_what_was_put_in_is_told_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FOLDER / "kv-valid.txt"), "--workload", "register"]) == 0
    assert "  reading: get and put of a key are taken for read" in capsys.readouterr().out


@pytest.mark.parametrize("name", GOLDEN)
def test_a_compressed_history_is_the_same_history(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress((FOLDER / name).read_bytes()))
    assert_identical(History.load(path), History.load(FOLDER / name))


@pytest.mark.parametrize("name", GOLDEN)
def test_a_history_is_known_by_how_it_begins(name: str, tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\xef\xbb\xbf" + (FOLDER / name).read_bytes())
    assert_identical(History.load(path), History.load(FOLDER / name))


def test_a_history_in_two_compressed_parts_is_read_to_its_end(tmp_path: Path) -> None:
    data = (FOLDER / "jepsen-set.edn").read_bytes()
    path = tmp_path / "history.edn.gz"
    path.write_bytes(gzip.compress(data[:70]) + gzip.compress(data[70:]) + b"\0" * 100)
    assert_identical(History.load(path), History.load(FOLDER / "jepsen-set.edn"))


# -- torn files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["etcd-cas-valid.log", "kv-valid.txt", "elle-sparse-index.edn", "knossos-list.edn"]
    + ["elle-aborted-read.json", "jepsen-tuples.edn", "named-clients.ndjson"],
)
def test_a_history_cut_at_any_byte_is_read_up_to_there(name: str, tmp_path: Path) -> None:
    data = (FOLDER / name).read_bytes().rstrip()
    whole = History.load(FOLDER / name)
    path = tmp_path / name
    seen = set()
    for size in range(data.index(b"\n", data.index(b"invoke")) + 1, len(data)):
        path.write_bytes(data[:size])
        history = History.load(path)
        history._check()
        assert [op.value for op in history] == [op.value for op in whole][: len(history)]
        if not history.notes:  # nothing shows that more was to come: it ends between two events
            assert data[:size].rstrip().endswith((b"}", b"\n")) or data[size - 1 : size] in b"\n "
        seen.add(len(history))
    assert seen >= set(range(1, len(whole)))


def test_a_torn_history_is_unknown_or_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.edn"
    path.write_bytes(
        b"({:type :invoke, :f :write, :value 0, :process 0}\n"
        b" {:type :ok, :f :write, :value 0, :process 0} {:type :inv"
    )
    status, verdict = judged(path, "register", capsys)
    assert status == 3 and verdict["valid"] == "unknown"
    assert len(History.load(path)) == 2


def test_a_history_that_ends_within_a_character_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    whole = f"{EVENT}\n{{:é".encode()
    for data in (whole, whole[:-1], f'{EVENT}\n{{"é'.encode()[:-1]):
        path.write_bytes(data)
        history = History.load(path)
        assert len(history) == 1 and len(history.notes) == 1


def test_a_compressed_history_without_its_end_is_read_up_to_there(tmp_path: Path) -> None:
    lines = "".join(
        f"{{:process 0, :type :{kind}, :f :write, :value {value}}}\n"
        for value in random.Random(7).sample(range(10**9), 4000)
        for kind in ("invoke", "ok")
    )
    packed = gzip.compress(lines.encode())
    path = tmp_path / "history.edn.gz"
    path.write_bytes(packed[: len(packed) // 2])
    history = History.load(path)
    assert 1000 < len(history) < 8000
    assert any("the compressed file has no end" in note for note in history.notes)


def test_what_cannot_be_unpacked_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "history.edn.gz"
    packed = bytearray(gzip.compress(b"{:type :invoke, :f :x, :process 0}\n" * 50))
    packed[12:30] = b"\xff" * 18
    path.write_bytes(packed)
    with pytest.raises(HistoryError, match="cannot be unpacked"):
        History.load(path)


# -- errors ---------------------------------------------------------------------------------------

EVENT = "{:type :invoke, :f :x, :process 0}"


@pytest.mark.parametrize(
    ("name", "text", "line", "column", "reason"),
    [
        ("h.edn", f"{EVENT}\n {{:type :ok ]\n", 2, 13, "']' closes '{', expected '}'"),
        ("h.edn", f"{EVENT}\n  {{:type :okay, :f :x, :process 0}}\n", 2, 3, "unknown type 'okay'"),
        ("h.edn", f"[{EVENT} 17]", 1, 37, "an event is a JSON object"),
        ("h.edn", f'{EVENT}\n{{:é "ä" :f 12ab}}\n', 2, 12, "is no EDN"),
        ("h.edn", f'{EVENT}\n{{"a" 1 "a" 2}}\n', 2, 9, "a map has a key twice"),
        ("h.edn", f"{EVENT}\n {{:value {{3 1 3 2}}}}\n", 2, 2, "a map has a key twice"),
        ("h.edn", f"{EVENT}\n{{:value {{[1] 1 (1) 2}}}}\n", 2, 1, "a map has a key twice"),
        ("h.edn", f'{EVENT}\n{{:value {{3 1 "3" 2}}}}\n', 2, 1, "a map has a key twice"),
        ("h.json", '[{"type":"invoke","f":"x","process":0},\n  {"type" "ok"}]', 2, 11, "not JSON"),
        ("h.json", '[{"type":"invoke","f":"x","process":0},\n  7]', 2, 3, "a JSON object"),
        (
            "h.txt",
            "{:process 0 :type :invoke :f :put :key 1 :value 3}\n"
            " {:process 1 :type :invoke :f :append :key 1 :value 4}\n",
            *(2, 2, "append to the text of a key"),
        ),
        ("h.jsonl", '{"type":"invoke","f":"x","process":0}\n\n {"a":x}\n{}\n', 3, 7, "not JSON"),
        ("h.jsonl", '{"type":"invoke","f":"x","process":0}\n  {"a":7}\n{}\n', 2, 3, "no 'type'"),
        ("h.ndjson", '{"type":"invoke","f":"x","process":0}\n {"a":x}\n{}\n', 2, 7, "not JSON"),
        ("h.json", '{"type":"invoke","f":"x","process":0}\n\n 7\n{}\n', 3, 2, "a JSON object"),
        ("h.log", "- 0 :invoke :read nil\n- 0 :ok :read [1\nx\n", 2, 15, "is no value"),
        ("h.log", "- 0 :invoke :read nil\nzz :ok\t7\n", 2, 1, "expected PROCESS :TYPE :F VALUE"),
        ("h.log", "- 0 :invoke :read nil\nx\n- 1 :ok :read 3\n", 3, 1, "did not invoke"),
        ("h.edn", "{:a 1}\n{:type :invoke :f :x}\n{:\ud800 :a", 1, 1, "no 'type'"),
        ("h.edn", "{:type :invoke :f :x :value 1}\n{:type :ok :f :y}", 2, 1, "no open 'y'"),
        ("h.edn", "{:type :ok :f :x}" + "\n" * 9 + "{:type :yes :f :x}", 10, 1, "unknown type"),
    ],
)
def test_an_error_names_file_line_column_and_reason(
    tmp_path: Path, name: str, text: str, line: int, column: int, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(HistoryError) as error:
        History.load(path)
    found = error.value
    assert (found.line, found.column) == (line, column), str(found)
    assert reason in found.reason
    assert str(found).startswith(f"{path}:{line}:{column}: ") and "\n" not in str(found)


def test_a_malformed_history_exits_2_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.edn"
    path.write_text(f"{EVENT}\n{{:type ]\n", encoding="utf-8")
    assert main(["check", str(path), "--workload", "register"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"assay: {path}:2:8: ") and err.count("\n") == 1


@pytest.mark.parametrize("text", ["%PDF-1.4\n", "a,b,c\n1,2,3\n", "<html>", "\0\0\0\0"])
def test_a_file_of_no_kind_that_is_known_says_what_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.dat"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HistoryError, match="no history of a kind that is known: expected"):
        History.load(path)


# -- what is left out -----------------------------------------------------------------------------


def written(tmp_path: Path, name: str, text: str) -> History:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    history = History.load(path)
    history._check()
    return history


def test_without_invocations_nothing_is_said_of_an_order_that_nobody_saw(tmp_path: Path) -> None:
    answers = [(0, "a"), (1, "b"), (0, "c")]
    history = written(
        tmp_path,
        "h.edn",
        "".join(f"{{:type :ok, :f :add, :value :{v}, :process {p}}}\n" for p, v in answers),
    )
    drawn = [(op.process, str(op.type), op.value) for op in history]
    assert drawn == [
        (0, "invoke", "a"),
        (1, "invoke", "b"),
        (0, "ok", "a"),
        (0, "invoke", "c"),
        (1, "ok", "b"),
        (0, "ok", "c"),
    ]


def test_answers_of_nobody_are_all_concurrent(tmp_path: Path) -> None:
    text = '{:type :ok, :f :read, :value "x"}{:type :fail, :f :add, :value 2}'
    history = written(tmp_path, "h.edn", text)
    assert [str(op.type) for op in history] == ["invoke", "invoke", "ok", "fail"]
    assert [op.value for op in history] == [None, 2, "x", 2]
    assert len({op.process for op in history}) == 2


def test_an_answer_of_nobody_belongs_to_the_oldest_invocation_that_asked_for_it(
    tmp_path: Path,
) -> None:
    text = """
        {:type :invoke :f :write :value 1} {:type :invoke :f :write :value 2}
        {:type :invoke :f :read :value nil} {:type :ok :f :write :value 2}
        {:type :invoke :f :read :value nil} {:type :ok :f :read :value 2}
        {:type :info :f :write :value nil} {:type :invoke :f :write :value 3}"""
    history = written(tmp_path, "h.edn", text)
    assert history.pair.tolist() == [6, 3, 5, 1, -1, 2, 0, -1]
    # Process 0 is in doubt, 1 was free when 4 asked, and 2 when 7 did.
    assert [op.process for op in history] == [0, 1, 2, 1, 1, 2, 0, 2]


@pytest.mark.parametrize("name", ["type", "f", "process", "value", "key", "time", "index", "node"])
@pytest.mark.parametrize("value", [None, [], {}, [[1]], 1.5, True, "", -1, 2**70, "\x00"])
@pytest.mark.parametrize("others", [{}, {"process": 0}, {"f": "get", "key": "k"}])
def test_odd_values_where_names_are_expected_are_refused_or_read(
    tmp_path: Path, name: str, value: Any, others: dict[str, Any]
) -> None:
    for kinds in (["invoke", "ok"], ["ok", "fail"]):
        events = [{"type": kind, "f": "read", **others, name: value} for kind in kinds]
        path = tmp_path / "h.json"
        path.write_text(json.dumps(events), encoding="utf-8")
        try:
            History.load(path)._check()
        except HistoryError as error:
            assert error.line == 1 and error.column


def test_clients_by_name_are_clients(tmp_path: Path) -> None:
    lines = [
        {"type": "invoke", "process": "a", "f": "read", "value": None},
        {"type": "info", "process": "nemesis", "f": "kill", "value": None},
        {"type": "ok", "process": "a", "f": "read", "value": 3},
        {"type": "invoke", "process": 7, "f": "read", "value": None},
    ]
    history = written(tmp_path, "h.json", json.dumps(lines, indent=1))
    assert [op.process for op in history] == [0, "nemesis", 0, 1]


def test_indices_may_begin_anywhere_lack_or_jump(tmp_path: Path) -> None:
    indices = ["1", "2", "7", "-3", "null"]
    text = "".join(
        f'{{"index":{index},"type":"{("invoke", "ok")[number % 2]}","process":0,"f":"x"}}\n'
        for number, index in enumerate(indices)
    )
    for name in ("h.json", "h.jsonl"):
        history = written(tmp_path, name, text)
        assert len(history) == 5
        told = history.remarks[0]
        assert "5 events have another index" in told and "place 0 (index 1)" in told
    # A history of ours that lacks an event is none: it begins with 0.
    with pytest.raises(HistoryError, match="index 7, expected 1"):
        written(tmp_path, "h.jsonl", text.replace('"index":1,', '"index":0,').replace(":2,", ":7,"))


# -- round trips ----------------------------------------------------------------------------------


class Speller:
    """Spells JSON as EDN, in one of the many ways that mean the same."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one_of(self, *ways: Callable[[], str]) -> str:
        return self.rng.choice(ways)()

    def space(self) -> str:
        return self.rng.choice(
            [" ", ", ", "\n", "\t", "  ", " ; a { comment\n", " #_ [1 :x] ", ","]
        )

    def integer(self, value: int) -> str:
        spelled = [str(value), f"{value}N", f"+{value}" if value >= 0 else str(value)]
        return self.rng.choice(spelled)

    def string(self, value: str) -> str:
        def escaped(character: str) -> str:
            if character in '"\\' or self.rng.random() < 0.1:
                units = character.encode("utf-16-be", "surrogatepass")
                return "".join(
                    f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}"
                    for at in range(0, len(units), 2)
                )
            return character

        return '"' + "".join(map(escaped, value)) + '"'

    def name(self, value: str) -> str:
        is_plain = value.isascii() and value.isalpha() and value not in ("nil", "true", "false")
        return self.rng.choice([f":{value}", value]) if is_plain else self.string(value)

    def value(self, value: Any) -> str:
        spelled = self._value(value)
        before = self.rng.random()
        if before < 0.05:
            return f"#some.tag/of {spelled}"
        return f"^{{:line 7}} {spelled}" if before < 0.1 else spelled

    def _value(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return {None: "nil", True: "true", False: "false"}[value]
        if isinstance(value, int):
            return self.integer(value)
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, str):
            return self.name(value)
        if isinstance(value, list):
            opening, closing = self.rng.choice(["[]", "()", ("#{", "}")])
            return opening + self.space().join(map(self.value, value)) + closing
        return self.map({self.key(key): self.value(inner) for key, inner in value.items()})

    def key(self, key: str) -> str:
        is_number = key.isascii() and key.isdecimal() and str(int(key)) == key
        return self.one_of(lambda: key, lambda: self.string(key)) if is_number else self.name(key)

    def map(self, pairs: dict[str, str]) -> str:
        inner = self.space().join(f"{key}{self.space()}{value}" for key, value in pairs.items())
        return f"{{{inner}}}"

    def event(self, op: Op) -> str:
        known = {
            "index": str(op.index),
            "time": str(op.time),
            "type": self.name(str(op.type)),
            "process": self.name(op.process) if isinstance(op.process, str) else str(op.process),
            "f": self.name(op.f),
            "value": self.value(op.value),
        }
        if op.error is not None:
            known["error"] = self.value(list(op.error))
        if op.node is not None:
            known["node"] = self.name(op.node)
        if op.extra is not None:
            known["extra"] = self.value(op.extra)
        order = self.rng.sample(sorted(known), len(known))
        spelled = self.map({self.rng.choice([f":{n}", f'"{n}"']): known[n] for n in order})
        return self.rng.choice(["", "#jepsen.history.Op"]) + spelled

    def history(self, ops: list[Op]) -> str:
        text = self.space().join(map(self.event, ops))
        return self.rng.choice(["{}", "[{}]", "({})", "[ {}\n]"]).replace("{}", text)


def reused(examples: int) -> Callable[[Any], Any]:
    checks = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


@reused(150)
@given(histories(values) | histories(usual_values), st.integers(0, 2**32))
def test_however_a_history_is_spelled_in_edn_it_is_the_same(
    tmp_path: Path, ops: list[Op], seed: int
) -> None:
    path = tmp_path / "history.edn"
    path.write_text(Speller(seed).history(ops), encoding="utf-8")
    assert_same(History.load(path), ops)


@reused(100)
@given(histories(values) | histories(usual_values), st.integers(1, 40), st.integers(0, 3))
def test_wherever_a_text_is_cut_into_pieces_it_is_the_same(
    tmp_path: Path, ops: list[Op], size: int, seed: int
) -> None:
    path = tmp_path / "history.edn"
    path.write_text(Speller(seed).history(ops), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.edn.PIECE_BYTES", size)
        patch.setattr("harness.edn.WORDS_MAX", size)
        assert_same(History.load(path), ops)


@reused(60)
@given(
    st.lists(histories(values) | histories(usual_values), min_size=1, max_size=3),
    st.integers(0, 2**32),
    st.integers(1, 400),
)
def test_lines_that_are_alike_are_decoded_together_to_the_same_columns(
    tmp_path: Path, some: list[list[Op]], seed: int, size: int
) -> None:
    speller = Speller(seed)
    speller.space = lambda: " "  # type: ignore[method-assign]
    order = speller.rng.choice([None, list("abc")])  # as if by chance, or always the same
    # Each event again and again, so that many lines are alike.
    ops = [op for each in some for op in each for _ in range(4)]
    lines = [
        speller.event(Op(at, 5 * at, Kind.INFO, "nemesis", op.f, op.value, None, op.node, None))
        if order is None
        else f"{{:index {at}, :time {at}, :type :info, :process :nemesis, :f :x, "
        f":value {speller.value(op.value)}}}"
        for at, op in enumerate(ops)
    ]
    before = speller.rng.choice(["", "[", "(", "; comment\n", "#_ [\n1 2]\n"])
    path = tmp_path / "history.edn"
    path.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
    alone = History.load(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.edn.PIECE_BYTES", size)
        patch.setattr("harness.decode.SKELETON_BYTES", 0)
        patch.setattr("harness.decode.MISSES", 0)
        patch.setattr("harness.skeletons.GROUP_MIN", 1)
        patch.setattr("harness.skeletons.LINES_MIN", 1)
        together = History.load(path)
    together._check()
    assert list(together) == list(alone)
    found = [[each.values.get(at) for at in range(len(ops))] for each in (together, alone)]
    assert all(map(same, *found))
    assert (together.notes, together.remarks) == (alone.notes, alone.remarks)


def test_lines_that_are_alike_are_decoded_together(tmp_path: Path) -> None:
    """Else it would be three times slower, and nobody would see it."""
    path = tmp_path / "history.edn"
    path.write_text(
        "".join(
            f"{{:index {2 * i + k}, :time {i * 7}, :type :{kind}, :process {i % 9}, :f :txn, "
            f":value [[:append {i % 5} {i}] [:r 3 {['nil', [i, i + 1]][k]}]]}}\n".replace(",", " ")
            for i in range(3000)
            for k, kind in enumerate(("invoke", "ok"))
        ),
        encoding="utf-8",
    )
    alone = History.load(path)
    taken = []
    take = decode.Decoder.take

    def watched(self: decode.Decoder, chunk: bytes, spell: decode.Spell) -> bool:
        taken.append(take(self, chunk, spell))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode.Decoder, "take", watched)
        patch.setattr("harness.edn.PIECE_BYTES", 1 << 16)
        assert_identical(History.load(path), alone)
    assert taken.count(True) > 5


@pytest.mark.parametrize("key", ["3", "+3", "3N", '"3"'])
def test_a_key_that_stands_twice_in_one_of_many_lines_alike_is_found(
    tmp_path: Path, key: str
) -> None:
    lines = [
        f"{{:index {i}, :time {i}, :type :info, :process :nemesis, :f :poll, "
        f":value [[:poll {{{i % 7} [[1 2]], {i % 7 + 1} [[3 4]]}}]]}}"
        for i in range(4000)
    ]
    lines[3100] = lines[3100].replace(":poll {", ":poll {" + f"{key} [[5 6]] ")
    lines[3100] = lines[3100].replace("6 [[1 2]]", "3 [[1 2]]")
    path = tmp_path / "history.edn"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for size in (1 << 16, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.edn.PIECE_BYTES", size)
            with pytest.raises(HistoryError, match="a map has a key twice") as error:
                History.load(path)
        assert (error.value.line, error.value.column) == (3101, 1)


@reused(100)
@given(histories(values) | histories(usual_values), st.integers(0, 4))
def test_a_json_array_is_the_history_of_its_events(
    tmp_path: Path, ops: list[Op], indent: int
) -> None:
    lines = recorded(tmp_path / "history.jsonl", ops).read_bytes().splitlines()
    path = tmp_path / "history.json"
    text = json.dumps([json.loads(line) for line in lines], indent=indent or None)
    path.write_text(text, encoding="utf-8")
    assert_same(History.load(path), ops)


plain = st.none() | st.integers(-5, 99) | st.lists(st.integers(0, 9), max_size=3)
logged = histories(plain)


@reused(60)
@given(logged, st.sampled_from(["\t", " \t", "  "]), st.booleans())
def test_a_log_is_the_history_of_its_operations(
    tmp_path: Path, ops: list[Op], between: str, is_prefixed: bool
) -> None:
    rows = [[str(op.process), f":{op.type}", ":f" + str(len(op.f)), edn(op.value)] for op in ops]
    before = "INFO  jepsen.util - " if is_prefixed else ""
    path = tmp_path / "jepsen.log"
    noise = "2026-01-01 INFO jepsen.core - nothing\n"
    path.write_text(noise.join(before + between.join(row) + "\n" for row in rows), encoding="utf-8")
    found = History.load(path)
    assert [(op.process, op.type, op.value) for op in found] == [
        (op.process, op.type, op.value) for op in ops
    ]


def edn(value: Any) -> str:
    """As Clojure prints it."""
    if isinstance(value, list):
        return f"[{' '.join(map(edn, value))}]"
    return "nil" if value is None else str(value)


def recorded(path: Path, ops: list[Op]) -> Path:
    path.unlink(missing_ok=True)
    recorder = Recorder(path)
    for op in ops:
        recorder.record(op.time, op.type, op.process, op.f, op.value, op.error, op.node, op.extra)
    recorder.close()
    return path


def assert_same(history: History, ops: list[Op]) -> None:
    history._check()
    assert list(history) == ops
    assert all(same(op.value, history.values.get(op.index)) for op in ops)
    assert history.notes == () and len(history) == len(ops)


# -- any bytes ------------------------------------------------------------------------------------

NAMES = ["h.edn", "h.json", "h.jsonl", "h.log", "h", "h.txt.gz", "h.ndjson"]
SAMPLES = [(FOLDER / name).read_bytes() for name in GOLDEN]
alphabet = st.sampled_from(
    [b"{", b"}", b"[", b"]", b"(", b")", b"#{", b'"', b"\\", b":type", b":ok", b":invoke", b"#_"]
    + [b"^", b"#a", b"#:n", b" ", b"\n", b",", b";", b"0", b"17", b"-3", b"1.5", b"nil", b":f"]
    + [
        b":process",
        b'"type"',
        b'"ok"',
        b":",
        b"\xff",
        b"\0",
        b"- 0 :ok :f 1\n",
        b"\xc3\xa9",
        b"##Inf",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sample with some of it replaced."""
    data = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 30)))
        data = data[:at] + draw(alphabet | st.binary(max_size=4)) + data[end:]
    return data


@reused(400)
@given(
    st.binary(max_size=60) | st.lists(alphabet, max_size=25).map(b"".join) | mutated(),
    st.sampled_from(NAMES),
    st.booleans(),
)
def test_any_bytes_are_a_history_or_refused_in_words(
    tmp_path: Path, data: bytes, name: str, is_packed: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data, 1) if is_packed else data)
    try:
        History.load(path)._check()
    except HistoryError as error:
        assert error.reason and (error.line is None or error.line > 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus_of_the_fuzzer_is_read_or_refused_in_words(
    tmp_path: Path, path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(path.read_bytes())
    try:
        History.load(tmp_path / name)._check()
    except HistoryError as error:
        assert error.reason


@pytest.mark.parametrize("name", ["h.edn", "h.json", "h.log", "h.jsonl", "h"])
@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, "{" * 100_000, '"' * 100_001, "#_ " * 100_000, "\\" * 100_001),
        *('[{"a":' * 50_000, "^" * 100_000, "#a " * 100_000, "9" * 100_000, ":" * 100_000),
        *("{:a " + "{:b 1} " * 30_000, "[" + "x " * 100_000, ", " * 100_000, "{1 2 " * 50_000),
        *("{" + " ".join(f":k{i} {i}" for i in range(20_000)) + "}", "- " * 50_000),
        *(" " * 300_000, "\n" * 300_000 + "[", "- 0 :ok :f x" + " " * 200_000 + "x"),
        *("{" + " ".join(f"{i} {i}" for i in range(20_000)) + "}", "0 :ok :" * 20_000),
        *(
            "{:value [" + " ".join(f'"s{i}\\n"' for i in range(20_000)) + "]}",
            "[" + '"a\\",' * 30_000,
        ),
    ],
    ids=lambda text: text[:8] if isinstance(text, str) else "",
)
def test_no_text_takes_more_than_linear_time(tmp_path: Path, name: str, text: str) -> None:
    """Were it not so, this would not end: each is some 200 kB."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    try:
        History.load(path)
    except HistoryError as error:
        assert error.reason


def test_a_line_without_an_end_is_not_put_together_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsonl, "CHUNK_BYTES", 10)

    class Endless:
        """Of 100,000 chunks, each of which would be copied once for each that follows."""

        left = 100_000

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            return b"x" * size if self.left >= 0 else b""

    assert [(len(chunk), is_last) for chunk, is_last in jsonl.chunks(Endless())] == [
        (1_000_000, True)
    ]


def test_every_reader_has_a_way_to_be_chosen() -> None:
    by_name = set(foreign.SUFFIXES.values())
    assert set(foreign.READERS) == by_name | {kind for kind, _ in foreign.BEGINNINGS}
    assert Kind.INVOKE in set(Kind)
