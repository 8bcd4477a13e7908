"""Any text of a broken system is text of the page, whole and visible."""

from __future__ import annotations

import base64
import gzip
import json
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.html import markup
from harness.report.visible import visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, too
NASTY = (
    "<script>alert(1)</script>",
    "</script><!--",
    "<![CDATA[",
    "\" onmouseover='alert(1)",
    "&lt;&#x3c;",
    "\u2028\u2029",
    "\x1b[31mred\x1b[0m",
    "\ud800 and \udfff",
    "\u202etxt.exe",
    "\x00\x7f\x9b",
    "%%SCRIPT%%",
)


class Parsed(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.others: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


@given(ANY_TEXT | st.sampled_from(NASTY))
def test_any_text_survives_as_text_and_makes_no_markup(value: str) -> None:
    parsed = Parsed(f"<p>{markup.text(value)}</p>")
    assert parsed.tags == [("p", {})]
    assert parsed.others == []
    assert parsed.text == visible(value)


@given(ANY_TEXT | st.sampled_from(NASTY))
def test_any_text_survives_in_an_attribute(value: str) -> None:
    parsed = Parsed(f'<p title="{markup.text(value)}"></p>')
    assert parsed.tags == [("p", {"title": visible(value)})]


@given(ANY_TEXT)
def test_nothing_stays_invisible_and_all_of_it_is_utf_8(value: str) -> None:
    shown = visible(value)
    shown.encode()
    kinds = {unicodedata.category(c) for c in shown if c not in "\t\n"}
    assert not kinds & {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_can_be_seen_stays_as_it_is(value: str) -> None:
    assert visible(value) == value


@pytest.mark.parametrize("pair", [("a\x1b", "a"), ("a\u202e", "a"), ("\ud800", "\ud801")])
def test_values_that_differ_look_different(pair: tuple[str, str]) -> None:
    assert visible(pair[0]) != visible(pair[1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_packed_data_is_json_again_and_no_character_of_it_is_markup(value: object) -> None:
    packed = markup.packed(value)
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == value
    assert not set(packed) & set("<>&\"'\\ \n")


def test_packing_is_the_same_every_time() -> None:
    assert markup.packed([1, 2]) == markup.packed([1, 2])


@given(JSON)
def test_json_is_json(value: object) -> None:
    assert json.loads(markup.json(value)) == value


def test_what_is_no_json_is_its_text() -> None:
    assert markup.json({"a": "\ud800"}) == "{'a': '\\ud800'}"
    assert markup.json({"at": 1 + 2j}) == '{"at":"(1+2j)"}'


@given(ANY_TEXT, ANY_TEXT)
def test_anchors_are_ids_and_of_different_names_different(one: str, other: str) -> None:
    assert set(markup.anchor(one)) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    )
    assert (markup.anchor(one) == markup.anchor(other)) == (one == other)
