"""Histories of Jepsen are read as it prints them, and what is no EDN is refused by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import edn
from harness.errors import HistoryError
from harness.history import History
from harness.op import Kind


def read(text: str) -> list[Any]:
    return [value for _, value in edn.forms(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        ("false", False),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("7N", 7),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("0x1f", 31),
        ("1/3", "1/3"),
        ("2.5", 2.5),
        ("2.5M", 2.5),
        ("-1.5e-3", -0.0015),
        ("1e3", 1000.0),
        ("1e999", "##Inf"),
        ("-1e999M", "##-Inf"),
        ('^{:line 3, :doc "x"} [1 ^:dynamic 2]', [1, 2]),
        ("#^String s", "s"),
        (":send", "send"),
        (":kafka/send", "kafka/send"),
        ("::send", "send"),
        ("send", "send"),
        ("-", "-"),
        ("->x", "->x"),
        ("a#b", "a#b"),
        ("##NaN", "##NaN"),
        ("##-Inf", "##-Inf"),
        ('"a b"', "a b"),
        (r'"a\"b\\\n\té"', 'a"b\\\n\té'),
        (r'"\u00e9 \ud83d\ude00"', "é 😀"),
        (r'"\101\0"', "A\0"),
        ('";no comment {"', ";no comment {"),
        ('""', ""),
        (r"\a", "a"),
        (r"\newline", "\n"),
        (r"\u0041", "A"),
        (r"[\( \)]", ["(", ")"]),
        ("[]", []),
        ("[1 2,3]", [1, 2, 3]),
        ("(1 (2))", [1, [2]]),
        ("#{1 :b}", [1, "b"]),
        ('{:a 1, 0 2 "b" 3}', {"a": 1, "0": 2, "b": 3}),
        ("{[0 1] 2, nil 3, true 4}", {"[0,1]": 2, "null": 3, "true": 4}),
        ("#:jepsen{:a 1 :b/c 2}", {"jepsen/a": 1, "b/c": 2}),
        ('#inst "2026-01-01"', "2026-01-01"),
        ("#jepsen.history.Op{:f :read}", {"f": "read"}),
        ("#jepsen.history.Op {:f :read}", {"f": "read"}),
        ("#a #b [1]", [1]),
        ('#object[java.lang.Thread 0x7f3a "x"]', ["java.lang.Thread", 0x7F3A, "x"]),
        ("[1 #_2 3 #_ #_ 4 5]", [1, 3]),
        ("[1 ; a comment ] \n 2]", [1, 2]),
        ("[#_ 1]", []),
    ],
)
def test_each_form_becomes_its_json(text: str, value: Any) -> None:
    (found,) = read(text)
    assert found == value and type(found) is type(value)


def test_forms_follow_each_other_with_or_without_space() -> None:
    assert read("{:a 1}{:b 2}\n:c[1]2 ; the end") == [{"a": 1}, {"b": 2}, "c", [1], 2]
    assert read("  \n ; nothing\n #_ 1 ,") == []


@pytest.mark.parametrize(
    ("text", "reason", "torn"),
    [
        ("[1 2", "never closed", True),
        ("{:a [1}", "closes '['", False),
        ("]", "closes nothing", False),
        ("{:a}", "a key without a value", False),
        ("{:a 1 :a 2}", "a key twice", False),
        ('"abc', "never closed", True),
        (r'"\q"', "unknown escape", False),
        (r"\nonsense", "unknown character", False),
        (r"\ukeyd", "unknown character", False),
        ("#_", "ends before", True),
        ("#tag", "ends before", True),
        ("[#tag]", "closes nothing", False),
        ("#:ns 1", "no map follows", False),
        ("12ab", "is no EDN", False),
        ("1/", "is no EDN", False),
        ("#", "is no EDN", True),
        ("[" * 10_000, "nested more than", False),
        ("#a " * 10_000, "nested more than", False),
        ("#_ " * 10_000, "nested more than", False),
        ("^a " * 10_000, "nested more than", False),
        ("^{:a 1}", "ends before", True),
        ("7" * 5000, "a number of 5000 digits", False),
        ("{" * 40 + ":a 1" + "} 2" * 39 + "}", "characters long as JSON", False),
    ],
)
def test_what_is_no_edn_is_refused(text: str, reason: str, torn: bool) -> None:
    with pytest.raises(edn.EdnError, match=re.escape(reason)) as error:
        read(text)
    assert error.value.torn == torn


def spell(value: Any) -> str:
    """A JSON value as EDN: strings as strings, names of maps as keywords where they can be."""
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    if isinstance(value, list):
        return f"[{' '.join(map(spell, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{spell(k)} {spell(v)}' for k, v in value.items())}}}"
    return repr(value)


texts = st.text(st.characters(codec="utf-8"), max_size=6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.lists(plain, max_size=4))
def test_what_is_spelled_as_edn_reads_back(values: list[Any]) -> None:
    assert read("\n".join(map(spell, values))) == values


@given(st.text(alphabet='[]{}()#_:\\"; \n,0123456789abnilxe/.+-M', max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        read(text)
    except edn.EdnError as error:
        assert 0 <= error.offset <= len(text) and error.reason


# -- histories ------------------------------------------------------------------------------------


def load(tmp_path: Path, text: str) -> History:
    path = tmp_path / "history.edn"
    path.write_text(text, encoding="utf-8")
    history = History.load(path)
    history._check()
    return history


LINES = """\
{:type :invoke, :f :send, :value [[:send 0 3]], :process 0, :time 10, :index 0}
{:type :info, :f :kill, :value {"n1" :killed}, :process :nemesis, :time 11, :index 1}
{:type :ok, :f :send, :value [[:send 0 [3 7]]], :process 0, :time 12, :index 2, :node "n1"}
{:type :invoke, :f :poll, :value [[:poll]], :process 1, :time 13, :index 3}
{:type :ok, :f :poll, :value [[:poll {0 [[3 7] [4 8]]}]], :process 1, :time 14, :index 4}
{:type :invoke, :f :txn, :value [[:r 5 nil] [:append 5 1]], :process 2, :time 15, :index 5}
{:type :info, :f :txn, :value [[:r 5 nil] [:append 5 1]], :process 2, :time 16, :index 6, \
:error [:timeout "after 10 s"]}
"""


def test_a_history_of_jepsen_has_our_shapes(tmp_path: Path) -> None:
    history = load(tmp_path, LINES)
    assert [op.type for op in history] == [
        *(Kind.INVOKE, Kind.INFO, Kind.OK, Kind.INVOKE, Kind.OK, Kind.INVOKE, Kind.INFO)
    ]
    assert [op.process for op in history] == [0, "nemesis", 0, 1, 1, 2, 2]
    assert history[2].value == [["send", 0, [3, 7]]] and history[2].node == "n1"
    assert history[4].value == [["poll", {"0": [[3, 7], [4, 8]]}]]
    assert history[5].value == [["r", 5, None], ["append", 5, 1]]
    assert history[6].error == ("timeout", "after 10 s")
    assert history.pair.tolist() == [2, -1, 0, 4, 3, 6, 5]
    assert history.values.micro.entry_key.tolist() == [0, 0, 0, 0, 5, 5, 5, 5]


def test_a_vector_of_tagged_operations_over_many_lines_is_a_history_too(tmp_path: Path) -> None:
    ops = LINES.replace("{:type", "#jepsen.history.Op{:type").replace(", :time", "\n :time")
    assert list(load(tmp_path, f"[{ops}]")) == list(load(tmp_path, LINES))


def test_a_torn_last_form_is_left_out_with_a_note(tmp_path: Path) -> None:
    for size in range(1, 60):
        history = load(tmp_path, LINES + LINES.splitlines()[0][:size])
        assert len(history) == 7
        assert "torn" in history.notes[0]


def test_a_malformed_form_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    last = "{:type :invoke, :f :x, :process 9, :index 8, :time 21}"
    for bad, reason in [
        ("{:type :ok ]", "expected '}'"),
        ("{:type :okay, :f :x, :process 0}", "unknown type 'okay'"),
        ("{:type :ok, :f :send, :process 0, :index 7, :time 20}", "did not invoke"),
        ("17", "an event is a JSON object"),
    ]:
        with pytest.raises(HistoryError) as error:
            load(tmp_path, f"{LINES}\n\n{bad}\n{last}\n")
        assert error.value.line == 10, bad
        assert reason in error.value.reason


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HistoryError, match="UTF-8"):
        History.load(path)
