"""A history survives its harness, and a malformed one is refused with file, line and reason."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import column_file, decode, jsonl
from harness.columnize import Columnizer
from harness.errors import EnvironmentFailure, HistoryError
from harness.history import History, Recorder
from harness.lines import TYPED
from harness.mops import Untyped
from harness.op import Kind, Op
from tests.values import histories, same

INVOKE = '{"index":0,"time":5,"type":"invoke","process":0,"f":"read"}'
OK = '{"index":1,"time":9,"type":"ok","process":0,"f":"read","value":3}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "history.jsonl"


def record(path: Path, ops: list[Op]) -> None:
    recorder = Recorder(path)
    for op in ops:
        recorder.record(op.time, op.type, op.process, op.f, op.value, op.error, op.node, op.extra)
    recorder.close()


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def operations(count: int) -> list[Op]:
    return [
        op
        for i in range(count)
        for op in (
            Op(2 * i, 2 * i, Kind.INVOKE, i % 7, "send", [["send", 0, i]], node="n1"),
            Op(2 * i + 1, 2 * i + 1, Kind.OK, i % 7, "send", [["send", 0, [i, i]]], node="n1"),
        )
    ]


# -- recording ------------------------------------------------------------------------------------


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=histories())
def test_what_is_recorded_is_read_back(ops: list[Op], tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.unlink(missing_ok=True)
    record(path, ops)
    history = History.load(path)
    history._check()
    assert list(history) == ops
    assert all(same(op.value, history.values.get(op.index)) for op in ops)
    assert history.notes == ()


def test_events_are_numbered_as_they_come_and_returned(path: Path) -> None:
    recorder = Recorder(path)
    first = recorder.record(5, Kind.INVOKE, 0, "read")
    second = recorder.record(6, Kind.FAIL, 0, "read", error=("Refused", "no"), node="n1")
    assert first == Op(0, 5, Kind.INVOKE, 0, "read")
    assert second == Op(1, 6, Kind.FAIL, 0, "read", None, ("Refused", "no"), "n1")
    assert len(recorder) == 2
    recorder.close()


def test_nothing_reaches_the_file_before_flush_and_all_does_in_one_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(path)
    for op in operations(50):
        recorder.record(op.time, op.type, op.process, op.f, op.value)
    assert path.read_bytes() == b""
    writes: list[int] = []
    write_ = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write_(fd, data)

    monkeypatch.setattr(os, "write", counted)
    recorder.flush()
    recorder.flush()
    assert len(writes) == 1
    assert path.read_bytes().count(b"\n") == 100
    recorder.close()


def test_a_value_that_is_no_json_is_refused_and_leaves_no_trace(path: Path) -> None:
    recorder = Recorder(path)
    recorder.record(0, Kind.INVOKE, 0, "read")
    with pytest.raises(TypeError):
        recorder.record(1, Kind.OK, 0, "read", [1, object()])
    recorder.record(2, Kind.OK, 0, "read", [1])
    recorder.close()
    assert [op.value for op in History.load(path)] == [None, [1]]


def test_an_earlier_history_is_never_appended_to(path: Path) -> None:
    record(path, operations(1))
    with pytest.raises(EnvironmentFailure, match="already holds a history"):
        Recorder(path)
    assert len(History.load(path)) == 2


def test_closing_twice_is_fine(path: Path) -> None:
    recorder = Recorder(path)
    recorder.record(0, Kind.INVOKE, 0, "read")
    recorder.close()
    recorder.close()
    assert len(History.load(path)) == 1


def test_a_full_disk_says_what_is_stored_and_a_later_flush_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(path)
    ops = operations(10)
    for op in ops:
        recorder.record(op.time, op.type, op.process, op.f, op.value, node=op.node)
    room = 3 * len(INVOKE) + 40
    write_ = os.write

    def full(fd: int, data: bytearray) -> int:
        left = room - path.stat().st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_(fd, data[:left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(EnvironmentFailure, match="No space left") as failure:
            recorder.flush()
    stored = path.read_bytes().count(b"\n")
    assert 0 < stored < 20
    assert f"events 0 to {stored - 1} are on disk" in str(failure.value)
    torn = History.load(path)
    assert len(torn) == stored and len(torn.notes) == 1
    recorder.close()
    assert list(History.load(path)) == ops


def test_a_real_full_device_is_an_environment_failure() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    recorder = Recorder(Path("/dev/full"))
    recorder.record(0, Kind.INVOKE, 0, "read")
    with pytest.raises(EnvironmentFailure, match="no event is on disk"):
        recorder.flush()
    with pytest.raises(EnvironmentFailure):
        recorder.close()


def test_a_folder_that_cannot_be_made_is_an_environment_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="cannot record into"):
        Recorder(tmp_path / "file" / "history.jsonl")


KILLED = """
import sys
from pathlib import Path
from harness.history import Recorder
from harness.op import Kind
recorder = Recorder(Path(sys.argv[1]))
for i in range(1_000_000):
    recorder.record(2 * i, Kind.INVOKE, 0, "write", i)
    recorder.flush()
    recorder.record(2 * i + 1, Kind.OK, 0, "write", i)
    if i == 500:
        print("running", flush=True)
