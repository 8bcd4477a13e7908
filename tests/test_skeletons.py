"""Lines that are decoded together have the columns that each would have alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import decode, skeletons
from harness.digits import Text
from harness.events import Events
from harness.stretch import Malformed
from tests.values import assert_identical, json_values, usual_values

Lines = list[bytes]


@contextmanager
def constants(**replaced: int) -> Iterator[pytest.MonkeyPatch]:
    """Constants of the decoder replaced: its choices must not be seen in the result."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in replaced.items():
            patch.setattr(skeletons if name == "LINES_MIN" else decode, name, value)
        yield patch


def decoded(lines: Lines) -> Events:
    decoder = decode.Decoder()
    decoder.feed(b"\n".join(lines) + b"\n", is_last=False)
    return decoder.finish()


def together(lines: Lines, *, bases: bool) -> tuple[Events, int]:
    """Decoded by skeleton, with or without taking further messages out; lines that were left."""
    left: list[int] = []
    decode_chunk = skeletons.Skeletons.decode

    def counting(self: skeletons.Skeletons, chunk: bytes) -> Any:
        found = decode_chunk(self, chunk)
        left.append(len(found[1]))
        return found

    with constants(SKELETON_BYTES=0, LINES_MIN=10**9 if bases else 0) as patch:
        patch.setattr(skeletons.Skeletons, "decode", counting)
        return decoded(lines), sum(left)


def alone(lines: Lines) -> Events:
    with constants(SKELETON_BYTES=2**62):
        return decoded(lines)


def varied(rng: Random, value: Any, in_poll: bool = False) -> Any:
    """The value with other numbers, and with other lengths of what polls return."""
    if type(value) is int:
        return rng.choice(
            [value, -value, rng.randrange(10), rng.randrange(10 ** rng.randint(1, 17))]
        )
    if type(value) is str:
        return re.sub("[0-9]", lambda _: str(rng.randrange(10)), value)
    if type(value) is list:
        if in_poll and value:
            return [varied(rng, rng.choice(value)) for _ in range(rng.randint(1, 6))]
        is_poll = len(value) == 2 and value[0] == "poll"
        return [varied(rng, item, is_poll) for item in value]
    if type(value) is dict:
        return {varied(rng, key): varied(rng, item, in_poll) for key, item in value.items()}
    return value


def line(index: int, kind: str, value: Any) -> bytes:
    event = {"index": index, "time": index * 7, "type": kind, "process": index // 2, "f": "f"}
    text = json.dumps({**event, "value": value, "node": f"n{index % 3}"}, separators=(",", ":"))
    return text.encode()


def lines_of(rng: Random, values: list[Any], count: int) -> Lines:
    """Operations of a process each, whose completions have variations of the values."""
    return [
        made
        for number in range(count)
        for made in (
            line(2 * number, "invoke", None),
            line(2 * number + 1, "ok", varied(rng, rng.choice(values))),
        )
    ]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(usual_values | json_values, min_size=1, max_size=3),
    st.integers(0, 2**32).map(Random),
    st.booleans(),
)
def test_lines_that_differ_in_numbers_have_the_columns_that_each_has_alone(
    values: list[Any], rng: Random, bases: bool
) -> None:
    lines = lines_of(rng, values, 60)
    found, _ = together(lines, bases=bases)
    assert_identical(found, alone(lines))


POLLS = [["poll", {"0": [[10, 11], [12, 13]], "1": [[14, 15]]}]]


@pytest.mark.parametrize(
    "value",
    [
        POLLS,
        [["send", 3, [5, 7]], ["send", 4, 8]],
        [["poll", {"0": [[1, 2], [None, 3], [4, 5], [6, 7]]}]],
        [["send", 3, [5, 7]], *POLLS],
        [*POLLS, *POLLS],
        [["poll", {"0": [[1, 2]], "1": []}]],
        [["r", 1, [[1, 2], [3, 4]]]],
        [[1, 2], [3, 4], [5, 6]],
        "one [1,2],[3,4] and a literal ,[,] too",
        {"kill": "[1,2],[3,4]", "at": [[1, 2], [3, 4]]},
        [["poll", {"0": [["x", 2], ["[1,2],[3,4]", 5]]}]],
        "007 and 1.5e3",
        1.5,
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("bases", [False, True])
def test_every_shape_keeps_its_meaning(value: Any, bases: bool) -> None:
    lines = lines_of(Random(1), [value, POLLS], 200)
    found, _ = together(lines, bases=bases)
    assert_identical(found, alone(lines))


def test_polls_of_any_length_are_decoded_together() -> None:
    rng = Random(7)

    def messages() -> list[list[int]]:
        return [[rng.randrange(1000), rng.randrange(1000)] for _ in range(rng.randint(1, 50))]

    lines = [
        line(number, ("invoke", "ok")[number % 2], [["poll", {"3": messages(), "4": messages()}]])
        for number in range(400)
    ]
    _, left_whole = together(lines, bases=False)
    _, left_bases = together(lines, bases=True)
    assert left_bases == 0 < left_whole


def test_lines_may_have_their_digits_elsewhere_than_those_of_the_chunk_before() -> None:
    line = b'{"index":%d,"time":0,"type":"invoke","process":%d,"f":"generate","value":"%s"}'
    first, second = (
        [line % (at, at, text) for at in places]
        for text, places in ((b"a5", range(20)), (b"5a", range(20, 40)))
    )
    with constants(SKELETON_BYTES=0):
        decoder = decode.Decoder()
        for some in (first, second):
            decoder.feed(b"\n".join(some) + b"\n", is_last=False)
        found = decoder.finish()
    assert_identical(found, alone([*first, *second]))


def test_a_line_that_is_no_json_is_left_over_and_refused_with_its_place() -> None:
    lines = lines_of(Random(3), [POLLS], 100)
    for wrong in (lines[21].replace(b"],[", b"][", 1), lines[21][:-1], lines[21] + b"7"):
        broken = [*lines[:21], wrong, *lines[22:]]
        with constants(SKELETON_BYTES=0), pytest.raises(Malformed) as refused:
            decoded(broken)
        assert refused.value.position == 21


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=4), min_size=1)
)
def test_further_messages_are_those_behind_the_first_of_their_list(
    lists: list[list[tuple[int, int]]],
) -> None:
    lines = [json.dumps({"a": found}, separators=(",", ":")).encode() for found in lists]
    text = Text(b"".join(line + b"\n" for line in lines), bases=True)
    assert text.further.tolist() == [list(pair) for found in lists for pair in found[1:]]
    assert text.further_count.tolist() == [max(len(found) - 1, 0) for found in lists]
    for place, found in enumerate(lists):
        base = json.dumps({"a": found[:1]}, separators=(",", ":")).encode()
        assert text.base(place) == base
        assert text.skeletons[place] == re.sub(b"[0-9]", b"", base)
        first = text.first_run[place]
        runs = text.value[first : first + text.run_count[place]].tolist()
        assert runs == [number for pair in found[:1] for number in pair]
        heads = {int(text.further_behind[f]) for f in _further_of(text, place)}
        assert heads <= {int(first)}


def _further_of(text: Text, place: int) -> range:
    first = int(text.first_further[place])
    return range(first, first + int(text.further_count[place]))
