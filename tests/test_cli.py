"""The command line: what it prints, and how it exits.

Runs go to a cluster in memory, with a workload, a nemesis and a system of a third party.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import arguments, catalog, cli, launch
from harness.errors import EnvironmentFailure
from harness.history import History
from harness.store import RunFolder
from tests import acme
from tests.fakes import FakeCluster, clusters
from tests.golden import FOLDER

LOST, VALID, TORN = (FOLDER / f"log-{name}.jsonl" for name in ("lost-write", "valid", "torn"))
FILE = Path(acme.__file__)

Assay = Callable[..., int]


@pytest.fixture
def assay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assay:
    """Runs a command in an empty folder; its exit status."""
    acme.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)

    def make_cluster(*_: Any, **__: Any) -> FakeCluster:
        clusters.append(FakeCluster(time.monotonic_ns))
        return clusters[-1]

    monkeypatch.setattr(arguments, "make_cluster", make_cluster)
    monkeypatch.setattr(launch, "make_cluster", make_cluster)

    def run(*words: object) -> int:
        try:
            return cli.main([str(word) for word in words])
        except SystemExit as end:
            assert isinstance(end.code, int)
            return end.code

    return run


RUN = ("run", "acme-set", "--system", "acme-db", "--time-limit", "0.3", "--rate", "100")


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


# -- run ------------------------------------------------------------------------------------------


def test_a_valid_run_exits_0_and_says_so_first(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(*RUN, "--seed", 5) == 0
    out, err = printed(capsys)
    assert out.startswith("VALID  acme-set / none / local, seed 5\n")
    assert [line.strip() for line in err.splitlines()] == [
        *("start", "set-up", "main", "heal", "final-reads", "stop", "check"),
    ]


def test_an_invalid_run_exits_1_and_repeats_with_the_command_it_prints(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*RUN, "--seed", 5, "-o", "loses=2", "--checker", "acme-even")
    assert assay(*words) == 1
    out, _ = printed(capsys)
    assert "lost-add: 1" in out and "2 is gone" in out and "odd" in out
    command = re.search(r"repeat: +assay (.*)", out)
    assert command is not None
    assert assay(*command[1].split(), "--json") == 1
    assert json.loads(printed(capsys)[0])["anomalies"]["lost-add"]["count"] == 1


def test_json_is_all_that_stands_on_standard_output(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(*RUN, "--json", "-o", "loses=2") == 1
    out, err = printed(capsys)
    shape = json.loads(out)
    assert set(shape) >= {"valid", "anomalies", "allowed", "checkers", "stats", "run"}
    assert shape["valid"] is False and shape["allowed"] == {}
    lost = shape["anomalies"]["lost-add"]
    assert lost["count"] == 1 and lost["examples"][0]["claim"] == "2 is gone"
    assert set(shape["checkers"]) == {"set", "crash", "faults", "quorum"}
    assert shape["checkers"]["crash"]["valid"] is True
    assert Path(shape["run"]).is_dir() and err == ""
    assert json.loads(Path(shape["run"], "verdict.json").read_text()) == shape


def test_a_run_folder_holds_what_it_should(assay: Assay, tmp_path: Path) -> None:
    assert assay(*RUN, "--results", "elsewhere") == 0
    (run,) = [p for p in (tmp_path / "elsewhere" / "acme-set").iterdir() if not p.is_symlink()]
    assert {path.name for path in run.iterdir()} == {
        *("test.json", "history.jsonl", "history.columns"),
        *("verdict.json", "report.html", "junit.xml"),
    }
    assert (tmp_path / "elsewhere" / "acme-set" / "latest").resolve() == run.resolve()
    index = (tmp_path / "elsewhere" / "index.html").read_text()
    assert f'href="acme-set/{run.name}/report.html"' in index
    test = json.loads((run / "test.json").read_text())
    assert test["options"]["system"] == "acme-db" and test["workload options"]["loses"] is None
    assert test["command"].startswith("assay run acme-set --system acme-db")
    assert test["versions"]["python"] and isinstance(test["seed"], int)
    assert test["contract"]["mode"] == "derived"


def test_an_unknown_run_exits_3_with_the_doubt(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(*RUN, "--checker", "acme-crash") == 3
    out, _ = printed(capsys)
    assert out.startswith("UNKNOWN") and "RuntimeError: not today" in out


def test_several_runs_have_seeds_of_their_own_and_the_worst_status(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(*RUN, "--test-count", 3, "--seed", 40, "--json") == 0
    shapes = json.loads(printed(capsys)[0])
    runs = [Path(shape["run"]) for shape in shapes]
    assert [json.loads((r / "test.json").read_text())["seed"] for r in runs] == [40, 41, 42]
    assert assay(*RUN, "--test-count", 2, "-o", "loses=1") == 1
    assert printed(capsys)[0].endswith("2 runs: 2 invalid\n")


def test_a_run_that_could_not_be_exits_4_and_the_next_one_is_tried(
    assay: Assay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = arguments.make_cluster
    calls: list[int] = []

    def flaky(*given: Any, **more: Any) -> Any:
        cluster = made(*given, **more)
        calls.append(1)
        if len(calls) <= 2:  # one to be asked what it can, one to be started
            cluster.fails = {"start": EnvironmentFailure("n1 was not ready after 30 s")}
        return cluster

    monkeypatch.setattr(arguments, "make_cluster", flaky)
    assert assay(*RUN, "--test-count", 2, "--json") == 4
    out, err = printed(capsys)
    failed, fine = json.loads(out)
    assert failed["valid"] == "unknown" and failed["run"] is None
    assert failed["doubts"] == ["the run failed: n1 was not ready after 30 s"]
    assert fine["valid"] is True and "assay: n1 was not ready after 30 s" in err


async def proxy_is_gone(*_: Any) -> None:
    raise EnvironmentFailure("the proxy is gone")


def test_a_failure_after_something_was_recorded_exits_4_with_a_report(
    assay: Assay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCluster, "heal", proxy_is_gone)
    assert assay(*RUN) == 4
    out, err = printed(capsys)
    assert out.startswith("UNKNOWN") and "the run failed: the proxy is gone" in out
    assert "assay: the proxy is gone" in err
    assert RunFolder.find(Path("results/acme-set/latest")).report.exists()


def test_anomalies_count_more_than_a_failure(
    assay: Assay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCluster, "heal", proxy_is_gone)
    assert assay(*RUN, "--checker", "acme-even") == 1


def test_a_bug_of_ours_is_not_taken_for_one_of_the_systems(
    assay: Assay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would exit with 1: invalid."""

    def broken(*_: Any) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(launch, "store_verdict", broken)
    assert assay(*RUN) == 4
    assert "this is a bug of ours" in printed(capsys)[1]


