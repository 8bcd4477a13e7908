"""One test from start to verdict.

    1 start the cluster, wait until every node is ready
    2 set the workload up
    3 main phase: the workload under faults, for the time limit
    4 heal: every fault undone, every node up, everybody ready
    5 liveness, if asked for: every client gets something done, everywhere
    6 final reads with fresh clients, until all is read or their deadline
    7 stop the cluster, check the history, store the verdict

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
from harness.activations import activations
from harness.checker import Check, Judge, judge
from harness.client import Endpoint
from harness.cluster.contract import Cluster, NodeState
from harness.coverage import coverage
from harness.deadline import wait_until
from harness.errors import EnvironmentFailure, UsageError
from harness.faults import Faults
from harness.guarantees import Contract
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.nemesis import Package
from harness.op import Op
from harness.store import RunFolder
from harness.system import System
from harness.tape import Tape
from harness.verdict import Outcome, Verdict
from harness.workload import Watched, Workload

SETTLE_TIMEOUT_S = 60.0

LINES_SHOWN = 10
"""Of a node's log, where its state is shown."""

SET_UP_ATTEMPTS = 3
SET_UP_PAUSE_S = 2.0
"""Nodes that have just become ready may need a moment to know each other, as after a fail-over."""


def no_checks(folder: RunFolder) -> Mapping[str, Check]:
    """Of a run's folder: its history says all."""
    return {}


