"""`assay replay RUN`: a stored run again, and whether it is the same.

A simulated run is decided by its options and its seed, so that its history comes again byte for
byte, or one of the two was made by another commit. On real clusters the tape of the run is played:
the same operations and faults at the same times, as far as chance allows; what comes of them may
differ.

`--diagram` draws the messages of a simulated run around its first finding, or around an operation.
`--until OP` stops there: the nodes' states and the ends of their logs are shown and stored as they
are then, before anything heals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.arguments import parse_concurrency, parse_test
from harness.errors import UsageError
from harness.explore import diagram
from harness.explore.likeness import Likeness, compare
from harness.history import History
from harness.launch import execute, ground, store_verdict
from harness.op import Op
from harness.run import Run
from harness.sim.wiretap import Wiretap
from harness.sim.world import World
from harness.store import RunFolder
from harness.tape import Tape
from harness.verdict import Outcome, Verdict


@dataclass(slots=True)
class Stopper:
    """A `Progress` that ends the run at an operation, with a look at every node."""

    until: int | None = None
    run: Run | None = None
    states: dict[str, Any] = field(default_factory=dict)
    looking: asyncio.Task[None] | None = None
    now: Callable[[], int] | None = None
    zero: int = 0  # the clock's time when the history's begins

    def phase(self, name: str) -> None:
        pass

    def event(self, op: Op) -> None:
        if op.index == 0 and self.now is not None:
            self.zero = self.now() - op.time
        if op.index == self.until and self.run is not None:
            self.looking = asyncio.ensure_future(self._look())
            self.run.interrupt(f"--until {self.until}")

    async def _look(self) -> None:
        assert self.run is not None
        self.states = await self.run.states()


def replay_command(arguments: argparse.Namespace) -> int:
    """Exit status: 0 the same history (or, on real clusters, the same verdict), 1 another; 3 if it
    was interrupted, 4 if it failed."""
    folder = RunFolder.find(arguments.run)
    told = arguments_of(folder)
    simulated = told.cluster == "sim"
    _require_operation(folder, "--until", arguments.until)
    if arguments.diagram != ANY:
        _require_operation(folder, "--diagram", arguments.diagram)
    if arguments.diagram is not None and not simulated:
        raise UsageError("--diagram: only the messages of a simulated run can be drawn")
    into = RunFolder.create(arguments.results or folder.path.parent.parent, "replay")
    if not simulated:
        tape = tape_of(folder, told)
        told.tape = into.path / "tape.json"
        told.tape.write_bytes(tape.dump())
    stopper = Stopper(arguments.until)
    shape: dict[str, Any] = {"run": str(into.path), "of": str(folder.path)}
    run, verdict, more = _play_again(told, into, stopper, arguments.diagram)
    shape |= more
    if run.failure is not None:
        raise run.failure
    likeness = None
    if simulated:
        difference = first_difference(folder.history, into.history, arguments.until)
        same = difference is None
        shape |= {"identical": same, "difference": difference}
    else:
        before = folder.load("verdict.json")
        same = before.get("valid") == verdict.outcome.json
        likeness = _likeness(folder, into, tape, run.test.concurrency, verdict)
        shape |= {"identical": None, "same verdict": same, "best effort": True}
        shape |= {"valid": [before.get("valid"), verdict.outcome.json], **likeness.to_json()}
    if arguments.until is not None:
        shape["states"] = stopper.states
        into.save("states.json", stopper.states)
    if arguments.json:
        print(json.dumps(shape, default=str))
    else:
        print(_said(shape, arguments.until, likeness))
    if run.interrupted is not None and arguments.until is None:
        return 3
    return 0 if same else 1


def _require_operation(folder: RunFolder, flag: str, op: int | None) -> None:
    """Raises UsageError: the run has none of that number."""
    if op is None:
        return
    count = sum(1 for _ in folder.history.open("rb"))
    if not 0 <= op < count:
        raise UsageError(f"{flag} {op}: this run has operations 0 to {count - 1}")


def _play_again(
    told: argparse.Namespace, into: RunFolder, stopper: Stopper, diagram_at: int | None
) -> tuple[Run, Verdict, Mapping[str, Any]]:
    """Run and judge it, on whatever it ran; and where its diagram is, if one was asked for."""
    began = time.monotonic()
    test = parse_test(told, told.seed)
    shape: Mapping[str, Any] = {}
    with ground(told, told.seed) as on:
        if on.world is not None and diagram_at is not None:
            on.world.network.tap = Wiretap()
        run = stopper.run = Run(test, into, stopper, on.now_ns)
        stopper.now = on.now_ns
        on.go(execute(run))
        verdict = run.judge()
        if on.world is not None and diagram_at is not None:
            shape = _draw(on.world, run, verdict, stopper.zero, diagram_at)
    if verdict.outcome is Outcome.VALID:
        into.drop_data()
    title = f"replay of {test.workload.name} / {test.package.name} / {told.cluster}"
    store_verdict(into, verdict, f"{title}, seed {told.seed}", time.monotonic() - began)
    return run, verdict, shape


def _likeness(
    folder: RunFolder, into: RunFolder, tape: Tape, concurrency: int, verdict: Verdict
) -> Likeness:
    anomalies = folder.load("verdict.json").get("anomalies", {})
    then = {name: int(told["count"]) for name, told in anomalies.items()}
    return compare(
        tape,
        History.load(folder.history),
        History.load(into.history),
        concurrency,
        (then, verdict.anomalies()),
    )


def tape_of(folder: RunFolder, told: argparse.Namespace) -> Tape:
    """The tape that a run played, or that its history is."""
    if told.tape is not None:
        return Tape.load(told.tape)
    return Tape.of(History.load(folder.history), parse_concurrency(told.concurrency, told.nodes))


SAID: Mapping[Any, str] = {outcome.json: outcome.name.lower() for outcome in Outcome}

ANY = -1
"""`--diagram` without an operation: around the first finding."""


def _draw(world: World, run: Run, verdict: Verdict, zero: int, index: int) -> Mapping[str, Any]:
    """Write `diagram.svg`, which the report will show."""
    history = History.load(run.folder.history)
    if index == ANY:
        indices: Sequence[int] = verdict.findings[0].witness if verdict.findings else ()
    else:
        indices = [index] if 0 <= index < len(history) else ()
    if not indices:
        return {"diagram": None}
    assert world.network.tap is not None
    nodes = list(world.machines)
    clients = sorted({source for source, _ in world.network.links} - set(nodes))
    drawn = diagram.render(
        history,
        [message.since(zero) for message in world.network.tap.messages],
        diagram.around(history, indices),
        hosts=[*clients[:1], *nodes, *clients[1:]],
        clients=clients,
        concurrency=run.test.concurrency,
        witness=indices,
    )
    run.folder.save_text("diagram.svg", drawn)
    return {"diagram": str(run.folder.path / "diagram.svg")}


def arguments_of(folder: RunFolder) -> argparse.Namespace:
    """What `assay run` was told, from the command that the run's folder has stored.

    Raises:
        UsageError: it has stored none.
    """
    from harness.cli import parser

    command = folder.load("test.json").get("command")
    if not isinstance(command, str):
        raise UsageError(f"{folder.path} does not say by which command it was made")
    told = parser().parse_args(shlex.split(command)[1:])
    told.json = True
    own = folder.path / "tape.json"
    if told.tape is not None and own.exists():  # as the command named it, it may have been moved
        told.tape = own
    return told


def first_difference(one: Path, other: Path, until: int | None = None) -> str | None:
    """Where two histories part; None if they are the same, up to an operation."""
    with one.open("rb") as before, other.open("rb") as after:
        number = 0
        while until is None or number < until:
            first, second = before.readline(), after.readline()
            if first != second:
                return f"op {number}: {_short(first)} was, {_short(second)} is"
            if not first:
                return None
            number += 1
    return None


def _short(line: bytes) -> str:
    return line.decode(errors="replace").strip()[:300] or "(nothing)"


def _said(shape: Mapping[str, Any], until: int | None, likeness: Likeness | None) -> str:
    upto = "" if until is None else f", up to op {until}"
    if shape["identical"]:
        first = f"IDENTICAL  the history is the same, byte for byte{upto}"
    elif shape["identical"] is None:
        word = "SAME" if shape["same verdict"] else "ANOTHER"
        then, now = (SAID.get(valid, "never judged") for valid in shape["valid"])
        first = (
            f"{word} VERDICT  {then} then, {now} now: on a real cluster the tape is played as well "
            "as that goes"
        )
    else:
        first = f"DIFFERENT  {shape['difference']}"
    lines = [first, *(f"  {line}" for line in (likeness.lines() if likeness is not None else ()))]
    for node, state in shape.get("states", {}).items():
        lines.append(f"  {node}, {state['process']}: {json.dumps(state['state'])}")
        lines += [f"    {line}" for line in state.get("log", ())]
    if "diagram" in shape:
        nothing = "nothing was found to draw; give the number of an operation"
        lines.append(f"  diagram: {shape['diagram'] or nothing}")
    lines.append(f"  look:    {shape['run']}/report.html")
    return "\n".join(lines)