def test_a_full_disk_exits_4_and_says_what_to_do(
    assay: Assay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunFolder, name: str, text: str) -> None:
        if name == "verdict.json":
            raise EnvironmentFailure(f"cannot write {name}: No space left on device; make room")
        original(self, name, text)

    original = RunFolder.save_text
    monkeypatch.setattr(RunFolder, "save_text", full)
    assert assay(*RUN) == 4
    assert "No space left on device; make room" in printed(capsys)[1]


# -- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "arguments are required: WORKLOAD"),
        (["run", "nothing"], "'nothing' is none of the workloads: log, acme-set"),
        ([*RUN, "--nemesis", "bees"], "'bees' is none of the nemeses: none, kill"),
        ([*RUN, "--nemesis", ""], "'' is none of the nemeses"),
        ([*RUN, "--nemesis", "kill:somebody"], "'somebody' is neither a target nor a node"),
        ([*RUN, "--nemesis", "acme-skew"], "the fake cluster cannot do skew"),
        ([*RUN, "--system", "abacus"], "'abacus' is none of the systems: broker"),
        (["run", "log", "--client", "carrier-pigeon"], "'carrier-pigeon' is no client library"),
        ([*RUN, "--checker", "taste"], "'taste' is none of the checkers: log"),
        ([*RUN, "-o", "colour=red"], "unknown field `colour`; known options: loses=None"),
        ([*RUN, "-o", "loses=some"], "option not understood"),
        ([*RUN, "-o", "loses"], "-o loses is not KEY=VALUE, as in -o acks=1"),
        ([*RUN, "--nodes", "0"], "argument --nodes: 0 is not greater than 0"),
        ([*RUN, "--rate", "nan"], "nan is not greater than 0"),
        ([*RUN, "--rate", "fast"], "invalid float value: 'fast'"),
        ([*RUN, "--concurrency", "n2"], "--concurrency n2 is neither a number nor a multiple"),
        ([*RUN, "--contract", "lenient"], "invalid choice: 'lenient'"),
        ([*RUN, "--bug", "K26"], "'K26' is none of the bugs"),
        (["run", "log", "-o", "acks=2"], "acks=2 is not one of 0, 1, all"),
        (["check", "nowhere"], "nowhere does not exist"),
        (["check", VALID], "does not say what it is; give --workload, as in --workload log"),
        (["check", VALID, "--workload", "chess"], "'chess' is none of the workloads"),
        (["check", VALID, "--workload", "log", "-o", "acks=9"], "acks=9: expected one of 0, 1"),
        (["check", VALID, "--workload", "log", "-o", "x=1"], "no promise of log depends on it"),
        (["check", ".", "--workload", "log"], "it has no history.jsonl"),
        (["check", FILE, "--workload", "log"], "__init__.py:1: "),
        (["report", "."], "it has no history.jsonl"),
        (["report", "nowhere"], "nowhere is no run folder"),
        (["up", "abacus"], "'abacus' is none of the systems"),
        (["up", "acme-db", "-o", "acks=1"], "-o acks: options of nodes have a dot in them"),
        (["list", "planets"], "invalid choice: 'planets'"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(
    assay: Assay, capsys: pytest.CaptureFixture[str], words: list[object], complaint: str
) -> None:
    assert assay(*words) == 2
    out, err = printed(capsys)
    assert complaint in err and err.startswith("assay: ") and out == ""
    assert "Traceback" not in err
    assert not Path("results").exists(), "nothing was begun"


def test_results_that_cannot_be_written_exit_4(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert assay(*RUN, "--results", "file") == 4
    assert "give another folder with --results" in printed(capsys)[1]


# -- check ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "status"), [(VALID, 0), (LOST, 1), (TORN, 3)])
def test_a_history_is_checked(
    assay: Assay, capsys: pytest.CaptureFixture[str], path: Path, status: int
) -> None:
    assert assay("check", path, "--workload", "log") == status
    assert printed(capsys)[0].split()[0] == {0: "VALID", 1: "INVALID", 3: "UNKNOWN"}[status]
    assert assay("check", path, "--workload", "log", "--json") == status
    shape = json.loads(printed(capsys)[0])
    names = {*catalog.find("workloads", "log").CHECKS, *arguments.ALWAYS}
    assert shape["run"] == str(path) and set(shape["checkers"]) == names


def test_a_witness_is_shown_as_a_timeline(assay: Assay, capsys: pytest.CaptureFixture[str]) -> None:
    assert assay("check", LOST, "--workload", "log", "--witness") == 1
    out, _ = printed(capsys)
    assert re.search(r"^c0: +\|-2- send", out, re.MULTILINE), out


@pytest.mark.parametrize("options", [(), ("-o", "loses=2")])
def test_checking_a_stored_run_repeats_its_verdict(
    assay: Assay, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    status = assay(*RUN, "--json", "--checker", "acme-even", *options)
    first = json.loads(printed(capsys)[0])
    latest = Path("results/acme-set/latest")
    for path in (first["run"], latest, latest / "history.jsonl"):
        assert assay("check", path, "--json") == status
        again = json.loads(printed(capsys)[0])
        for part in ("valid", "anomalies", "allowed", "checkers", "doubts"):
            assert again[part] == first[part]
    Path(first["run"], "test.json").unlink()
    assert assay("check", latest, "--workload", "acme-set", "--json") in (0, 1)


def test_a_history_can_be_judged_by_a_checker_alone(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(*RUN) == 0
    run = Path("results/acme-set/latest")
    bare = run.parent / "bare.jsonl"
    bare.write_bytes((run / "history.jsonl").read_bytes())
    printed(capsys)
    assert assay("check", bare, "--checker", f"{FILE}:check_even") == 1
    assert "is odd" in printed(capsys)[0]


def test_the_contract_of_a_stored_run_may_be_overruled(
    assay: Assay, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path, "log")
    (folder.path / "history.jsonl").write_bytes(LOST.read_bytes())
    promises = {"acks": "1", "idempotence": False, "unclean": False}
    folder.save(
        "test.json", {"workload": "log", "contract": {"mode": "derived", "promises": promises}}
    )
    assert assay("check", folder.path) == 1, "a write lost with acks=1 and without a fault"
    kill = {"time": 0, "type": "info", "process": "nemesis", "f": "kill", "value": ["n1"]}
    lines = [json.loads(line) for line in LOST.read_text().splitlines()]
    told = [{**each, "index": index} for index, each in enumerate([kill, kill, *lines])]
    (folder.path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in told))
    printed(capsys)
    assert assay("check", folder.path) == 0
    assert "allowed: lost-write" in printed(capsys)[0]
    assert assay("check", folder.path, "--contract", "strict") == 1
    assert assay("check", folder.path, "-o", "acks=all") == 1


# -- list, report, doctor, up ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", catalog.OWN)
def test_what_there_is_can_be_listed(
    assay: Assay, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert assay("list", kind, "--json") == 0
    shown = json.loads(printed(capsys)[0])
    assert [each["name"] for each in shown] == catalog.names(kind)
    assert assay("list", kind) == 0
    lines = printed(capsys)[0].splitlines()
    assert [line.split()[0] for line in lines] == [each["name"] for each in shown]


def test_a_report_is_written_again(assay: Assay, capsys: pytest.CaptureFixture[str]) -> None:
    assert assay(*RUN) == 0
    report = RunFolder.find(Path("results/acme-set/latest")).report
    report.unlink()
    printed(capsys)
    assert assay("report", "results/acme-set/latest") == 0
    assert printed(capsys)[0].strip() == str(report) and report.stat().st_size > 1000


def test_the_doctor_says_what_there_is(assay: Assay, capsys: pytest.CaptureFixture[str]) -> None:
    assert assay("doctor", "--json") in (0, 4)
    checks = json.loads(printed(capsys)[0])["checks"]
    assert {"python", "docker"} <= {check["name"] for check in checks}
    assert assay("doctor") in (0, 4)
    assert "python" in printed(capsys)[0]


def test_help_is_no_error(assay: Assay, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--help",), *((command, "--help") for command in ("run", "check", "up"))):
        assert assay(*words) == 0
    assert "--nemesis" in printed(capsys)[0]


# -- signals, in a process of its own -------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
from harness import arguments, cli, launch
from tests.fakes import FakeCluster, clusters

def make_cluster(*_, **__):
    clusters.append(FakeCluster(time.monotonic_ns))
    clusters[-1].hangs = set(sys.argv[1].split(","))
    return clusters[-1]

arguments.make_cluster = launch.make_cluster = make_cluster
sys.exit(cli.main(sys.argv[2:]))
"""

CALM = ("run", f"{FILE}:FromFile", "--system", f"{FILE}:System", "--rate", "200")
FROM_FILE = (*CALM, "--nemesis", f"{FILE}:nemesis")


class Child:
    """`assay` in a process of its own; `hangs` are methods of the cluster that never return."""

    def __init__(self, folder: Path, *words: object, hangs: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, hangs, *map(str, words)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.err = ""

    def wait_for(self, line: str) -> None:
        """Until standard error has a line with this text."""
        assert self.process.stderr is not None
        for said in self.process.stderr:
            self.err += said
            if line in said:
                return
        raise AssertionError(f"it ended before it said {line!r}:\n{self.err}")

    def wait_for_events(self, count: int) -> None:
        """Until the history holds so many."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for history in self.folder.glob("results/*/2*/history.jsonl"):
                if history.read_bytes().count(b"\n") >= count:
                    return
            assert self.process.poll() is None, self.err
        raise AssertionError(f"never {count} events")

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def end(self) -> tuple[int, str]:
        """Exit status and standard output."""
        out, err = self.process.communicate(timeout=30)
        self.err += err
        return self.process.returncode, out


def latest(folder: Path) -> History:
    history = History.load(folder / "results" / "acme-set" / "latest")
    history._check()
    return history


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_heals_and_still_gives_a_verdict(tmp_path: Path, signum: signal.Signals) -> None:
    child = Child(tmp_path, *FROM_FILE, "--time-limit", 60, "--json")
    child.wait_for_events(100)
    child.signal(signum)
    status, out = child.end()
    assert status == 3, child.err
    shape = json.loads(out)
    assert shape["valid"] == "unknown"
    assert f"the run was interrupted ({signum.name})" in shape["doubts"]
    marks = [op for op in latest(tmp_path) if op.f == "phase"]
    assert marks[-1].value == "heal" and marks[-1].extra == {"at": "end", "complete": True}


def test_what_is_invalid_already_exits_1_when_interrupted(tmp_path: Path) -> None:
    child = Child(tmp_path, *CALM, "--time-limit", 60, "--json", "-o", "loses=1")
    child.wait_for_events(200)
    child.signal(signal.SIGINT)
    assert child.end()[0] == 1, child.err


def test_a_signal_during_the_final_reads_ends_them(tmp_path: Path) -> None:
    child = Child(tmp_path, *FROM_FILE, "--time-limit", 0.3, "-o", "endless=true")
    child.wait_for("final-reads")
    child.signal(signal.SIGTERM)
    status, out = child.end()
    assert status == 3 and out.startswith("UNKNOWN")


def test_a_second_signal_ends_everything(tmp_path: Path) -> None:
    child = Child(tmp_path, *FROM_FILE, "--time-limit", 60, hangs="heal")
    child.wait_for("main")
    child.wait_for_events(50)
    child.signal(signal.SIGINT)
    child.wait_for("heal")
    child.signal(signal.SIGINT)
    status, out = child.end()
    assert status == 3 and out.startswith("UNKNOWN")
    assert len(latest(tmp_path)) > 50


def test_a_signal_while_the_cluster_starts_exits_3(tmp_path: Path) -> None:
    child = Child(tmp_path, *FROM_FILE, hangs="start")
    child.wait_for("start")
    child.signal(signal.SIGINT)
    status, out = child.end()
    assert status == 3 and "before anything was recorded" in out


def test_an_interrupt_ends_a_series_of_runs(tmp_path: Path) -> None:
    child = Child(tmp_path, *FROM_FILE, "--time-limit", 60, "--test-count", 5, "--json")
    child.wait_for_events(50)
    child.signal(signal.SIGINT)
    status, out = child.end()
    assert status == 3 and len(json.loads(out)) == 1


def test_nodes_are_left_running_until_a_signal_comes(tmp_path: Path) -> None:
    child = Child(tmp_path, *FROM_FILE, "--time-limit", 0.3, "--leave-running")
    child.wait_for("the nodes are left running; Ctrl-C ends them")
    child.signal(signal.SIGINT)
    status, out = child.end()
    assert status == 0 and out.startswith("VALID")


def test_up_prints_addresses_and_runs_until_a_signal_comes(tmp_path: Path) -> None:
    child = Child(tmp_path, "up", f"{FILE}:System")
    assert child.process.stdout is not None
    lines = [child.process.stdout.readline() for _ in range(4)]
    assert lines[0] == "n1  127.0.0.1:0  admin http://127.0.0.1:9000\n"
    assert lines[3] == "Ctrl-C ends it\n"
    child.signal(signal.SIGTERM)
    assert child.end() == (0, "")


def test_up_can_be_interrupted_while_it_starts(tmp_path: Path) -> None:
    child = Child(tmp_path, "up", f"{FILE}:System", hangs="start")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("results/up-acme-db/2*")):
        assert time.monotonic() < deadline and child.process.poll() is None
    child.signal(signal.SIGINT)
    assert child.end()[0] in (0, 3)


def test_a_reader_who_goes_away_is_no_error_of_ours(tmp_path: Path) -> None:
    child = Child(tmp_path, "list", "nemeses")
    assert child.process.stdout is not None
    child.process.stdout.close()
    child.process.stdout = None
    assert child.process.wait(30) in (0, 4)
    assert child.process.stderr is not None and "Traceback" not in child.process.stderr.read()
    child.process.stderr.close()
