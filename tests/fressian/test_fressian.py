"""Fressian is read as Clojure's library writes it, and what is none is refused by its place."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.fressian import FressianError, Reader
from harness.jepsen_history import _HANDLERS
from tests.fressian.writer import PUT, Keyword, Writer, encoded, integer, string

SAMPLES = Path(__file__).parent / "samples"


def read(data: bytes) -> list[Any]:
    return list(Reader(data, _HANDLERS).values())


def sample(name: str) -> list[Any]:
    return read((SAMPLES / name).read_bytes())


def printed(name: str) -> list[Any]:
    """The same values, as Clojure printed them and `harness.edn` read that."""
    return [json.loads(line) for line in (SAMPLES / name).read_text().split("\n")[:-1]]


def alike(found: list[Any], expected: list[Any]) -> None:
    assert list(map(repr, found)) == list(map(repr, expected)), "types, too: 1.0 is not 1"


# -- what the real library wrote ------------------------------------------------------------------


def test_values_are_read_as_the_same_values_in_print_are() -> None:
    alike(sample("values.bin"), printed("values.json"))


def test_what_has_no_print_of_its_own_becomes_plain_json() -> None:
    alike(sample("unprintable.bin"), printed("unprintable.json"))


def test_a_value_that_is_repeated_from_the_cache_is_the_value() -> None:
    alike(sample("cached.bin"), [value for value in printed("values.json") for _ in (1, 2)])


def test_caches_begin_anew_behind_a_reset() -> None:
    alike(sample("resets.bin"), printed("values.json"))


def test_footers_are_checked_and_passed_over() -> None:
    alike(sample("footers.bin"), printed("values.json"))


def test_a_footer_of_another_length_or_checksum_is_refused() -> None:
    # null, then a footer: magic, length 1, checksum
    first = (SAMPLES / "footers.bin").read_bytes()[:13]
    assert read(first) == [None]
    for place, reason in ((2, "begin as one"), (8, "of 0 bytes, 1 came"), (12, "checksum")):
        damaged = bytearray(first)
        damaged[place] ^= 1
        with pytest.raises(FressianError, match=reason):
            read(bytes(damaged))


def test_strings_and_bytes_in_chunks_are_joined() -> None:
    text, raw = sample("long.bin")
    assert text == "☃😀" * 7500
    assert msgspec.convert(raw, bytes) == b"\1" * 70_000


def test_lists_of_unknown_length_end_where_they_are_closed_or_the_data_end() -> None:
    assert sample("lists.bin") == [[[1, "a", [2]], "last"]]


def test_the_elements_of_a_list_come_one_by_one() -> None:
    for data in (encoded([1, 2]), encoded(list(range(9))), b"\xed\x01\x02\xfd", b"\xee\x01\x02"):
        (whole,) = read(data)
        assert list(Reader(data).elements()) == whole
    assert list(Reader(encoded("no list")).elements()) == ["no list"]


# -- what we write --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


def as_json(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "##Inf" if value > 0 else "##-Inf"
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return {k: as_json(v) for k, v in value.items()} if isinstance(value, dict) else value


@given(st.lists(values, max_size=5))
@example([list(range(-2, 70)), [*range(60), 5000, *range(62, 66)], [2**19, -(2**19) - 1]])
def test_any_value_is_read_back(written: list[Any]) -> None:
    assert read(encoded(*written)) == as_json(written)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60))
@example([str(n) for n in range(40)] * 2)
def test_any_sequence_of_keywords_is_read_back(names: list[str]) -> None:
    assert read(encoded([Keyword(name) for name in names], *map(Keyword, names))) == [names, *names]


@given(st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_any_integer_is_read_back_wherever_it_stands(number: int, in_list: bool) -> None:
    data = integer(number)
    assert read(b"\xe5" + data if in_list else data) == ([[number]] if in_list else [number])


@pytest.mark.parametrize(
    ("parts", "elements"),
    [([[1, 2]], [1, 2]), ([None], []), ([], []), ([1, 2, 3], [1, 2, 3]), (["one"], ["one"])],
)
def test_sets_of_old_versions_of_jepsen_are_sets(parts: list[Any], elements: list[Any]) -> None:
    assert read(bytes(Writer().struct("persistent-hash-set", *parts).out)) == [elements]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xdd\xed\xa0\x80", "\ufffd"),
        (b"\xef" + string("char") + b"\x01" + integer(0xD800), "\ufffd"),
        (b"\xc8" + integer(2**50), 2**50),
    ],
    ids=["half of a character in a string", "half of a character", "a time beyond the calendar"],
)
def test_what_json_or_the_calendar_lacks_is_replaced(data: bytes, value: Any) -> None:
    assert read(data) == [value]


# -- what is none ---------------------------------------------------------------------------------


@given(st.binary(max_size=200))
@example(b"\xca\xf7")
@example(b"\xcd\xcd\x80")
@example(b"\xe4\xfe" * 50)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        msgspec.json.encode(read(data))
    except FressianError as error:
        assert 0 <= error.offset <= len(data)
    except OverflowError:
        pass  # of the encoder, at an integer of more than 64 bits


@given(st.data())
def test_a_damaged_value_is_read_or_refused(data: st.DataObject) -> None:
    file = bytearray(
        (SAMPLES / data.draw(st.sampled_from(["values.bin", "cached.bin"]))).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(file) - 1))
        file[place] = data.draw(st.integers(0, 255))
    try:
        read(bytes(file))
    except FressianError as error:
        assert 0 <= error.offset <= len(file)


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"\xf1", 0, "unknown code 0xF1"),
        (b"\x01\xfd", 1, "unknown code 0xFD"),
        (b"\x01\x85", 2, "no cached value 5"),
        (b"\xa3", 1, "no type 3"),
        (b"\xcd\xe5\x80", 3, "contains itself"),
        (b"\xcd\xe5\xca\xf7\x80", 5, "contains itself"),
        (b"\xc0\xe5\x01", 3, "a key without a value"),
        (b"\xc0\xe8\x01\x01\xdb1\x02", 1, "a key twice"),
        (b"\xc0\x01", 1, "1 is no list"),
        (b"\xca\xf7\x05", 1, "without a name"),
        (b"\xec\xff", 1, "-1 is no number of things"),
        (b"\xec\xdb1", 1, '"1" is no integer'),
        (b"\xc3\xd1\x01", 3, "a UUID of 1 bytes"),
        (b"\xc6\x01", 1, "no bytes"),
        (b"\xc6\xd9" + integer(416) + b"\1" * 416, 420, "an integer of 416 bytes"),
        (b"\xc7\xd1\x01" + integer(2**40), 9, "a decimal of scale"),
        (b"\xc0" + encoded([["x" * 9_999], 1]), 10_007, "10003 characters"),
        (b"\xef\x01\x01", 1, "1 is no tag"),
        (b"\xd8\x01a\x05", 0, "goes on with something else"),
        (b"\xdb\xff", 0, "not UTF-8"),
        (b"\xe5" * 300, 150, "nested more than 150 deep"),
        (b"\xcd\xe5\xfe\x01", 4, "emptied within"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(FressianError, match=reason) as refused:
        read(data)
    assert (refused.value.offset, refused.value.torn) == (offset, False)


@pytest.mark.parametrize(
    "whole", [[1, [2, "three"]], [2**40], 5000, 2.5, "eight bytes", {"a": 1}, 2**80]
)
def test_data_that_end_too_early_are_torn(whole: Any) -> None:
    data = encoded(whole)
    for end in range(1, len(data)):
        with pytest.raises(FressianError) as refused:
            read(data[:end])
        assert refused.value.torn


@pytest.mark.parametrize("code", [b"\xd9", b"\xe3", b"\xec", b"\xb0", b"\xd8", b"\xe2", b"\xb5"])
def test_a_length_is_believed_only_as_far_as_there_is_something(code: bytes) -> None:
    began = time.process_time()
    with pytest.raises(FressianError) as refused:
        read(code + integer(2**31 - 1) + b"\x01" * 20)
    assert refused.value.torn
    assert time.process_time() - began < 1


def test_repeats_cannot_make_much_of_little() -> None:
    # Each list has the one before twice: 2 to the power of 40 numbers at the end.
    doubled = b"\xcd\xe6\x01\x01" + b"".join(
        PUT + b"\xe6" + bytes([0x80 + n, 0x80 + n]) if n < 31 else PUT + b"\xe6" + b"\x9f\x9f"
        for n in range(40)
    )
    with pytest.raises(FressianError, match="repeated values spell too much"):
        read(doubled)
    text = PUT + string("x" * 10_000)
    with pytest.raises(FressianError, match="repeated values spell too much"):
        read(text + b"\x80" * 10_000)
    assert len(read(text + b"\x80" * 50)) == 51


def test_elements_of_a_multiset_are_counted_before_they_are_made() -> None:
    writer = Writer().struct("multiset", {"a": 2**40})
    with pytest.raises(FressianError, match="repeated values spell too much"):
        read(bytes(writer.out))


def test_values_nested_in_any_way_end_in_a_word_of_ours() -> None:
    multiset = b"\xef" + string("multiset") + b"\x01"
    for first, part in (
        *((b"", code) for code in (b"\xcd", b"\xe5", b"\xed", b"\xc0\xe6\x01", b"\xc1", b"\xc4")),
        *((b"", code) for code in (b"\xec\x01", b"\xef", b"\xc0")),
        (multiset, b"\xc0\xa0"),
    ):
        with pytest.raises(FressianError):
            read(first + part * 5_000)
