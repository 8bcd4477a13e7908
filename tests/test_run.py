"""One test from start to verdict, on a cluster in memory and in virtual time."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.checker import judge
from harness.cluster.contract import Ability, NodeState
from harness.coverage import coverage
from harness.errors import EnvironmentFailure, UsageError
from harness.generator import Call
from harness.guarantees import Contract
from harness.history import History
from harness.nemesis import Package, View
from harness.op import NEMESIS, Op
from harness.run import Run, Test, weigh
from harness.spells import operations, spells
from harness.store import RunFolder
from harness.verdict import Outcome, Verdict
from tests.fakes import FakeCluster, FakeSystem, FinalRead, World, killing, set_workload
from tests.virtual import now_ns, virtually

Test.__test__ = False  # type: ignore[attr-defined]


class Watcher:
    """Progress that the test looks at, and acts on."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.events: list[Op] = []
        self.on_phase: dict[str, Callable[[], None]] = {}

    def phase(self, name: str) -> None:
        self.phases.append(name)
        if name in self.on_phase:
            self.on_phase[name]()

    def event(self, op: Op) -> None:
        self.events.append(op)


class Setting:
    """A run and all that it is made of. `at` calls something so many seconds into a phase."""

    def __init__(
        self,
        tmp_path: Path,
        package: Package | None = None,
        final: FinalRead | None = None,
        **more: Any,
    ) -> None:
        self.folder = RunFolder.create(tmp_path, "set")
        self.cluster = FakeCluster(now_ns)
        self.system = FakeSystem()
        self.world = World(self.cluster)
        self.watcher = Watcher()
        workload = more.pop("workload", None) or set_workload(self.world, final)
        settings: dict[str, Any] = {
            "workload": workload,
            "system": self.system,
            "package": package or killing(),
            "cluster": lambda folder: self.cluster,
            "contract": Contract("derived"),
            "seed": 7,
            "concurrency": 4,
            "rate": 50.0,
            "time_limit_s": 3.0,
            "record": {"name": "set", "workload": "set"},
        }
        self.test = Test(**{**settings, **more})
        self.run = Run(self.test, self.folder, self.watcher, now_ns)

    def at(self, phase: str, seconds: float, do: Callable[[], None]) -> None:
        self.watcher.on_phase[phase] = lambda: asyncio.get_running_loop().call_later(seconds, do)

    def execute(self) -> Verdict:
        virtually(self.run.execute())
        return self.run.judge()

    @property
    def history(self) -> History:
        history = History.load(self.folder.history)
        history._check()
        return history


def phases(history: History) -> list[tuple[str, bool | None]]:
    marks = [op for op, _ in operations(history) if op.f == "phase"]
    return [(str(op.value), (op.extra or {}).get("complete")) for op in marks]


COMPLETE = [
    *[("main", None), ("main", True), ("heal", None), ("heal", True)],
    *[("final-reads", None), ("final-reads", True)],
]


# -- a run that goes well -------------------------------------------------------------------------


def test_a_run_goes_through_its_phases_and_journals_them(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", "leader")), FinalRead())
    verdict = setting.execute()
    assert verdict.outcome is Outcome.VALID
    order = ["start", "set-up", "main", "heal", "final-reads", "stop", "check"]
    assert setting.watcher.phases == order
    assert phases(setting.history) == COMPLETE
    assert setting.watcher.events == list(setting.history)
    assert setting.world.set_ups == 1 and setting.cluster.stopped == 1
    assert setting.world.open_clients == 0, "every client was closed"


class Telling(FakeSystem):
    """Its nodes tell of their quorum; each time, one entry more."""

    asked = 0

    async def view(self, cluster: Any) -> View:
        self.asked += 1
        account = {"commit": self.asked}
        return replace(await super().view(cluster), quorum={"n1": account})


def test_what_nodes_tell_of_their_quorum_is_journaled_to_the_end(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])), FinalRead(), system=Telling())
    setting.execute()
    told = [
        (ended.f, account["commit"])
        for _, ended in operations(setting.history)
        if ended is not None
        for account in (ended.extra or {}).get("quorum", ())
    ]
    said = [commit for _, commit in told]
    assert said == list(range(1, len(said) + 1)), "each once, in order"
    assert {f for f, _ in told} >= {"kill", "phase"}
    assert told[-1][0] == "stats", "the last is asked for when all is healed and read"


