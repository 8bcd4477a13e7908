"""Space-time diagrams show who sent what to whom, and what clients and nemesis did meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.explore.diagram import MESSAGES_MAX, Window, around, narrowed, render
from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.report import write_report
from harness.sim.wiretap import Message, Wiretap
from harness.sim.world import World
from harness.store import RunFolder

MS = 1_000_000
SVG = "{http://www.w3.org/2000/svg}"


def a_history() -> History:
    return History.of(
        [
            Op(0, 50 * MS, Kind.INVOKE, 1, "send", [["send", 0, "<b>"]]),
            Op(0, 51 * MS, Kind.INFO, NEMESIS, "kill", ["n1"]),
            Op(0, 52 * MS, Kind.INFO, NEMESIS, "kill", ["n1"]),
            Op(0, 60 * MS, Kind.OK, 1, "send", [["send", 0, [4, "<b>"]]]),
            Op(0, 900 * MS, Kind.INVOKE, 0, "poll", [["poll"]]),
        ]
    )


def drawn(messages: list[Message], witness: tuple[int, ...] = (0, 3)) -> ElementTree.Element:
    history = a_history()
    text = render(
        history,
        messages,
        around(history, witness),
        hosts=["c1", "n1", "c2"],
        clients=["c1", "c2"],
        concurrency=4,
        witness=witness,
    )
    return ElementTree.fromstring(text)


def lines(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [line for line in svg.iter(f"{SVG}line") if line.get("class") == kind]


def titles(svg: ElementTree.Element, kind: str) -> list[str]:
    return [line.findtext(f"{SVG}title", "") for line in lines(svg, kind)]


def test_a_message_goes_from_its_sender_down_to_its_receiver() -> None:
    svg = drawn([Message("c2", "n1", 51 * MS, 40, 53 * MS)])
    (line,) = lines(svg, "message")
    lanes = [float(lane.get("x1", "")) for lane in lines(svg, "lane")]
    assert [float(line.get(key, "")) for key in ("x1", "x2")] == [lanes[2], lanes[1]]
    assert float(line.get("y1", "")) < float(line.get("y2", ""))
    assert titles(svg, "message") == ["c2→n1: 40 bytes, sent at 0.051000 s, took 2.000 ms"]


def test_what_did_not_arrive_in_time_is_a_stub_that_says_so() -> None:
    svg = drawn([Message("c2", "n1", 51 * MS, 40), Message("n1", "c2", 52 * MS, 7, 3_000 * MS)])
    assert not lines(svg, "message")
    assert [title.split(", ")[-1] for title in titles(svg, "lost")] == [
        "never arrived",
        "took 2948.000 ms",
    ]


def test_operations_of_the_finding_stand_on_their_client_and_faults_across() -> None:
    svg = drawn([])
    assert titles(svg, "witness") == ["op 0 send [['send', 0, [4, '<b>']]] ok"]
    assert len(lines(svg, "fault")) == 1
    said = ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]
    assert "op 1 kill ['n1']" in said
    assert not titles(svg, "op"), "the poll is much later"


def test_what_is_outside_of_the_window_or_beside_the_hosts_is_left_out() -> None:
    svg = drawn([Message("c2", "n1", 10 * MS, 1, 11 * MS), Message("c2", "n9", 51 * MS, 1)])
    assert not lines(svg, "message") and not lines(svg, "lost")


def test_too_many_messages_make_the_window_shorter_towards_its_end() -> None:
    many = [Message("c1", "n1", time, 1) for time in range(10 * MESSAGES_MAX)]
    window = narrowed(Window(0, 20 * MESSAGES_MAX), many)
    assert window == Window(9 * MESSAGES_MAX, 20 * MESSAGES_MAX)


def test_as_much_is_shown_around_operations_as_they_last_within_bounds() -> None:
    history = a_history()
    assert around(history, [0]) == Window(40 * MS, 70 * MS)
    assert around(history, [1]) == Window(49 * MS, 54 * MS)
    assert around(history, [0, 4]) == Window(30 * MS, 920 * MS)


# -- listening ------------------------------------------------------------------------------------


def exchange(tap: Wiretap | None) -> tuple[bytes, int]:
    """A client on its own machine sends two messages to a server, which echoes them."""
    got: list[bytes] = []
    with World(3) as world:
        world.network.tap = tap

        async def serve() -> None:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while data := await reader.read(100):
                    writer.write(data)
                writer.close()

            async with await asyncio.start_server(echo, "n1", 9) as server:
                await server.serve_forever()

        async def ask() -> None:
            await asyncio.sleep(0.1)
            reader, writer = await asyncio.open_connection("n1", 9)
            for data in (b"x" * 30, b"y" * 12):
                writer.write(data)
                got.append(await reader.readexactly(len(data)))
            writer.close()

        world.machine("n1").start(lambda host: serve())
        world.machine("n2").start(lambda host: ask())
        world.run(asyncio.sleep(5))
        return b"".join(got), world.scheduler.turns


def test_a_tap_hears_each_message_with_its_times() -> None:
    tap = Wiretap()
    assert exchange(tap)[0] == b"x" * 30 + b"y" * 12
    there = [m for m in tap.messages if (m.source, m.target) == ("n2", "n1")]
    back = [m for m in tap.messages if (m.source, m.target) == ("n1", "n2")]
    assert [m.size for m in there] == [30, 12] and sum(m.size for m in back) == 42
    for message in tap.messages:
        assert message.arrived is not None and message.arrived > message.sent
    assert there[0].since(there[0].sent).sent == 0


def test_to_listen_changes_nothing() -> None:
    assert exchange(None) == exchange(Wiretap())


# -- replay ---------------------------------------------------------------------------------------


def test_a_replay_draws_the_messages_around_an_operation_and_its_report_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "log", "--cluster", "sim", "--nodes", "1", "--time-limit", "1", "--seed", "4"]
    assert main([*words, "--rate", "20", "--results", str(tmp_path)]) == 0
    assert main(["replay", str(tmp_path / "log" / "latest"), "--diagram", "4"]) == 0
    assert "IDENTICAL" in capsys.readouterr().out
    folder = RunFolder((tmp_path / "replay" / "latest").resolve())
    svg = ElementTree.fromstring((folder.path / "diagram.svg").read_text())
    assert lines(svg, "message") and len(lines(svg, "witness")) == 1
    assert "data:image/svg+xml;base64," in folder.report.read_text()
    (folder.path / "diagram.svg").unlink()
    assert "data:image/svg+xml" not in write_report(folder).read_text()


def test_without_a_finding_a_diagram_asks_for_an_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "log", "--cluster", "sim", "--nodes", "1", "--time-limit", "1", "--seed", "4"]
    assert main([*words, "--rate", "20", "--results", str(tmp_path)]) == 0
    assert main(["replay", str(tmp_path / "log" / "latest"), "--diagram"]) == 0
    assert "give the number of an operation" in capsys.readouterr().out
