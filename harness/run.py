"""One test from start to verdict.

    1 start the cluster, wait until every node is ready
    2 set the workload up
    3 main phase: the workload under faults, for the time limit
    4 heal: every fault undone, every node up, everybody ready
    5 final reads with fresh clients, until all is read or their deadline
    6 stop the cluster, check the history, store the verdict

Each phase is journaled, and so is every fault with its target and what a probe saw of it. From the
first event on, the folder can be checked: a run that is interrupted heals and judges what it has;
one that is killed leaves a history for `assay check`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness import generator as gen
from harness import seeds
from harness.checker import judge
from harness.client import Endpoint
from harness.cluster.contract import Cluster, NodeState
from harness.coverage import coverage
from harness.deadline import wait_until
from harness.errors import EnvironmentFailure
from harness.faults import Faults
from harness.guarantees import Contract
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.nemesis import Package
from harness.op import Op
from harness.store import RunFolder
from harness.system import System
from harness.verdict import Verdict
from harness.workload import FinalReads, Workload

SETTLE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Test:
    """Everything that decides a run.

    Attributes:
        cluster: makes the cluster in a run's folder.
        contract: what the run's options promise.
        record: what `test.json` says besides: options as given, versions, the command.
    """

    workload: Workload
    system: System
    package: Package
    cluster: Callable[[RunFolder], Cluster]
    contract: Contract
    seed: int
    concurrency: int = 6
    rate: float = 200.0
    time_limit_s: float = 30.0
    op_timeout_s: float = 10.0
    leave_running: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """Somebody who watches a run."""

    def phase(self, name: str) -> None: ...

    def event(self, op: Op) -> None: ...


class Run:
    """One run of a test. `interrupt` may be called at any moment, from a signal handler."""

    def __init__(self, test: Test, folder: RunFolder, progress: Progress) -> None:
        self.test, self.folder, self.progress = test, folder, progress
        self.interrupted: str | None = None
        self._interpreter: Interpreter | None = None
        self._body: asyncio.Task[Any] | None = None
        self._crashes = 0  # journaled so far
        self._cluster = test.cluster(folder)
        missing = test.package.needs - self._cluster.supports
        if missing:
            raise EnvironmentFailure(
                f"the {self._cluster.kind} cluster cannot do {', '.join(sorted(missing))}, which "
                f"--nemesis {test.package.name} needs; `assay doctor` says what is missing here"
            )

    def interrupt(self, reason: str) -> None:
        """End the workload now; heal and check what there is. A second call ends everything."""
        if self.interrupted is None and self._interpreter is not None:
            self.interrupted = reason
            self._interpreter.stop(reason)
        elif self._body is not None:
            self.interrupted = reason
            self._body.cancel()

    async def execute(self) -> Verdict | None:
        """Run, check, store. None if it was interrupted before anything could be recorded.

        Raises:
            EnvironmentFailure: the cluster or the set-up failed; nothing is left running.
        """
        self._record()
        self._body = asyncio.current_task()
        try:
            stats = await self._drive()
        except asyncio.CancelledError:
            if self.interrupted is None:
                raise
            stats = {}
        finally:
            self.progress.phase("stop")
            if not self.test.leave_running:
                await asyncio.shield(self._cluster.stop())
        self.progress.phase("check")
        if not self.folder.history.exists():
            return None
        verdict = check(self.folder, self.test.workload, self.test.contract, stats)
        if self.interrupted is not None:
            verdict = verdict.doubted(f"the run was interrupted ({self.interrupted})")
        return verdict

    def _record(self, more: Mapping[str, Any] | None = None) -> None:
        contract = self.test.contract.to_json()
        self.folder.save("test.json", {**self.test.record, "contract": contract, **(more or {})})

    async def _drive(self) -> dict[str, Any]:
        test, cluster = self.test, self._cluster
        self.progress.phase("start")
        await cluster.start()
        faults = Faults(
            test.package.nemesis, cluster, test.system, seeds.stream(test.seed, "targets")
        )
        self.progress.phase("set-up")
        endpoints = endpoints_of(cluster, test.concurrency)
        await self._set_up(endpoints[0])
        before = dict((await faults.look()).facts)
        recorder = Recorder(self.folder.history)
        started = time.monotonic_ns()
        # The nodes' logs carry wall time; this places their lines in the history.
        self._record({"started wall ns": time.time_ns()})
        interpreter = Interpreter(
            recorder=recorder,
            now=lambda: time.monotonic_ns() - started,
            client=test.workload.client,
            endpoints=endpoints,
            reads=test.workload.reads,
            faults=faults,
            rng=seeds.stream(test.seed, "generator"),
            op_timeout_s=test.op_timeout_s,
            on_event=self.progress.event,
        )
        self._interpreter = interpreter
        watching = asyncio.create_task(self._watch_crashes(interpreter, started))
        faults.watch()
        try:
            await self._phases(interpreter)
            after = dict((await faults.look()).facts)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._journal_crashes(interpreter, started)
            await faults.close()
            await interpreter.close()
            recorder.close()
        return {
            "system": dict(test.system.stats(before, after)),
            "abandoned threads": interpreter.abandoned,
            "problems": list(interpreter.problems),
        }

    async def _phases(self, interpreter: Interpreter) -> None:
        test = self.test
        with self._phase(interpreter, "main") as end:
            work = gen.stagger(1 / test.rate, test.workload.generator)
            await interpreter.run(
                gen.time_limit(test.time_limit_s, gen.clients(work, test.package.generator))
            )
            end["complete"] = self.interrupted is None
        interpreter.resume()
        with self._phase(interpreter, "heal") as end:
            await self._heal(interpreter)
            end["complete"] = True
        if test.workload.final_reads is None or self.interrupted is not None:
            return
        final = test.workload.final_reads()
        with self._phase(interpreter, "final-reads") as end:
            await interpreter.run(final.generator, on_event=final.observe)
            end.update(self._how_final_reads_ended(final))

    def _how_final_reads_ended(self, final: FinalReads) -> dict[str, Any]:
        stuck = list(final.stuck())
        complete = not stuck and self.interrupted is None
        return {"complete": complete, **({"stuck": stuck} if stuck else {})}

    async def _heal(self, interpreter: Interpreter) -> None:
        """Undo every fault, whatever the nemesis still remembers of it, and wait for the nodes."""
        cluster, test = self._cluster, self.test
        if test.package.final_generator is not None:
            await interpreter.run(gen.nemesis(test.package.final_generator))
        for node in cluster.nodes:
            await cluster.resume(node)
        await cluster.heal()
        for node in cluster.nodes:
            if cluster.state(node) is NodeState.DEAD:
                await cluster.start_node(node)

        async def ready() -> bool:
            answers = await asyncio.gather(*(test.system.ready(cluster, n) for n in cluster.nodes))
            return all(answers)

        await wait_until(ready, SETTLE_TIMEOUT_S, "every node to be ready again after healing")

    async def _set_up(self, endpoint: Endpoint) -> None:
        client = await self.test.workload.client.open(endpoint)
        try:
            await client.setup()
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise EnvironmentFailure(
                f"setting up the workload failed: {type(error).__name__}: {error}; "
                f"the nodes' logs are in {self.folder.path / 'nodes'}"
            ) from error
        finally:
            await client.close()

    @contextlib.contextmanager
    def _phase(self, interpreter: Interpreter, name: str) -> Iterator[dict[str, Any]]:
        """Journal a phase's begin and end; the body says in the dict whether it was complete."""
        self.progress.phase(name)
        interpreter.mark("phase", name, {"at": "begin"})
        end: dict[str, Any] = {"complete": False}
        try:
            yield end
        finally:
            interpreter.mark("phase", name, {"at": "end", **end})

    async def _watch_crashes(self, interpreter: Interpreter, started_ns: int) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._journal_crashes(interpreter, started_ns)

    def _journal_crashes(self, interpreter: Interpreter, started_ns: int) -> None:
        for crash in self._cluster.crashes()[self._crashes :]:
            self._crashes += 1
            interpreter.mark("crash", {**crash, "time_ns": crash["time_ns"] - started_ns})


def endpoints_of(cluster: Cluster, concurrency: int) -> Sequence[Endpoint]:
    """Worker i lives on client host i mod hosts and is bound to node i mod nodes."""
    endpoints = []
    for worker in range(concurrency):
        host = cluster.clients[worker % len(cluster.clients)]
        first = worker % len(cluster.nodes)
        order = [*cluster.nodes[first:], *cluster.nodes[:first]]
        bootstrap = tuple(cluster.address(node, host) for node in order)
        endpoints.append(Endpoint(order[0], host, bootstrap[0], bootstrap))
    return endpoints


def check(
    folder: RunFolder, workload: Workload, contract: Contract, stats: Mapping[str, Any]
) -> Verdict:
    """Judge a run's history and say what it exercised."""
    history = History.load(folder.history)
    verdict = judge(history, workload.checks, contract)
    exercised = coverage(history)
    return verdict.with_stats({**stats, "coverage": exercised.to_json()}).doubted(*history.notes)