def test_the_folder_can_be_checked_with_the_same_verdict(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])), FinalRead())
    setting.world.loses = {3}
    verdict = setting.execute()
    stored = setting.folder.load("test.json")
    assert stored["name"] == "set" and stored["started wall ns"] > 1e18
    history = History.load(setting.folder.path)
    contract = Contract.from_json(stored["contract"])
    again = judge(history, setting.test.workload.checks, contract)
    again = weigh(again, history, setting.test.workload.reads, {})
    assert again.outcome is verdict.outcome is Outcome.INVALID
    assert again.findings == verdict.findings and again.findings[0].key == 3
    assert again.stats["coverage"] == verdict.stats["coverage"]
    assert again.stats["system"] == verdict.stats["system"]
    assert setting.folder.path.joinpath("history.columns").exists()


def test_the_main_phase_lasts_as_long_as_it_should_at_its_rate(tmp_path: Path) -> None:
    setting = Setting(tmp_path, time_limit_s=20.0, rate=100.0)
    setting.execute()
    found = coverage(setting.history)
    (main,) = [phase for phase in found.phases if phase.name == "main"]
    assert 19.8e9 < main.end - main.begin < 20.2e9
    count = sum(sum(kinds.values()) for kinds in found.operations["main"].values())
    assert 1850 < count < 2150


def test_workers_are_spread_over_client_hosts_and_nodes(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.execute()
    assert {op.node for op in setting.history if op.node} == {"n1", "n2", "n3"}


def test_numbers_of_the_system_are_in_the_history_and_the_verdict(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])), FinalRead())
    verdict = setting.execute()
    assert verdict.stats["system"]["elections"] > 0
    assert coverage(setting.history).system == verdict.stats["system"]
    assert verdict.stats["abandoned threads"] == 0 and verdict.stats["problems"] == []


def test_faults_are_journaled_with_what_their_targets_were(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", "leader")))
    setting.execute()
    (spell,) = spells(setting.history)
    assert (spell.kind, spell.node, spell.roles) == ("kill", "n1", ("leader",))


# -- healing --------------------------------------------------------------------------------------


def test_healing_undoes_what_the_nemesis_forgets(tmp_path: Path) -> None:
    broken = killing(Call("kill", ["n1"]), Call("pause", ["n2"]), Call("cut"))
    setting = Setting(tmp_path, broken, FinalRead())
    assert setting.execute().outcome is Outcome.VALID
    assert setting.cluster.did[-3:] == ["resume n2", "heal", "start_node n1"]
    assert phases(setting.history) == COMPLETE
    assert all(spell.end < setting.history[-1].time for spell in spells(setting.history))


def test_what_the_nemesis_remembers_is_journaled(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(final=Call("pause", ["n3"])), FinalRead())
    setting.execute()
    assert [op.f for op in setting.history if op.process == NEMESIS and op.f == "pause"]
    assert setting.cluster.did[-2:] == ["resume n3", "heal"], "and undone, if it does harm"


def test_nodes_that_need_each_other_are_started_together(tmp_path: Path) -> None:
    """One that waited for the others would wait for ever, if they were started after it."""
    setting = Setting(tmp_path, killing(Call("kill", ["n1", "n2", "n3"])), FinalRead())
    started: set[str] = set()
    plain = setting.cluster.start_node

    async def start_node(node: str) -> Any:
        started.add(node)
        while started < set(setting.cluster.nodes):
            await asyncio.sleep(0.1)
        return await plain(node)

    setting.cluster.start_node = start_node  # type: ignore[method-assign]
    assert setting.execute().outcome is Outcome.VALID


# -- final reads ----------------------------------------------------------------------------------


def test_final_reads_see_their_phase_and_say_what_is_stuck(tmp_path: Path) -> None:
    final = FinalRead(missing=["key 3: read up to 4 of 7"])
    setting = Setting(tmp_path, None, final)
    setting.execute()
    assert [op.f for op in final.seen] == ["read", "read"]
    (mark,) = [
        op.extra
        for op, _ in operations(setting.history)
        if op.value == "final-reads" and (op.extra or {}).get("at") == "end"
    ]
    assert mark == {"at": "end", "complete": False, "stuck": ["key 3: read up to 4 of 7"]}


# -- crashes --------------------------------------------------------------------------------------


def test_a_crash_is_journaled_once_with_the_time_at_which_it_happened(tmp_path: Path) -> None:
    setting = Setting(tmp_path, None, FinalRead())
    setting.at("main", 1.05, lambda: setting.cluster.crash("n2"))
    setting.execute()
    (crash,) = [op for op, _ in operations(setting.history) if op.f == "crash"]
    assert crash.value["node"] == "n2" and crash.value["log"] == "Traceback"
    assert 1.0e9 < crash.value["time_ns"] < 1.1e9 <= crash.time < 1.5e9
    assert "start_node n2" in setting.cluster.did, "it is healed like a killed one"


def test_a_crash_at_the_very_end_is_not_missed(tmp_path: Path) -> None:
    setting = Setting(tmp_path, None, FinalRead())
    setting.at("final-reads", 0.0, lambda: setting.cluster.crash("n3"))
    setting.execute()
    assert [op.value["node"] for op, _ in operations(setting.history) if op.f == "crash"] == ["n3"]


# -- interrupts -----------------------------------------------------------------------------------


def interrupted(tmp_path: Path, phase: str, seconds: float, **more: Any) -> Setting:
    final = FinalRead(endless=phase == "final-reads")
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])), final, time_limit_s=60.0, **more)
    if phase not in ("main", "start", "set-up"):
        object.__setattr__(setting.test, "time_limit_s", 3.0)
    setting.at(phase, seconds, lambda: setting.run.interrupt("SIGINT"))
    return setting


