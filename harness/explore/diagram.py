"""A space-time diagram: who sent what to whom around a finding, as an SVG of its own.

Time goes down, every host has a line; a message is drawn from where it was sent to where its last
byte arrived, dotted if it did not in the time that is shown. Beside the lines stand the operations
of the clients that live on a host, in red those of the finding; across them the faults.
Source: Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", CACM 1978.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from harness.history import History
from harness.op import Kind, Op
from harness.sim.wiretap import Message

MARGIN_MIN_NS, MARGIN_MAX_NS = 2_000_000, 20_000_000
"""Shown before and after what it is about: as long as that lasts, within these."""

MESSAGES_MAX = 400
"""More than that nobody can follow: the time that is shown becomes shorter, towards its end."""

LANE, TOP, LEFT = 190, 60, 90
HEIGHT_MIN, PER_MESSAGE = 400, 9
TEXT_MAX = 60

STYLE = (
    "text{font:11px sans-serif}.host{font-weight:bold}.lane{stroke:#999}"
    ".message{stroke:#2471a3;stroke-width:1}.lost{stroke:#2471a3;stroke-dasharray:2 3}"
    ".op{stroke:#333;stroke-width:5}.witness{stroke:#c0392b;stroke-width:5}"
    ".fault{stroke:#c0392b;stroke-dasharray:6 3}.said{fill:#c0392b}.when{fill:#777}"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Nanoseconds of the run, from and to."""

    begin: int
    end: int

    def holds(self, time: int) -> bool:
        return self.begin <= time <= self.end


def around(history: History, indices: Sequence[int]) -> Window:
    """From the first to the last of these operations, with a margin."""
    positions = [place for index in indices for place in history.operation(index)]
    times = [int(history.time[place]) for place in positions]
    margin = min(max(max(times) - min(times), MARGIN_MIN_NS), MARGIN_MAX_NS)
    return Window(max(min(times) - margin, 0), max(times) + margin)


def narrowed(window: Window, messages: Iterable[Message]) -> Window:
    """The end of the window, with no more messages than can be followed."""
    sent = sorted(message.sent for message in messages if window.holds(message.sent))
    if len(sent) <= MESSAGES_MAX:
        return window
    return Window(sent[-MESSAGES_MAX], window.end)


def render(
    history: History,
    messages: Sequence[Message],
    window: Window,
    *,
    hosts: Sequence[str],
    clients: Sequence[str],
    concurrency: int,
    witness: Sequence[int] = (),
) -> str:
    """The diagram.

    Args:
        messages: their times are those of the history.
        hosts: in the order of their lines. clients: those of them on which worker i lives at
            place i modulo their number.
        witness: positions in the history of what it is about.
    """
    window = narrowed(window, messages)
    shown = [m for m in messages if window.holds(m.sent) and {m.source, m.target} <= set(hosts)]
    height = max(HEIGHT_MIN, PER_MESSAGE * len(shown))
    scale = height / max(window.end - window.begin, 1)
    page = _Page(window, scale, {host: LEFT + i * LANE for i, host in enumerate(hosts)}, height)
    parts = [
        *page.lanes(),
        *(part for message in shown for part in page.message(message)),
        *page.operations(history, clients, concurrency, set(witness)),
    ]
    width = LEFT + LANE * len(hosts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 2 * TOP}" '
        f'viewBox="0 0 {width} {height + 2 * TOP}"><style>{STYLE}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class _Page:
    window: Window
    scale: float
    lines: dict[str, int]
    height: int

    def y(self, time: int) -> float:
        inside = min(max(time, self.window.begin), self.window.end)
        return round(TOP + (inside - self.window.begin) * self.scale, 1)

    def lanes(self) -> Iterator[str]:
        for host, x in self.lines.items():
            yield f'<text class="host" x="{x}" y="{TOP - 20}">{escape(host)}</text>'
            yield _line("lane", x, TOP, x, TOP + self.height)
        for step in range(11):
            time = self.window.begin + (self.window.end - self.window.begin) * step // 10
            yield f'<text class="when" x="4" y="{self.y(time)}">{time / 1e9:.4f} s</text>'

    def message(self, message: Message) -> Iterator[str]:
        arrived = message.arrived
        there = arrived is not None and arrived <= self.window.end
        took = (
            "never arrived" if arrived is None else f"took {(arrived - message.sent) / 1e6:.3f} ms"
        )
        title = (
            f"{message.source}→{message.target}: {message.size} bytes, "
            f"sent at {message.sent / 1e9:.6f} s, {took}"
        )
        from_x, to_x = self.lines[message.source], self.lines[message.target]
        if there:
            assert arrived is not None
            yield _line("message", from_x, self.y(message.sent), to_x, self.y(arrived), title)
            yield f'<circle cx="{to_x}" cy="{self.y(arrived)}" r="2" fill="#2471a3"/>'
        else:  # a stub, so that it is seen who tried
            part = from_x + (to_x - from_x) // 4
            y = self.y(message.sent)
            yield _line("lost", from_x, y, part, y + 6, title)

    def operations(
        self, history: History, clients: Sequence[str], concurrency: int, witness: set[int]
    ) -> Iterator[str]:
        """Of clients as bars beside their host, of the nemesis as lines across."""
        for position in range(len(history)):
            places = history.operation(position)
            if places[0] != position:
                continue
            begun, ended = history[places[0]], history[places[-1]]
            over = ended.time if len(places) == 2 else self.window.end
            if over < self.window.begin or begun.time > self.window.end:
                continue
            if isinstance(begun.process, int):
                host = clients[begun.process % concurrency % len(clients)]
                offset = 5 + 7 * (begun.process % concurrency // len(clients))
                kind = "witness" if witness & set(places) else "op"
                yield self._bar(begun, ended, over, self.lines[host] + offset, kind)
            elif begun.f not in ("phase", "stats"):
                yield self._across(begun)

    def _bar(self, begun: Op, ended: Op, over: int, x: int, kind: str) -> str:
        value = ended.value if ended.type is Kind.OK else begun.value
        said = f"op {begun.index} {begun.f} {value} {ended.type.value}"
        bar = _line(kind, x, self.y(begun.time), x, self.y(over) + 1, said)
        if kind != "witness":
            return bar
        return bar + _text(x + 6, self.y(begun.time) + 10, said)

    def _across(self, begun: Op) -> str:
        y, right = self.y(begun.time), max(self.lines.values())
        line = _line("fault", min(self.lines.values()), y, right, y)
        return line + _text(LEFT + 4, y - 3, f"op {begun.index} {begun.f} {begun.value}")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}">{inside}</line>'


def _text(x: float, y: float, said: str) -> str:
    short = said if len(said) <= TEXT_MAX else said[: TEXT_MAX - 1] + "…"
    return f'<text class="said" x="{x}" y="{y}">{escape(short)}</text>'