"""


def test_a_killed_harness_leaves_all_that_it_flushed(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=20)
    history = History.load(path)
    history._check()
    assert len(history) > 900
    assert len(history.pending()) <= 1


# -- torn and malformed files ---------------------------------------------------------------------


def test_a_history_cut_at_any_byte_reads_back_as_its_whole_lines(path: Path) -> None:
    ops = operations(3)
    record(path, ops)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        history = History.load(path)
        whole = data[: size + 1].count(b"\n") if data[size : size + 1] == b"\n" else None
        expected = whole if whole is not None else data[:size].count(b"\n")
        assert list(history) == ops[:expected]
        is_torn = whole is None and not data[:size].endswith(b"\n") and size > 0
        assert bool(history.notes) == is_torn


def test_a_torn_last_line_may_be_any_garbage(path: Path) -> None:
    write(path, INVOKE, OK)
    for garbage in (b"\0" * 100, b'{"index":2,"time":"\xd0', b"\xff\xfe", b"{", b"nonsense\n"):
        path.write_bytes((INVOKE + "\n" + OK + "\n").encode() + garbage)
        history = History.load(path)
        assert len(history) == 2
        assert "torn" in history.notes[0]


def test_a_last_line_without_its_newline_counts_if_it_is_whole(path: Path) -> None:
    history = History.load(write(path, INVOKE, OK, end=""))
    assert [op.value for op in history] == [None, 3]
    assert history.notes == ()


MALFORMED = [
    ("nonsense", "not JSON"),
    ('{"index":1,"time":9,"type":"ok","process":0,"f":"re', "not JSON"),
    ("[1, 2]", "an event is a JSON object"),
    ('{"index":1,"time":9,"process":0,"f":"read"}', "no 'type'"),
    ('{"index":1,"time":9,"type":"ok","f":"read"}', "no 'process'"),
    ('{"index":1,"time":9,"type":"ok","process":0}', "no 'f'"),
    ('{"index":1,"time":9,"type":"okay","process":0,"f":"read"}', "unknown type 'okay'"),
    ('{"index":1,"time":9,"type":["ok"],"process":0,"f":"read"}', "unknown type"),
    ('{"index":1,"time":9,"type":"ok","process":-1,"f":"read"}', "process -1"),
    ('{"index":1,"time":9,"type":"ok","process":true,"f":"read"}', "process True"),
    ('{"index":1,"time":9,"type":"ok","process":2147483648,"f":"read"}', "process 2147483648"),
    ('{"index":1,"time":9,"type":"ok","process":0,"f":7}', "f 7 is not a string"),
    ('{"index":1,"time":0.5,"type":"ok","process":0,"f":"read"}', "time 0.5"),
    ('{"index":"1","time":9,"type":"ok","process":0,"f":"read"}', "index '1'"),
    ('{"index":1,"time":9223372036854775808,"type":"ok","process":0,"f":"read"}', "64 bits"),
    ('{"index":2,"time":9,"type":"ok","process":0,"f":"read"}', "index 2, expected 1"),
    ('{"index":0,"time":9,"type":"ok","process":0,"f":"read"}', "index 0, expected 1"),
    ('{"time":9,"type":"ok","process":0,"f":"read"}', "no index"),
    ('{"index":1,"type":"ok","process":0,"f":"read"}', "no time"),
    ('{"index":1,"time":9,"type":"ok","process":1,"f":"read"}', "did not invoke"),
    ('{"index":1,"time":9,"type":"invoke","process":0,"f":"read"}', "before its 'read'"),
    ('{"index":1,"time":9,"type":"ok","process":0,"f":"write"}', "'write', but what it invoked"),
    ('{"index":1,"time":9,"type":"ok","process":0,"f":"read"},' * 2, "not JSON"),
    (OK + OK.replace('"index":1', '"index":2'), "not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
@pytest.mark.parametrize("blank", [0, 2], ids=["", "after blank lines"])
def test_a_malformed_line_is_an_error_that_names_file_line_and_reason(
    path: Path, line: str, reason: str, blank: int
) -> None:
    last = '{"index":2,"time":11,"type":"invoke","process":5,"f":"read"}'
    write(path, INVOKE, *[""] * blank, line, last)
    with pytest.raises(HistoryError) as error:
        History.load(path)
    assert (error.value.path, error.value.line) == (path, 2 + blank)
    assert reason in error.value.reason
    assert str(error.value).startswith(f"{path}:{2 + blank}:{error.value.column}: ")


def test_of_several_malformed_operations_the_first_is_named(path: Path) -> None:
    events = [("invoke", 0), ("invoke", 1), ("invoke", 1), ("ok", 7), ("invoke", 0)]
    lines = [json.dumps({"type": kind, "process": process, "f": "x"}) for kind, process in events]
    with pytest.raises(HistoryError) as error:
        History.load(write(path, *lines))
    assert error.value.line == 3


def test_a_malformed_line_far_inside_is_found_too(path: Path) -> None:
    record(path, operations(10_000))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[15_001] = lines[15_001][:-1]
    with pytest.raises(HistoryError) as error:
        History.load(write(path, *lines))
    assert error.value.line == 15_002


def test_what_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no such file"):
        History.load(tmp_path / "absent.jsonl")
    with pytest.raises(HistoryError, match=r"no history\.jsonl"):
        History.load(tmp_path)


def test_an_empty_file_is_a_history_without_events(path: Path) -> None:
    history = History.load(write(path, end=""))
    history._check()
    assert list(history) == []
    assert list(history.select(f="read")) == []


# -- histories of other tools ---------------------------------------------------------------------


def test_a_history_without_indices_and_times_is_numbered_with_a_remark(path: Path) -> None:
    lines = [
        '{"type":"invoke","process":0,"f":"read","value":null}',
        "",
        '{"type":"ok","process":0,"f":"read","value":[1,2,3]}',
    ]
    history = History.load(write(path, *lines))
    assert [(op.index, op.time, op.value) for op in history] == [(0, 0, None), (1, 1, [1, 2, 3])]
    assert len(history.remarks) == 2
    assert history.notes == ()


def test_unknown_keys_are_kept_as_further_facts(path: Path) -> None:
    line = '{"type":"info","process":"nemesis","f":"kill","node":["n1"],"clock":{"n1":1},"extra":4}'
    (op,) = History.load(write(path, line))
    assert op.extra == {"node": ["n1"], "clock": {"n1": 1}, "extra": 4}
    assert op.node is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ('"timeout"', ("timeout", "timeout")),
        ('["timeout"]', ("timeout", "timeout")),
        ('["timeout","after 10 s"]', ("timeout", "after 10 s")),
        ('["timeout",{"ms":10},3]', ("timeout", '[{"ms":10},3]')),
        ('{"type":"timeout"}', ("error", '{"type":"timeout"}')),
        ("null", None),
    ],
)
def test_any_error_becomes_a_name_and_a_text(
    path: Path, error: str, expected: tuple[str, str] | None
) -> None:
    line = f'{{"type":"info","process":0,"f":"read","error":{error}}}'
    write(path, '{"type":"invoke","process":0,"f":"read"}', line)
    assert History.load(path)[1].error == expected


def test_time_that_goes_backwards_is_remarked_and_the_order_of_the_file_counts(path: Path) -> None:
    history = History.load(write(path, INVOKE, OK.replace('"time":9', '"time":2')))
    assert [op.time for op in history] == [5, 2]
    assert "time goes backwards 1 times, first at event 1" in history.remarks[0]


def test_a_process_that_goes_on_after_an_info_is_remarked(path: Path) -> None:
    events = [("invoke", 0), ("info", 0), ("invoke", 1), ("invoke", 0), ("ok", 0)]
    lines = [json.dumps({"type": kind, "process": process, "f": "x"}) for kind, process in events]
    history = History.load(write(path, *lines))
    assert any("first at event 3" in remark for remark in history.remarks)
    assert history.pair.tolist() == [1, 0, -1, 4, 3]


def test_a_run_folder_is_read_by_its_history(path: Path) -> None:
    record(path, operations(2))
    assert list(History.load(path.parent)) == list(History.load(path))


# -- pairing and questions ------------------------------------------------------------------------


@given(histories())
def test_pairs_are_what_a_plain_reading_of_the_events_gives(ops: list[Op]) -> None:
    expected = [-1] * len(ops)
    begun: dict[tuple[Any, str], int] = {}
    for op in ops:
        key = (op.process, op.f)
        if key in begun:
            start = begun.pop(key)
            expected[start], expected[op.index] = op.index, start
        else:
            begun[key] = op.index
    assert History.of(ops).pair.tolist() == expected


def test_operations_of_the_nemesis_that_overlap_are_paired_by_what_they_do() -> None:
    done = ["main", "kill", "cut", "cut", "kill", "main", "kill"]
    history = History.of(Op(0, i, Kind.INFO, "nemesis", f) for i, f in enumerate(done))
    assert history.pair.tolist() == [5, 4, 3, 2, 1, 0, -1]
    assert history.process.tolist() == [-1] * 7


def test_other_names_than_the_nemesis_have_numbers_below_it() -> None:
    history = History.of(Op(0, 0, Kind.INFO, name, "x") for name in ("b", "nemesis", "a"))
    assert history.names == ("nemesis", "b", "a")
    assert history.process.tolist() == [-2, -1, -3]


def test_questions_about_operations_are_answered_by_position() -> None:
    history = History.of(
        [
            Op(0, 1, Kind.INVOKE, 0, "write", 1),
            Op(1, 2, Kind.INVOKE, 1, "read"),
            Op(2, 3, Kind.OK, 0, "write", 1),
            Op(3, 4, Kind.INFO, "nemesis", "kill"),
            Op(4, 5, Kind.INVOKE, 0, "cas", [1, 2]),
        ]
    )
    assert history.pending().tolist() == [1, 4]
    assert history.completion(0) == history.completion(2) == history[2]
    assert history.invocation(0) == history.invocation(2) == history[0]
    assert history.completion(1) is None and history.invocation(1) == history[1]
    assert history.select(f="read").tolist() == [1]
    assert history.select(f=("read", "cas"), type=Kind.INVOKE).tolist() == [1, 4]
    assert history.select(type=Kind.OK).tolist() == [2]
    assert history.select(f="absent").tolist() == []
    assert history.code("absent") == -2
    assert history.fs[history.code("cas")] == "cas"


def test_a_history_is_a_sequence() -> None:
    ops = operations(4)
    history = History.of(ops)
    assert len(history) == 8
    assert history[-1] == ops[-1] and history[2:5] == ops[2:5] and history[::-1] == ops[::-1]
    assert list(reversed(history)) == ops[::-1]
    assert ops[3] in history
    with pytest.raises(IndexError):
        history[8]


def test_events_in_memory_that_are_no_history_are_refused() -> None:
    with pytest.raises(HistoryError, match="did not invoke"):
        History.of([Op(0, 0, Kind.OK, 0, "read", 1)])


# -- the file of columns --------------------------------------------------------------------------


@pytest.fixture
def undecodable(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the history was decoded again")

    monkeypatch.setattr(jsonl, "read", never)


def test_a_history_is_not_decoded_twice(path: Path, request: pytest.FixtureRequest) -> None:
    ops = [*operations(50), Op(100, 200, Kind.INFO, "nemesis", "kill", {"n1": "x"}, extra={"a": 1})]
    record(path, ops)
    first = History.load(path, cache=True)
    request.getfixturevalue("undecodable")
    again = History.load(path)
    again._check()
    assert list(again) == list(first) == ops


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=histories())
def test_columns_from_the_file_are_the_columns_that_were_saved(
    ops: list[Op], tmp_path: Path
) -> None:
    path = tmp_path / "history.jsonl"
    path.unlink(missing_ok=True)
    record(path, ops)
    saved = History.load(path)
    saved.save_columns(path)
    loaded = column_file.load(column_file.path_of(path), column_file.Source.of(path))
    assert loaded is not None
    for (name, left), (_, right) in zip(
        column_file._flat("", saved), column_file._flat("", loaded), strict=True
    ):
        assert np.array_equal(left, right), name
        if isinstance(left, np.ndarray):
            assert isinstance(right, np.ndarray) and left.dtype == right.dtype, name


def test_columns_go_with_their_history_to_another_folder(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    record(path, operations(5))
    History.load(path, cache=True)
    moved = path.parent.rename(tmp_path / "elsewhere")
    request.getfixturevalue("undecodable")
    assert len(History.load(moved)) == 10


def test_columns_of_another_history_are_passed_over(path: Path) -> None:
    record(path, operations(5))
    History.load(path, cache=True)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"send",0,[3,3]', '"send",0,[4,3]'), encoding="utf-8")
    history = History.load(path)
    assert history[7].value == [["send", 0, [4, 3]]]
    assert history.remarks == ()


def test_columns_of_another_version_are_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(path, operations(5))
    with monkeypatch.context() as patch:
        patch.setattr(column_file, "VERSION", column_file.VERSION + 1)
        History.load(path, cache=True)
    history = History.load(path)
    assert len(history) == 10 and history.remarks == ()


@pytest.mark.parametrize("seed", range(8))
def test_damaged_columns_are_passed_over_with_a_remark(path: Path, seed: int) -> None:
    ops = operations(5)
    record(path, ops)
    History.load(path, cache=True)
    beside = column_file.path_of(path)
    data, rng = bytearray(beside.read_bytes()), random.Random(seed)
    if seed % 2:
        # Beyond the version, whose change makes the file another one rather than a damaged one.
        data[rng.choice([0, *range(12, len(data))])] ^= 1 << rng.randrange(8)
    else:
        del data[rng.randrange(len(data)) :]
    beside.write_bytes(data)
    history = History.load(path)
    assert list(history) == ops
    assert "damaged" in history.remarks[0] and history.notes == ()


def test_a_folder_that_cannot_be_written_only_costs_the_columns(path: Path) -> None:
    record(path, operations(5))
    column_file.path_of(path).with_name("history.columns.new").mkdir()
    history = History.load(path, cache=True)
    assert len(history) == 10
    assert "could not be written" in history.remarks[0]


def test_a_torn_history_is_torn_in_its_columns_too(path: Path) -> None:
    write(path, INVOKE, OK, '{"index":2', end="")
    assert History.load(path, cache=True).notes == History.load(path).notes != ()


@given(st.integers(1, 60))
def test_where_chunks_end_makes_no_difference(size: int) -> None:
    ops = operations(4)
    lines = "".join(
        json.dumps({"type": str(op.type), "process": op.process, "f": op.f, "value": op.value})
        + "\n"
        for op in ops
    ).encode()
    decoder = decode.Decoder()

    class File:
        at = 0

        def read(self, _: int) -> bytes:
            self.at += size
            return lines[self.at - size : self.at]

    for chunk, is_last in jsonl.chunks(File()):  # type: ignore[arg-type]
        decoder.feed(chunk, is_last)
    events = decoder.finish()
    assert [events.values.get(i) for i in range(len(ops))] == [op.value for op in ops]


def test_a_columnizer_takes_all_of_a_batch_or_nothing() -> None:
    columnizer = Columnizer()
    columnizer.add(columnizer.plain([1, [["send", 0, 1]]]))
    lines = TYPED.decode_lines(
        b'{"type":"ok","process":0,"f":"x","value":4}\n'
        b'{"type":"ok","process":0,"f":"x","value":[["send",9223372036854775808,1]]}\n'
    )
    with pytest.raises(Untyped):
        columnizer.typed([line.value for line in lines])
    values = columnizer.finish()
    assert values.scalar.tolist() == [1] and len(values.shape) == 2
