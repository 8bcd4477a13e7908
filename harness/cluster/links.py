"""Links through Toxiproxy: cuts, shapes and resets, and the probes that see them.

A *wire* is one proxy: how `source` reaches one port of `target`. The directed link A→B, a direction
of data, is "upstream" of the wires A→B together with "downstream" of the wires B→A.

Cut: two toxics on each of them. `bandwidth` at rate 0 holds the bytes, `slow_close` with a delay of
weeks holds the end of the stream, so that neither a death nor a close behind the cut is seen. They
go in with `slow_close` first and come out in the opposite order: Toxiproxy gives on what the last
stage holds when another is put behind it, and loses count of stages that are closed already. For
the same reason no shape is put on a direction that is cut; it would show nothing there.

Probes, for any system and any server with this API:
    - the toxics are read back, and must be those that were asked for;
    - *end echo*: a new connection through the wire that sends nothing but its end gets an end back
      at once, by the proxy's own doing, whatever speaks at the far side. It gets none while one of
      the wire's directions is cut. Not asked of a cut wire behind which nobody listens (a
      node is dead, or has just been started): some servers end such a connection at once; nor of a
      healed one whose target is paused: it may not accept;
    - a server that counts bytes (ours does: `flows`) must have let none through a cut direction
      while the probe lasted;
    - reset: a connection opened before must be gone after.

Cost: one HTTP request of about 1 ms for each toxic, all on one thread, since the client library has
one server per process and blocks; a 3-node partition is 16 of them a port. The probe of a cut waits
`SILENCE_S`.

Limits: a Go toxiproxy-server ends idle connections on `reset` with a FIN, not an RST; and healing a
cut towards a node that does not read (a paused one) may take 5 s there, and then drops bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import toxiproxy.api
from toxiproxy import Toxiproxy

from harness.cluster.contract import Address, Effect, Link, NodeState, Shape
from harness.cluster.control import Control
from harness.cluster.probes import ECHO_DEADLINE_S, connect, end_echo, end_of, listens
from harness.cluster.toxics import DOWNSTREAM, UPSTREAM
from harness.cluster.unbroken import Unbroken
from harness.errors import FaultNotPossible, UsageError

SILENCE_S = 0.02  # an end echo takes 1 ms here, so that in this time an open wire would answer
FOREVER_MS = 30 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Wire:
    """One proxy: `source` connects to `listen` in order to reach `upstream`, a port of `target`."""

    name: str
    source: str
    target: str
    listen: Address
    upstream: Address


@dataclass(slots=True)
class Lane:
    """One direction of a wire, and the toxics that we put on it, in the order of the chain."""

    wire: Wire
    way: str
    cut: bool = False
    shape: Shape | None = None
    installed: list[str] = field(default_factory=list)


class Links:
    """The links of one cluster over one Toxiproxy server.

    Arguments:
        api: where the server listens.
        state: what a node's process is doing.
        is_ours: whether the server is this project's, which resets idle connections with an RST.
    """

    def __init__(
        self, api: Address, wires: Sequence[Wire], state: Callable[[str], NodeState], is_ours: bool
    ) -> None:
        self.wires, self._control = wires, Control(api)
        self._state, self._is_ours = state, is_ours
        self._turn = asyncio.Lock()  # a probe must not meet the next fault
        self._steps = Unbroken()  # nor must a caller that gives up leave half a cut
        self._lanes = {(w.name, way): Lane(w, way) for w in wires for way in (UPSTREAM, DOWNSTREAM)}
        self._proxies: Mapping[str, Any] = {}
        self._hosts = {host for wire in wires for host in (wire.source, wire.target)}

    async def create(self) -> None:
        """Create all proxies. Raises EnvironmentFailure."""
        await self._control.call(self._populate)

    async def cut(self, links: Collection[Link]) -> Effect:
        return await self._in_turn(self._cut(links))

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        return await self._in_turn(self._heal(links))

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        return await self._in_turn(self._shape(links, shape))

    async def reset(self, links: Collection[Link]) -> Effect:
        return await self._in_turn(self._reset(links))

    async def _in_turn(self, change: Coroutine[Any, Any, Effect]) -> Effect:
        async def whole() -> Effect:
            async with self._turn:
                return await change

        return await self._steps.run(whole())

    async def _cut(self, links: Collection[Link]) -> Effect:
        lanes = self._of(links)
        began = time.monotonic()
        await self._control.call(self._install_cuts, [lane for lane in lanes if not lane.cut])
        applied_ms = _ms_since(began)
        return await self._probe_cut(links, lanes, applied_ms)

    async def _heal(self, links: Collection[Link] | None) -> Effect:
        lanes = self._of(links) if links is not None else list(self._lanes.values())
        broken = [lane for lane in lanes if lane.installed]
        if not broken:
            return Effect.skipped("nothing is cut or shaped there")
        began = time.monotonic()
        await self._control.call(self._remove_all, broken)
        return await self._probe_heal(broken, _ms_since(began))

    async def _shape(self, links: Collection[Link], shape: Shape) -> Effect:
        lanes = [lane for lane in self._of(links) if not lane.cut]
        wanted = toxics_of(shape)
        if not lanes:
            return Effect.skipped("these links are cut")
        began = time.monotonic()
        await self._control.call(self._install_shapes, lanes, shape, wanted)
        shown = await self._control.call(self._read)
        missing = [lane.wire.name for lane in lanes if not _shows(shown, lane, wanted)]
        evidence = {**_about(links), "ms": _ms_since(began), "toxics": sorted(wanted)}
        if missing:
            return Effect.unobserved(**evidence, missing=missing)
        return Effect.observed(**evidence)

    async def _reset(self, links: Collection[Link]) -> Effect:
        wires = list({lane.wire.name: lane.wire for lane in self._of(links)}.values())
        live = [wire for wire in wires if self._is_alive(wire.target)]
        if not live:
            return Effect.skipped("nobody is there to hold a connection")
        shown = await self._control.call(self._read)
        probes = [await connect(wire.listen) for wire in live]
        try:
            await self._control.call(self._drop, wires)
            ends = await asyncio.gather(*(end_of(probe) for probe in probes))
        finally:
            for _, writer in probes:
                writer.close()
        evidence: dict[str, Any] = {**_about(links), "ends": {e: ends.count(e) for e in set(ends)}}
        counted = [shown[w.name]["flows"][UPSTREAM]["connections"] for w in wires if self._is_ours]
        if counted:
            evidence["connections"] = sum(counted)  # without the probes' own
        good = {"reset"} if self._is_ours else {"reset", "closed"}
        return (Effect.observed if set(ends) <= good else Effect.unobserved)(**evidence)

    # -- which lanes -------------------------------------------------------------------------

    def _of(self, links: Collection[Link]) -> list[Lane]:
        for link in links:
            for host in link:
                if host not in self._hosts:
                    raise UsageError(f"there is no node or client host {host!r} to cut a link of")
        wanted = set(links)
        lanes = [lane for lane in self._lanes.values() if link_of(lane) in wanted]
        unknown = wanted - {link_of(lane) for lane in lanes}
        if unknown:
            raise UsageError(f"nothing connects {_arrow(min(unknown))}")
        return lanes

    # -- calls to the server, on the control thread ------------------------------------------

    def _populate(self) -> None:
        wanted = [
            {"name": wire.name, "listen": str(wire.listen), "upstream": str(wire.upstream)}
            for wire in self.wires
        ]
        toxiproxy.api.APIConsumer.post("/populate", json=wanted)
        self._proxies = Toxiproxy().proxies()
        assert self._proxies.keys() >= {wire.name for wire in self.wires}

    def _read(self) -> dict[str, Any]:
        shown: dict[str, Any] = toxiproxy.api.APIConsumer.get("/proxies").json()
        return shown

    def _install_cuts(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            for type_, attributes in CUT.items():
                self._install(lane, f"cut-{type_}-{lane.way}", type_, attributes)
            lane.cut = True

    def _install_shapes(
        self, lanes: Iterable[Lane], shape: Shape, wanted: Mapping[str, Any]
    ) -> None:
        for lane in lanes:
            if lane.shape == shape:
                continue
            self._remove(lane)
            for type_, (toxicity, attributes) in wanted.items():
                self._install(lane, f"{type_}-{lane.way}", type_, attributes, toxicity)
            lane.shape = shape

    def _remove_all(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            self._remove(lane)

    def _install(
        self, lane: Lane, name: str, type_: str, attributes: Mapping[str, int], toxicity: float = 1
    ) -> None:
        self._proxies[lane.wire.name].add_toxic(
            name=name,
            type=type_,
            stream=lane.way,
            toxicity=toxicity,
            attributes=dict(attributes),
        )
        lane.installed.append(name)

    def _remove(self, lane: Lane) -> None:
        while lane.installed:
            with contextlib.suppress(toxiproxy.api.NotFound):
                self._proxies[lane.wire.name].destroy_toxic(lane.installed[-1])
            lane.installed.pop()
        lane.cut, lane.shape = False, None

    def _drop(self, wires: Iterable[Wire]) -> None:
        for wire in wires:
            proxy = self._proxies[wire.name]
            proxy.add_toxic(name="reset", type="reset_peer", stream=UPSTREAM, attributes={})
            try:
                proxy.disable()
            finally:
                proxy.enable()
                proxy.destroy_toxic("reset")

    # -- probes ------------------------------------------------------------------------------

    async def _probe_cut(
        self, links: Collection[Link], lanes: Sequence[Lane], applied_ms: float
    ) -> Effect:
        before = await self._control.call(self._read)
        wires = await self._listening({lane.wire for lane in lanes})
        ends = await asyncio.gather(*(end_echo(wire.listen, SILENCE_S) for wire in wires))
        after = await self._control.call(self._read)
        # A node that died during the probe has ended its connections by itself.
        loud = [
            wire.name
            for wire, echoed in zip(wires, ends, strict=True)
            if echoed and self._is_alive(wire.target)
        ]
        missing = [lane.wire.name for lane in lanes if not _shows(after, lane, CUT, prefix="cut-")]
        leaking = [lane.wire.name for lane in lanes if _sent(before, lane) != _sent(after, lane)]
        evidence: dict[str, Any] = {
            **_about(links),
            "applied_ms": applied_ms,
            "toxics": len(lanes) * len(CUT),
            "silent": len(wires) - len(loud),
        }
        if self._is_ours:
            evidence["held_bytes"] = sum(_flow(after, lane)["held"] for lane in lanes)
        if loud or missing or leaking:
            evidence |= {"echoed": loud, "missing": missing, "leaking": leaking}
            return Effect.unobserved(**evidence)
        return Effect.observed(**evidence)

    async def _probe_heal(self, lanes: Sequence[Lane], applied_ms: float) -> Effect:
        shown = await self._control.call(self._read)
        left = [lane.wire.name for lane in lanes if not _shows(shown, lane, {})]
        wires = {
            lane.wire
            for lane in lanes
            if not self._is_cut(lane.wire) and not self._is_paused(lane.wire.target)
        }
        ends = await asyncio.gather(*(end_echo(wire.listen, ECHO_DEADLINE_S) for wire in wires))
        silent = [
            wire.name
            for wire, echoed in zip(wires, ends, strict=True)
            if not echoed and not self._is_paused(wire.target)
        ]
        evidence: dict[str, Any] = {
            **_about({link_of(lane) for lane in lanes}),
            "applied_ms": applied_ms,
            "echoed": len(wires) - len(silent),
        }
        if left or silent:
            return Effect.unobserved(**evidence, left=left, silent=silent)
        return Effect.observed(**evidence)

    async def _listening(self, wires: Collection[Wire]) -> list[Wire]:
        """Those whose target lives and accepts connections: a node that has just been started (and
        perhaps paused) does not yet."""
        alive = [wire for wire in wires if self._is_alive(wire.target)]
        accept = await asyncio.gather(*(listens(wire.upstream) for wire in alive))
        return [wire for wire, accepts in zip(alive, accept, strict=True) if accepts]

    def _is_alive(self, node: str) -> bool:
        return self._state(node) in (NodeState.RUNNING, NodeState.PAUSED)

    def _is_paused(self, node: str) -> bool:
        return self._state(node) is NodeState.PAUSED

    def _is_cut(self, wire: Wire) -> bool:
        return any(self._lanes[wire.name, way].cut for way in (UPSTREAM, DOWNSTREAM))


CUT: dict[str, dict[str, int]] = {
    "slow_close": {"delay": FOREVER_MS},
    "bandwidth": {"rate": 0},
}


def link_of(lane: Lane) -> Link:
    """The directed link that a direction of a wire belongs to."""
    if lane.way == UPSTREAM:
        return Link(lane.wire.source, lane.wire.target)
    return Link(lane.wire.target, lane.wire.source)


def toxics_of(shape: Shape) -> dict[str, tuple[float, dict[str, int]]]:
    """The toxics that make a shape: type → (toxicity, attributes), in the order of the chain.

    `loss` is the chance that a connection goes dead (`timeout` 0: a black hole until it is healed,
    then closed), as heavy loss looks to TCP. With `reset_after_ms` it is instead the chance that a
    connection is reset at its first bytes; without `loss`, all are.

    Raises:
        FaultNotPossible: a byte stream cannot do that.

    >>> toxics_of(Shape(latency_ms=20, rate_bytes_per_s=64_000))
    {'latency': (1.0, {'latency': 20, 'jitter': 0}), 'bandwidth': (1.0, {'rate': 64})}
    """
    for what in ("duplicate", "reorder", "corrupt"):
        if getattr(shape, what):
            raise FaultNotPossible(
                f"a proxy of TCP streams cannot {what} packets: "
                "use --cluster sim or docker for that, or leave it out"
            )
    toxics: dict[str, tuple[float, dict[str, int]]] = {}
    if shape.latency_ms or shape.jitter_ms:
        toxics["latency"] = (1.0, {"latency": shape.latency_ms, "jitter": shape.jitter_ms})
    if shape.rate_bytes_per_s:
        toxics["bandwidth"] = (1.0, {"rate": max(1, round(shape.rate_bytes_per_s / 1000))})
    if shape.slice_bytes:
        size = shape.slice_bytes
        toxics["slicer"] = (1.0, {"average_size": size, "size_variation": size // 2, "delay": 0})
    if shape.reset_after_ms is not None:
        toxics["reset_peer"] = (shape.loss or 1.0, {"timeout": shape.reset_after_ms})
    elif shape.loss:
        toxics["timeout"] = (shape.loss, {"timeout": 0})
    return toxics


def _shows(
    shown: Mapping[str, Any], lane: Lane, wanted: Mapping[str, Any], prefix: str = ""
) -> bool:
    """Whether the server shows exactly these toxics of ours on the lane."""
    ours = {f"{prefix}{type_}-{lane.way}" for type_ in wanted}
    found = {
        toxic["name"]
        for toxic in shown[lane.wire.name]["toxics"]
        if toxic["stream"] == lane.way and toxic["name"].startswith(prefix)
    }
    return found == ours


def _flow(shown: Mapping[str, Any], lane: Lane) -> Mapping[str, int]:
    flow: Mapping[str, int] = shown[lane.wire.name].get("flows", {}).get(lane.way, {})
    return flow


def _sent(shown: Mapping[str, Any], lane: Lane) -> int | None:
    return _flow(shown, lane).get("sent")


def _about(links: Iterable[Link]) -> dict[str, Any]:
    return {"links": sorted(map(_arrow, links))}


def _arrow(link: Link) -> str:
    return f"{link.source}->{link.target}"


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