def test_an_interrupt_before_anything_is_recorded_ends_at_once(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "start", 0.5)
    setting.cluster.hangs = {"start"}
    verdict = setting.execute()
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.doubts == ("the run was interrupted (SIGINT) before anything was recorded",)
    assert setting.cluster.stopped == 1 and not setting.folder.history.exists()


def test_an_interrupt_during_set_up_ends_at_once(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "set-up", 0.5)
    setting.world.set_up_hangs = True
    assert setting.execute().outcome is Outcome.UNKNOWN
    assert setting.cluster.stopped == 1 and setting.world.open_clients == 0


def test_an_interrupt_in_the_main_phase_heals_and_judges_what_there_is(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "main", 2)
    verdict = setting.execute()
    assert phases(setting.history) == [*COMPLETE[:1], ("main", False), *COMPLETE[2:4]]
    assert setting.cluster.did[-1] == "start_node n1", "healed"
    assert verdict.outcome is Outcome.UNKNOWN
    assert "the run was interrupted (SIGINT)" in verdict.doubts
    again = weigh(judge(setting.history, {}, Contract("derived")), setting.history, frozenset(), {})
    assert again.doubts == ("the phase main did not complete",)


def test_what_is_invalid_already_stays_so_when_interrupted(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "main", 5)
    setting.world.loses = set(range(1000))
    assert setting.execute().outcome is Outcome.INVALID


def test_an_interrupt_while_healing_heals_to_the_end(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "heal", 0)
    setting.execute()
    assert phases(setting.history) == COMPLETE[:4]
    assert setting.cluster.did[-1] == "start_node n1"


def test_an_interrupt_in_the_final_reads_ends_them_incomplete(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "final-reads", 5)
    assert setting.execute().outcome is Outcome.UNKNOWN
    assert phases(setting.history)[-1] == ("final-reads", False)


def test_a_second_interrupt_ends_everything_and_still_judges(tmp_path: Path) -> None:
    setting = interrupted(tmp_path, "heal", 1)
    setting.cluster.hangs = {"heal"}
    setting.watcher.on_phase["main"] = lambda: setting.run.interrupt("SIGINT")
    verdict = setting.execute()
    assert verdict.outcome is Outcome.UNKNOWN and setting.cluster.stopped == 1
    assert phases(setting.history)[-1] == ("heal", False)
    assert setting.world.open_clients == 0


def test_being_cancelled_by_others_is_no_interrupt(tmp_path: Path) -> None:
    setting = Setting(tmp_path)

    async def main() -> None:
        body = asyncio.create_task(setting.run.execute())
        await asyncio.sleep(1)
        body.cancel()
        with pytest.raises(asyncio.CancelledError):
            await body

    virtually(main())
    assert setting.cluster.stopped == 1


# -- failures -------------------------------------------------------------------------------------


def test_a_cluster_that_does_not_start_is_a_failure_and_is_stopped(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.cluster.fails = {"start": EnvironmentFailure("n1 was not ready")}
    with pytest.raises(EnvironmentFailure, match="n1 was not ready"):
        virtually(setting.run.execute())
    assert setting.cluster.stopped == 1 and not setting.folder.history.exists()


def test_a_set_up_that_failed_is_tried_again_with_a_fresh_client(tmp_path: Path) -> None:
    setting = Setting(tmp_path, None, FinalRead())
    setting.world.set_up_fails = ConnectionError("the leader is not known yet")

    def known() -> None:
        setting.world.set_up_fails = None

    setting.at("set-up", 3, known)
    assert setting.execute().outcome is Outcome.VALID
    assert setting.world.set_ups == 3 and setting.world.open_clients == 0


def test_a_set_up_that_fails_says_where_the_logs_are(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.world.set_up_fails = ValueError("no such topic")
    with pytest.raises(
        EnvironmentFailure, match=r"ValueError: no such topic; .*logs are in .*nodes"
    ):
        virtually(setting.run.execute())
    assert setting.cluster.stopped == 1 and setting.world.open_clients == 0


def test_nodes_that_never_get_ready_again_are_a_failure_with_a_verdict(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])), FinalRead())
    setting.at("heal", 0, lambda: setattr(setting.system, "never_ready", True))
    verdict = setting.execute()
    assert setting.run.failure is not None and "every node to be ready" in str(setting.run.failure)
    assert verdict.outcome is Outcome.UNKNOWN
    assert any(doubt.startswith("the run failed: waited 60 s") for doubt in verdict.doubts)
    assert phases(setting.history)[-1] == ("heal", False)
    assert setting.cluster.stopped == 1