@dataclass(frozen=True, slots=True)
class Test:
    """Everything that decides a run.

    Attributes:
        cluster: makes the cluster in a run's folder.
        contract: what the run's options promise.
        tape: what is played in the main phase, instead of workload and faults; None as a rule.
        liveness_s: how long it may take after healing until everybody makes progress; None if
            nobody asks.
        bug: what is planted in the nodes, if anything.
        of_folder: makes the checks that read more of the run's folder than the history.
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
    liveness_s: float | None = None
    tape: Tape | None = None
    leave_running: bool = False
    bug: str | None = None
    of_folder: Callable[[RunFolder], Mapping[str, Check]] = no_checks
    record: Mapping[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """Somebody who watches a run."""

    def phase(self, name: str) -> None: ...

    def event(self, op: Op) -> None: ...


class Run:
    """One run of a test: `execute`, then `judge`; both only once.

    Attributes:
        interrupted: why the run was told to end, or None.
        failure: what of the harness or its environment failed after recording began, or None.

    Args:
        clock: nanoseconds, of the same clock as the times of the cluster's crashes.
    """

    def __init__(
        self,
        test: Test,
        folder: RunFolder,
        progress: Progress,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.test, self.folder, self.progress = test, folder, progress
        self._clock = clock
        self.interrupted: str | None = None
        self.failure: EnvironmentFailure | None = None
        self._stats: dict[str, Any] = {}
        self._interpreter: Interpreter | None = None
        self._body: asyncio.Task[Any] | None = None
        self._crashes = 0  # journaled so far
        self._accounts: Callable[[], dict[str, Any]] = dict  # of the nodes, not journaled yet
        self._cluster = test.cluster(folder)
        require_abilities(test.package, self._cluster)

    # -- from outside ------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """May be called at any moment, from a signal handler. The first call ends the workload, so
        that the run heals and is judged by what it has; the second ends everything."""
        first, self.interrupted = self.interrupted is None, reason
        if first and self._interpreter is not None:
            self._interpreter.stop(reason)
        elif self._body is not None:
            self._body.cancel()

    async def stop(self) -> None:
        """End the cluster, if the test left it running. Idempotent."""
        await self._cluster.stop()

    async def execute(self) -> None:
        """Drive the system and record what happens. Ends early, and well, when interrupted.

        Raises:
            EnvironmentFailure: the cluster or the set-up failed before anything was recorded. A
                failure after that is kept in `failure`, since there is something to judge.
        """
        self._record()
        self._body = asyncio.current_task()
        stop = True
        try:
            await self._drive()
            stop = not self.test.leave_running
        except asyncio.CancelledError:
            if self.interrupted is None:
                raise
        except EnvironmentFailure as error:
            if not self.folder.history.exists():
                raise
            self.failure = error
        finally:
            self._body = None
            if stop:
                self.progress.phase("stop")
                await self._cluster.stop()

    def judge(self, by: Judge = judge) -> Verdict:
        """The verdict over what was recorded."""
        if not self.folder.history.exists():
            doubt = f"the run was interrupted ({self.interrupted}) before anything was recorded"
            return Verdict(Outcome.UNKNOWN, doubts=(doubt,))
        self.progress.phase("check")
        if self.test.bug:
            told = activations(self._cluster.log(node) for node in self._cluster.nodes)
            self._stats["bug"] = {"name": self.test.bug, "activations": told}
        verdict = check(self.folder, self.test, self._stats, by)
        if self.test.bug and not self._stats["bug"]["activations"]:
            verdict = verdict.doubted(f"the bug {self.test.bug} was not exercised")
        if self.failure is not None:
            verdict = verdict.doubted(f"the run failed: {self.failure}")
        if self.interrupted is not None:
            verdict = verdict.doubted(f"the run was interrupted ({self.interrupted})")
        return verdict

    # -- the steps ---------------------------------------------------------------------------

    def _record(self, more: Mapping[str, Any] | None = None) -> None:
        contract = self.test.contract.to_json()
        self.folder.save("test.json", {**self.test.record, "contract": contract, **(more or {})})

    async def _drive(self) -> None:
        test, cluster = self.test, self._cluster
        self.progress.phase("start")
        await cluster.start()
        rng = seeds.stream(test.seed, "targets")
        faults = Faults(test.package.nemesis, cluster, test.system, rng)
        self.progress.phase("set-up")
        endpoints = endpoints_of(cluster, test.concurrency)
        await self._set_up(endpoints[0])
        before = dict((await faults.look()).facts)
        async with contextlib.AsyncExitStack() as closing:
            # All of it is closed, whatever fails on the way; the recorder last, which holds what
            # the others still say.
            recorder = Recorder(self.folder.history)
            closing.callback(recorder.close)
            started = self._clock()
            # The nodes' logs carry wall time; this places their lines in the history.
            self._record({"started wall ns": time.time_ns()})
            interpreter = Interpreter(
                recorder=recorder,
                now=lambda: self._clock() - started,
                client=test.workload.client,
                endpoints=endpoints,
                reads=test.workload.reads,
                faults=faults,
                rng=seeds.stream(test.seed, "generator"),
                op_timeout_s=test.op_timeout_s,
                on_event=self.progress.event,
            )
            closing.push_async_callback(self._close, interpreter)
            closing.push_async_callback(faults.close)
            closing.callback(self._journal_crashes, interpreter, started)
            watching = asyncio.create_task(self._watch_crashes(interpreter, started))
            closing.callback(watching.cancel)
            self._interpreter = interpreter
            faults.watch()
            self._accounts = faults.accounts
            await self._phases(interpreter)
            after = dict((await faults.look()).facts)
            self._stats["system"] = dict(test.system.stats(before, after))
            interpreter.mark("stats", self._stats["system"], faults.accounts() or None)

    async def _close(self, interpreter: Interpreter) -> None:
        self._interpreter = None
        await interpreter.close()
        self._stats["abandoned threads"] = interpreter.abandoned
        self._stats["problems"] = list(interpreter.problems)

    async def _phases(self, interpreter: Interpreter) -> None:
        test = self.test
        with self._phase(interpreter, "main", nemesis=test.package.name) as end:
            await interpreter.run(self._main())
            end["complete"] = self.interrupted is None
        interpreter.resume()
        with self._phase(interpreter, "heal") as end:
            await self._heal(interpreter)
            end["complete"] = True
        if self.interrupted is not None:
            return
        if test.liveness_s is not None and test.workload.progress is not None:
            await self._liveness(interpreter, test.liveness_s)
        if test.workload.final_reads is None:
            return
        final = test.workload.final_reads()
        with self._phase(interpreter, "final-reads") as end:
            await interpreter.run(final.generator, on_event=final.observe)
            end.update(self._how_it_ended(final))

    def _how_it_ended(self, watched: Watched) -> dict[str, Any]:
        stuck = list(watched.stuck())
        complete = not stuck and self.interrupted is None
        return {"complete": complete, **({"stuck": stuck} if stuck else {})}

    def _main(self) -> Any:
        test = self.test
        if test.tape is not None:
            return test.tape.generator()
        work = gen.stagger(1 / test.rate, test.workload.generator)
        return gen.time_limit(test.time_limit_s, gen.clients(work, test.package.generator))

    async def _liveness(self, interpreter: Interpreter, limit_s: float) -> None:
        """Everybody makes progress within `limit_s`, or the journal says who does not, and what the
        system tells of itself then."""
        assert self.test.workload.progress is not None
        progress = self.test.workload.progress(limit_s)
        with self._phase(interpreter, "liveness", limit_s=limit_s) as end:
            await interpreter.run(progress.generator, on_event=progress.observe)
            end.update(self._how_it_ended(progress))
            if not end["complete"]:
                end["view"] = await self._view()

    async def states(self) -> dict[str, Any]:
        """What each node tells of itself now, and the end of its log; JSON."""
        inspect = getattr(self.test.system, "inspect", None)
        found: dict[str, Any] = {}
        for node in self._cluster.nodes:
            state = self._cluster.state(node).value
            told = await inspect(self._cluster, node) if inspect is not None else None
            lines = self._cluster.log(node).read_text(errors="replace").splitlines()
            found[node] = {"process": state, "state": told, "log": lines[-LINES_SHOWN:]}
        return found

    async def _view(self) -> dict[str, Any]:
        """What the system tells of itself, as JSON."""
        view = await self.test.system.view(self._cluster)
        states = {node: self._cluster.state(node).value for node in self._cluster.nodes}
        leaders = {"leads": dict(view.leaders), "controller": view.controller}
        return {"states": states, **leaders, "facts": dict(view.facts)}

    async def _heal(self, interpreter: Interpreter) -> None:
        """Undo every fault, whatever the nemesis still remembers of it, and wait for the nodes."""
        cluster, test = self._cluster, self.test
        if test.package.final_generator is not None:
            await interpreter.run(gen.nemesis(test.package.final_generator))
        await asyncio.gather(*(cluster.resume(node) for node in cluster.nodes))
        await cluster.heal()
        dead = [node for node in cluster.nodes if cluster.state(node) is NodeState.DEAD]
        # Together: a node may need the others to become ready. One that cannot start says so.
        for error in await asyncio.gather(*map(cluster.start_node, dead), return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

        async def ready() -> bool:
            answers = await asyncio.gather(*(test.system.ready(cluster, n) for n in cluster.nodes))
            return all(answers)

        await wait_until(ready, SETTLE_TIMEOUT_S, "every node to be ready again after healing")

    async def _set_up(self, endpoint: Endpoint) -> None:
        """Set the workload up; again, if the nodes are ready one by one but not yet together."""
        attempt = 1
        while (error := await self._try_set_up(endpoint)) is not None:
            if attempt == SET_UP_ATTEMPTS:
                raise EnvironmentFailure(
                    f"setting up the workload failed {attempt} times, at last with "
                    f"{type(error).__name__}: {error}; "
                    f"the nodes' logs are in {self.folder.path / 'nodes'}"
                ) from error
            attempt += 1
            await asyncio.sleep(SET_UP_PAUSE_S)

    async def _try_set_up(self, endpoint: Endpoint) -> Exception | None:
        """What the client met, if another one may fare better."""
        try:
            client = await self.test.workload.client.open(endpoint)
            try:
                await client.setup()
            finally:
                await client.close()
        except (EnvironmentFailure, UsageError):
            raise
        except Exception as error:
            return error
        return None

    @contextlib.contextmanager
    def _phase(self, interpreter: Interpreter, name: str, **more: Any) -> Iterator[dict[str, Any]]:
        """Journal a phase's begin and end; the body says in the dict whether it was complete."""
        self.progress.phase(name)
        interpreter.mark("phase", name, {"at": "begin", **more})
        end: dict[str, Any] = {"complete": False}
        try:
            yield end
        except EnvironmentFailure as error:
            end["error"] = str(error)
            raise
        finally:
            interpreter.mark("phase", name, {"at": "end", **end, **self._accounts()})

    async def _watch_crashes(self, interpreter: Interpreter, started_ns: int) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._journal_crashes(interpreter, started_ns)

    def _journal_crashes(self, interpreter: Interpreter, started_ns: int) -> None:
        for crash in self._cluster.crashes()[self._crashes :]:
            self._crashes += 1
            interpreter.mark("crash", {**crash, "time_ns": crash["time_ns"] - started_ns})


