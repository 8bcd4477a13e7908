"""A history decoded by two processes is the one that a single process decodes, errors included."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import jsonl
from harness.errors import HistoryError
from harness.events import Events
from harness.history import Recorder
from harness.op import Op
from tests.values import assert_identical, histories, usual_values, values

DEADLINE_S = 20.0


@contextmanager
def shared(at: float) -> Iterator[list[bool]]:
    """Every file is decoded by two processes, the second from the line after `at` of it.

    Yields a list to which each decoding adds whether the second process' work was taken.
    """
    taken: list[bool] = []
    received = jsonl._received

    def watched(second: Any) -> Any:
        stretch = received(second)
        taken.append(stretch is not None)
        return stretch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "SHARED_BYTES", 0)
        patch.setattr(jsonl, "FIRST_SHARE", at)
        patch.setattr(jsonl, "_processors", lambda: 2)
        patch.setattr(jsonl, "_received", watched)
        yield taken


@contextmanager
def within_this_process() -> Iterator[None]:
    """What the second process does, without a process: for many examples."""

    @contextmanager
    def second(path: Path, cut: int) -> Iterator[Any]:
        with path.open("rb") as file:
            file.seek(cut)
            stretch = jsonl.stretch_from(file, os.getppid()) if cut else None
        yield SimpleNamespace(stdout=BytesIO(pickle.dumps(stretch)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_second", second)
        yield


def outcome(path: Path) -> Events | str:
    try:
        return jsonl.read(path)
    except HistoryError as error:
        return str(error)


def assert_alike(one: Events | str, other: Events | str) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
    else:
        assert_identical(one, other)


def recorded(path: Path, ops: list[Op]) -> Path:
    path.unlink(missing_ok=True)
    recorder = Recorder(path)
    for op in ops:
        recorder.record(op.time, op.type, op.process, op.f, op.value, op.error, op.node, op.extra)
    recorder.close()
    return path


def reused(examples: int) -> Callable[[Any], Any]:
    checks = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


ops = histories(values) | histories(usual_values)
shares = st.floats(0, 0.999)


@reused(150)
@given(ops, shares)
def test_wherever_the_second_half_begins_the_columns_are_the_same(
    tmp_path: Path, ops: list[Op], at: float
) -> None:
    path = recorded(tmp_path / "history.jsonl", ops)
    alone = outcome(path)
    with shared(at), within_this_process():
        assert_alike(outcome(path), alone)


@reused(150)
@given(ops, shares, shares, st.binary(max_size=9))
def test_a_torn_or_garbled_history_has_the_same_notes_or_the_same_error(
    tmp_path: Path, ops: list[Op], at: float, torn: float, garbage: bytes
) -> None:
    path = recorded(tmp_path / "history.jsonl", ops)
    data = path.read_bytes()
    place = int(len(data) * torn)
    for end in (b"", data[place + len(garbage) :]):
        path.write_bytes(data[:place] + garbage + end)
        alone = outcome(path)
        with shared(at), within_this_process():
            assert_alike(outcome(path), alone)


@reused(12)
@given(ops, shares)
def test_a_second_process_gives_the_same_columns(tmp_path: Path, ops: list[Op], at: float) -> None:
    path = recorded(tmp_path / "history.jsonl", ops)
    alone = outcome(path)
    with shared(at):
        assert_alike(outcome(path), alone)


EVENTS: list[dict[str, Any]] = [
    {
        "index": number,
        "time": number * 5,
        "type": ("invoke", "ok")[number % 2],
        "process": number // 2 % 7,
        "f": "send",
        "value": [["send", number % 3, [number, number]]],
    }
    for number in range(4000)
]


def written(path: Path, changed: dict[int, Any], *, without: tuple[str, ...] = ()) -> Path:
    """The events as lines; of those at the given places, other keys, or other lines."""
    lines = []
    for number, event in enumerate(EVENTS):
        change = changed.get(number, {})
        if type(change) is dict:
            whole = {k: v for k, v in {**event, **change}.items() if k not in without}
            change = json.dumps(whole, separators=(",", ":"))
        lines.append(change)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


OTHER = {"process": "other", "f": "böse"}
FOREIGN: dict[int, Any] = {
    6: {**OTHER, "error": "timeout", "color": [1.5, "x"]},
    7: {**OTHER, "error": ["a", {"b": 1}], "value": [["w", "early", "seen"]]},
    3500: f"\n  \n{json.dumps(EVENTS[3500])}",
    3990: {"process": "another", "f": 'q"\u00e9', "node": "n9", "value": {"k": None}},
    3991: {"process": "another", "f": 'q"\u00e9', "node": "n7", "value": [["x", "key", 1.5]]},
    3993: {"value": [["poll", {"0": [], "k": [[1, "seen"]]}], ["w", 10**30, "new"]]},
    3996: {**OTHER, "error": "timeout"},
    3997: {**OTHER, "value": [["w", "key", "seen"]]},
}


def test_the_work_of_the_second_process_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "history.jsonl", FOREIGN)
    alone = outcome(path)
    assert isinstance(alone, Events)
    with shared(0.5) as taken:
        assert_alike(outcome(path), alone)
    assert taken == [True]


@pytest.mark.parametrize(
    "changed",
    [
        {3000: "no JSON"},
        {3000: '{"type":"ok"}'},
        {3000: {"index": 7}},
        {3000: {"index": None}},
        {3001: {"process": 999}},
        {1001: {"process": 999}},
        {1000: "no JSON"},
        {1000: "no JSON", 3000: "no JSON"},
        {1000: {"index": 7}, 3000: "no JSON"},
    ],
    ids=str,
)
def test_an_error_in_either_half_names_file_line_and_reason(
    tmp_path: Path, changed: dict[int, Any]
) -> None:
    path = written(tmp_path / "history.jsonl", changed)
    alone = outcome(path)
    assert isinstance(alone, str) and f"{path}:{min(changed) + 1}" in alone
    with shared(0.5):
        assert outcome(path) == alone


@pytest.mark.parametrize("without", [("index",), ("time", "index")], ids=str)
def test_events_without_an_index_are_left_to_the_first_process(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    path = written(tmp_path / "history.jsonl", {}, without=without)
    alone = outcome(path)
    assert isinstance(alone, Events)
    with shared(0.5) as taken:
        assert_alike(outcome(path), alone)
    assert taken == [False]


def test_a_second_process_that_dies_or_cannot_start_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "history.jsonl", {})
    alone = outcome(path)
    for program in ("/bin/false", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", program)
        with shared(0.5) as taken:
            assert_alike(outcome(path), alone)
        assert taken == [False]


def test_small_files_and_single_processors_have_no_second_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "history.jsonl", {})

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    jsonl.read(path)
    monkeypatch.setattr(jsonl, "SHARED_BYTES", 0)
    monkeypatch.setattr(jsonl, "_processors", lambda: 1)
    jsonl.read(path)
    monkeypatch.setattr(jsonl, "_processors", lambda: 2)
    with pytest.raises(AssertionError, match="started"):
        jsonl.read(path)


READ = """
import sys
from pathlib import Path
from harness import jsonl
jsonl.SHARED_BYTES = 0
jsonl._processors = lambda: 2
for _ in range(200):
    jsonl.read(Path(sys.argv[1]))
"""


def children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return [int(child) for child in listed.split()]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(is_so: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, what
        time.sleep(0.002)
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_second_process_ends_with_the_first(tmp_path: Path, how: signal.Signals) -> None:
    path = written(tmp_path / "history.jsonl", {})
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, str(path)], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        (second,) = wait_until(lambda: children(reader.pid), "no second process")
        if how is signal.SIGINT:
            os.killpg(reader.pid, how)  # as a terminal does
        else:
            reader.send_signal(how)
        _, told = reader.communicate(timeout=DEADLINE_S)
        wait_until(lambda: not is_alive(second), "the second process goes on")
    finally:
        reader.kill()
        reader.wait()
    if how is signal.SIGINT:
        assert told.count(b"KeyboardInterrupt") == 1, told.decode()


def test_a_second_process_without_its_parent_stops(tmp_path: Path) -> None:
    path = written(tmp_path / "history.jsonl", {})
    with path.open("rb") as file:
        assert jsonl.stretch_from(file, os.getppid()) is not None
        file.seek(0)
        assert jsonl.stretch_from(file, os.getppid() + 1) is None