def test_a_node_that_cannot_be_started_again_is_a_failure(tmp_path: Path) -> None:
    setting = Setting(tmp_path, killing(Call("kill", ["n1"])))
    setting.cluster.fails = {"start_node": EnvironmentFailure("n1 ended before it was ready")}
    setting.execute()
    assert str(setting.run.failure) == "n1 ended before it was ready"


def test_a_full_disk_is_a_failure_that_leaves_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, None, FinalRead())
    write, room = os.write, [4000]

    def full(fd: int, data: bytes) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    setting.at("main", 0, lambda: monkeypatch.setattr(os, "write", full))
    virtually(setting.run.execute())
    monkeypatch.undo()
    assert "No space left on device" in str(setting.run.failure)
    assert setting.cluster.stopped == 1 and setting.world.open_clients == 0
    assert len(setting.history) > 10 and setting.run.judge().outcome is Outcome.UNKNOWN


def test_a_fault_that_the_cluster_cannot_do_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    package = Package("gremlins", killing().nemesis, needs=frozenset({Ability.SKEW, Ability.KILL}))
    with pytest.raises(
        UsageError, match="the fake cluster cannot do skew, which --nemesis gremlin"
    ):
        Setting(tmp_path, package)


# -- the rest -------------------------------------------------------------------------------------


def test_nodes_are_left_running_until_they_are_stopped(tmp_path: Path) -> None:
    setting = Setting(tmp_path, None, FinalRead(), leave_running=True)

    async def main() -> int:
        await setting.run.execute()
        assert setting.cluster.states["n1"] is NodeState.RUNNING
        before = setting.cluster.stopped
        await setting.run.stop()
        return before

    assert virtually(main()) == 0 and setting.cluster.stopped == 1


def test_a_run_that_failed_leaves_nothing_running(tmp_path: Path) -> None:
    setting = Setting(tmp_path, leave_running=True)
    setting.cluster.fails = {"heal": EnvironmentFailure("no proxy")}
    setting.execute()
    assert setting.cluster.stopped == 1


def test_a_run_in_which_nothing_was_acknowledged_is_unknown(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.world.lost_answers = True
    verdict = setting.execute()
    assert "no operation was acknowledged: the run says nothing of the system" in verdict.doubts
    assert verdict.outcome is Outcome.UNKNOWN


def test_a_seed_decides_which_operations_come(tmp_path: Path) -> None:
    def asked(seed: int) -> list[tuple[str, Any]]:
        setting = Setting(tmp_path, seed=seed)
        setting.execute()
        return [(op.f, op.value) for op in setting.history if op.type == "invoke"][:100]

    assert asked(1) == asked(1) != asked(2)


SCRIPT = """
import asyncio, sys, time
from pathlib import Path
from harness.guarantees import Contract
from harness.generator import Call
from harness.run import Run, Test
from harness.store import RunFolder
from tests.fakes import FakeCluster, FakeSystem, FinalRead, World, killing, set_workload
from tests.test_run import Watcher

cluster = FakeCluster(time.monotonic_ns)
test = Test(set_workload(World(cluster), FinalRead()), FakeSystem(),
            killing(*[Call("kill", ["n1"])] * 9, every_s=0.05), lambda folder: cluster,
            Contract("derived"), 7, concurrency=4, rate=2000.0, time_limit_s=60)
asyncio.run(Run(test, RunFolder(Path(sys.argv[1])), Watcher()).execute())
"""


@pytest.mark.parametrize("events", [1, 40, 900])
def test_a_harness_that_is_killed_leaves_a_history_that_can_be_checked(
    tmp_path: Path, events: int
) -> None:
    history = tmp_path / "history.jsonl"
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)])
    try:
        while not history.exists() or history.read_bytes().count(b"\n") < events:
            assert child.poll() is None, "it ended by itself"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    found = History.load(history)
    found._check()
    assert len(found) >= events
    verdict = weigh(Verdict.of(), found, frozenset({"read"}), {})
    assert (
        verdict.outcome is Outcome.UNKNOWN and "the phase main did not complete" in verdict.doubts
    )
    assert json.loads((tmp_path / "test.json").read_text())["contract"]["mode"] == "derived"
