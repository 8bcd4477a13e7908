"""A test of Jepsen's is read as the history beside it is, up to where its file is whole."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import HistoryError
from harness.history import History
from harness.op import Op
from tests.fressian.writer import (
    BIG_VECTOR,
    FRESSIAN,
    PARTIAL_MAP,
    STREAM,
    Keyword,
    Writer,
    encoded,
    file_of,
    reference,
    resealed,
    sealed,
    vector,
)

SAMPLES = Path(__file__).parent / "samples"
NAMES = ("test", "killed", "early", "version-0")
SUITABLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(path: Path) -> History:
    history = History.load(path)
    history._check()
    return history


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(data: bytes) -> Path:
        (path := tmp_path / "test.jepsen").write_bytes(data)
        return path

    return write


@pytest.fixture(scope="module")
def printed() -> list[Op]:
    """The events of the samples, as Clojure printed them."""
    return list(History.load(SAMPLES / "history.edn"))


def ops(first: int, count: int) -> bytes:
    """A stream of operations of one process, invoked and completed in turn."""
    writer = Writer()
    for index in range(first, first + count):
        value = [[Keyword("append"), 1, index // 2]]
        writer.op(index, index * 1000, ("invoke", "ok")[index % 2], 0, "txn", value)
    return bytes(writer.out)


def chunked(*sizes: int) -> dict[int, tuple[int, bytes]]:
    """Blocks of a test (1), its history (2) and its chunks (3 and so on)."""
    firsts = [sum(sizes[:n]) for n in range(len(sizes))]
    table = [(first, 3 + n) for n, first in enumerate(firsts)]
    chunks = {3 + n: (STREAM, ops(*each)) for n, each in enumerate(zip(firsts, sizes, strict=True))}
    history = vector(sum(sizes), *table)
    return {2: (BIG_VECTOR, history), **chunks, 1: (FRESSIAN, reference(2))}


# -- whole files ----------------------------------------------------------------------------------


def test_the_history_is_the_one_that_jepsen_prints(printed: list[Op]) -> None:
    history = load(SAMPLES / "test.jepsen")
    assert list(history) == printed
    assert (history.notes, history.remarks) == ((), ())


def test_a_history_of_version_0_is_one_value_without_indices(printed: list[Op]) -> None:
    history = load(SAMPLES / "version-0.jepsen")
    assert list(history) == printed
    assert history.notes == ()


def test_a_file_that_was_made_anew_begins_with_its_index(file: Any, printed: list[Op]) -> None:
    # As Jepsen leaves it when it throws away what is not needed: index, test, then the rest.
    blocks = chunked(4, 2)
    order = [1, 2, 3, 4]
    size = 28 + 4 + 12 * (len(order) + 1)
    offsets, at = {9: 18}, 18 + size
    for number in order:
        offsets[number] = at
        at += 28 + len(blocks[number][1])
    index = struct.pack(">I", 1) + b"".join(struct.pack(">IQ", *each) for each in offsets.items())
    head = b"JEPSEN" + struct.pack(">IQ", 1, 18)
    data = head + sealed(1, index) + b"".join(sealed(*blocks[number]) for number in order)
    history = load(file(data))
    assert (len(history), history.notes, history.remarks) == (6, (), ())
    cut = load(file(data[:-40]))
    assert 4 <= len(cut) < 6
    assert "the file is cut short before its history is complete" in cut.notes[0]


def test_a_test_may_be_a_map_in_parts(file: Any) -> None:
    blocks = chunked(2)
    first = struct.pack(">I", 7) + encoded({"name": "append"})
    parts = {1: (PARTIAL_MAP, first), 7: (PARTIAL_MAP, struct.pack(">I", 0) + reference(2))}
    assert len(load(file(file_of({**blocks, 7: parts[7], 1: parts[1]}, root=1)))) == 2


def test_a_chunk_may_be_a_vector_of_chunks(file: Any) -> None:
    blocks = chunked(4, 2)
    nested = {**blocks, 2: (BIG_VECTOR, vector(6, (0, 5))), 5: (BIG_VECTOR, blocks[2][1])}
    order = {number: nested[number] for number in (5, 2, 3, 4, 1)}
    assert len(load(file(file_of(order, root=1)))) == 6


def test_a_history_that_is_complete_may_be_empty(file: Any) -> None:
    history = load(file(file_of(chunked(0), root=1)))
    assert (len(history), history.notes) == (0, ())


def test_operations_made_by_hand_have_no_index(file: Any) -> None:
    writer = Writer()
    for kind in ("invoke", "ok"):
        writer.op(-1, -1, kind, 0, "read", None)
    blocks = {2: (STREAM, bytes(writer.out)), 1: (FRESSIAN, reference(2))}
    history = load(file(file_of(blocks, root=1)))
    assert [op.index for op in history] == [0, 1]
    assert history.remarks[0].startswith("the events have no index")


def test_other_indices_than_from_0_on_are_remarked(file: Any) -> None:
    history = load(file(file_of({**chunked(2), 3: (STREAM, ops(4, 2))}, root=1)))
    assert [op.index for op in history] == [0, 1]
    assert "index" in history.remarks[0]


def test_a_value_may_be_an_integer_of_any_size(file: Any) -> None:
    writer = Writer().op(0, 0, "invoke", 0, "write", 2**70)
    blocks = {2: (STREAM, bytes(writer.out)), 1: (FRESSIAN, reference(2))}
    assert [op.value for op in load(file(file_of(blocks, root=1)))] == [2**70]


def test_what_comes_after_a_complete_history_does_not_weaken_it(file: Any) -> None:
    data = (SAMPLES / "test.jepsen").read_bytes()
    history = load(file(data + b"\0" * 28 + b"\xc0\xe6"))
    assert (len(history), history.notes) == (12, ())
    assert history.remarks == ("the file ends in what is unfinished; its history is complete",)


def test_a_folder_of_jepsens_store_is_its_history(file: Any, printed: list[Op]) -> None:
    path = file((SAMPLES / "test.jepsen").read_bytes())
    assert list(load(path.parent)) == printed


def test_a_file_is_known_by_how_it_begins(file: Any, printed: list[Op]) -> None:
    path = file((SAMPLES / "test.jepsen").read_bytes())
    assert list(load(path.rename(path.with_name("stored")))) == printed


# -- files that end too early ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count", "unnamed"), [("killed", 11, 3), ("early", 8, 8)])
def test_of_a_run_that_was_killed_all_whole_events_are_read(
    name: str, count: int, unnamed: int, printed: list[Op]
) -> None:
    history = load(SAMPLES / f"{name}.jepsen")
    assert list(history) == printed[:count]
    assert history.notes == (
        f"the run was ended before its history is complete: {count} events could be read, "
        f"the last {unnamed} of them from behind what its index knows",
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_anywhere_is_a_shorter_history_that_says_so(
    name: str, file: Any, printed: list[Op]
) -> None:
    data, counts = (SAMPLES / f"{name}.jepsen").read_bytes(), set()
    for size in range(0, len(data), 3):
        try:
            history = load(file(data[:size]))
        except HistoryError:
            continue
        assert list(history) == printed[: len(history)]
        assert history.notes or (len(history) == 12 and history.remarks)
        counts.add(len(history))
    expected = {"test": range(13), "killed": range(12), "early": range(8), "version-0": ()}
    assert counts == set(expected[name])


def test_the_last_of_many_indices_counts_and_costs_once(file: Any) -> None:
    chunks = [(STREAM, ops(2 * n, 2)) for n in range(600)]
    out, offsets = bytearray(18), {}

    def put(number: int, kind: int, data: bytes) -> None:
        offsets[number] = len(out)
        out.extend(sealed(kind, data))

    put(1, FRESSIAN, reference(2))
    for n, chunk in enumerate(chunks):
        put(3 + n, *chunk)
        put(2, BIG_VECTOR, vector(2 * n + 2, *((2 * m, 3 + m) for m in range(n + 1))))
        pairs = b"".join(struct.pack(">IQ", *each) for each in offsets.items())
        out.extend(sealed(1, struct.pack(">I", 1) + pairs))
    out[:18] = b"JEPSEN" + struct.pack(">IQ", 1, len(out))  # the one that is cut off
    began = time.process_time()
    history = load(file(bytes(out)))
    assert time.process_time() - began < 2
    assert len(history) == 1200
    assert "the file is cut short" in history.notes[0]


def test_zeros_behind_an_unfinished_block_are_no_events(file: Any) -> None:
    # What a disk may hold after the power failed: the file's length, but not its last bytes.
    data = (SAMPLES / "killed.jepsen").read_bytes()
    assert len(load(file(data + b"\0" * 5000))) == 11


def test_events_behind_the_index_count_only_if_they_go_on(file: Any) -> None:
    open_ended = {1: (FRESSIAN, reference(2)), **{n: b for n, b in chunked(4).items() if n != 1}}
    data = file_of(open_ended, root=1)
    strange = Writer().op(4, 4000, "okay", 0, "txn", None)
    for tail, count in (
        (ops(4, 2), 6),
        (ops(6, 2), 4),
        (encoded({"type": "ok"}), 4),
        (bytes(strange.out), 4),
        (encoded(None, 1), 4),
    ):
        assert len(load(file(data + sealed(STREAM, tail)))) == count
        assert len(load(file(data + b"\0" * 28 + tail))) == count
    assert len(load(file(data + sealed(STREAM, ops(4, 2)) + b"\0" * 28 + ops(6, 3)))) == 9


# -- damage ---------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(HistoryError) as refused:
        load(path)
    return str(refused.value)


def test_a_flipped_bit_in_the_history_is_told_by_its_block(file: Any) -> None:
    data = bytearray(file_of(chunked(4, 2), root=1))
    place = data.index(b"invoke") + 2
    data[place] ^= 1
    assert "the block's checksum is another: it is damaged" in refusal(file(bytes(data)))


@pytest.mark.parametrize(
    ("blocks", "root", "reason"),
    [
        ({}, 0, "the test is in block 0, which nobody knows"),
        ({1: (FRESSIAN, reference(2))}, 1, "the history is in block 2, which nobody knows"),
        ({1: (FRESSIAN, encoded({"name": "x"}))}, 1, "the test has no history"),
        ({1: (FRESSIAN, encoded({"history": 5}))}, 1, "no reference to a block"),
        ({1: (PARTIAL_MAP, struct.pack(">I", 1) + encoded({}))}, 1, "the test is not whole"),
        ({1: (STREAM, encoded({}))}, 1, "the test is not in this kind of block"),
        ({**chunked(2), 2: (BIG_VECTOR, vector(9, (0, 3)))}, 1, "of 9 events there are 2"),
        ({**chunked(2), 2: (BIG_VECTOR, vector(2, (5, 3)))}, 1, "begins at 5, after 0 events"),
        ({**chunked(2), 2: (BIG_VECTOR, vector(2, (0, 3), (2, 3)))}, 1, "this block twice"),
        ({**chunked(2), 2: (BIG_VECTOR, vector(2, (0, 2)))}, 1, "this block twice"),
        ({**chunked(2), 2: (BIG_VECTOR, b"123")}, 1, "a vector of 3 bytes"),
        ({**chunked(2), 3: (STREAM, ops(0, 1) + b"\xf1")}, 1, "unknown code 0xF1"),
        ({**chunked(2), 3: (STREAM, ops(0, 2)[:-3])}, 1, "the data end before"),
        (
            {**chunked(2), 2: (FRESSIAN, encoded([None, 1]))},
            1,
            "event 0: an event is a JSON object",
        ),
        ({**chunked(1), 3: (STREAM, encoded(7))}, 1, "event 0: an event is a JSON object"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    blocks: dict[int, tuple[int, bytes]], root: int, reason: str, file: Any
) -> None:
    assert reason in refusal(file(file_of(blocks, root)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it does not begin with JEPSEN"),
        (b"{:type :ok}", "it does not begin with JEPSEN"),
        (b"JEPSEN\0\0", "the file ends within its header"),
        (b"JEPSEN" + struct.pack(">IQ", 2, 18), "version 2 of the format; 0 and 1 are known"),
        (b"JEPSEN" + struct.pack(">IQ", 1, 0), "the file ends before its first index of blocks"),
    ],
)
def test_what_is_no_test_of_jepsens_is_refused(data: bytes, reason: str, file: Any) -> None:
    assert reason in refusal(file(data))


def test_blocks_within_blocks_are_refused_soon(file: Any) -> None:
    # Blocks within blocks: a file of n bytes could have the square of n bytes of them.
    inner, offsets = ops(0, 0), []
    for _ in range(2000):
        inner = sealed(STREAM, inner)
        offsets.append(len(inner))
    test = sealed(FRESSIAN, reference(2))
    table = sealed(BIG_VECTOR, vector(0, *((0, 3 + n) for n in range(2000))))
    at = {1: 18, 2: 18 + len(test)}
    end = 18 + len(test) + len(table) + len(inner)
    at |= {3 + n: end - size for n, size in enumerate(offsets)}
    index = struct.pack(">I", 1) + b"".join(struct.pack(">IQ", *each) for each in at.items())
    head = b"JEPSEN" + struct.pack(">IQ", 1, end)
    began = time.process_time()
    refusal(file(head + test + table + inner + sealed(1, index)))
    assert time.process_time() - began < 2


@SUITABLE
@given(data=st.data())
def test_any_damage_is_an_error_of_ours(data: st.DataObject, file: Any) -> None:
    whole = bytearray((SAMPLES / f"{data.draw(st.sampled_from(NAMES))}.jepsen").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "put", "drop", "number"])):
            case "byte":
                whole[place] = data.draw(st.integers(0, 255))
            case "cut":
                del whole[max(1, place) :]
            case "put":
                whole[place:place] = data.draw(st.binary(max_size=40))
            case "drop":
                del whole[place + 1 : place + data.draw(st.integers(2, 40))]
            case _:
                number = data.draw(st.integers(0, 2**32 - 1) | st.integers(0, len(whole)))
                whole[place : place + 4] = number.to_bytes(4)
    # Half of them as from somebody who knows how checksums are made.
    found = resealed(bytes(whole)) if data.draw(st.booleans()) else bytes(whole)
    path = file(found)
    try:
        load(path)
    except HistoryError as error:
        assert str(error).startswith(str(path))