def require_abilities(package: Package, cluster: Cluster) -> None:
    """A fault that a cluster cannot do is refused before anything starts, never skipped.

    Raises:
        UsageError
    """
    missing = package.needs - cluster.supports
    if missing:
        raise UsageError(
            f"the {cluster.kind} cluster cannot do {', '.join(sorted(missing))}, which "
            f"--nemesis {package.name} needs; `assay doctor` says what is missing here"
        )


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


def check(folder: RunFolder, test: Test, stats: Mapping[str, Any], by: Judge) -> Verdict:
    """Judge a run's history and say what it exercised."""
    history = History.load(folder.history, cache=True)
    checks = {**test.workload.checks, **test.of_folder(folder)}
    return weigh(by(history, checks, test.contract), history, test.workload.reads, stats)


def weigh(
    verdict: Verdict, history: History, reads: frozenset[str], stats: Mapping[str, Any]
) -> Verdict:
    """The verdict with what the history exercised, and doubts where that is nothing."""
    exercised = coverage(history, reads)
    doubts = list(history.notes)
    doubts += [f"the phase {p.name} did not complete" for p in exercised.cut_short]
    if exercised.nothing:
        doubts.append("no operation was acknowledged: the run says nothing of the system")
    system = {"system": dict(exercised.system)} if exercised.system else {}
    return verdict.with_stats({**system, **stats, "coverage": exercised.to_json()}).doubted(*doubts)
