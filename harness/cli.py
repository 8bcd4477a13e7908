"""The command line: the one place that knows every name, composes a test and exits.

Exit status: 0 valid, 1 invalid, 2 wrong usage, 3 unknown, 4 the harness or its environment failed.
Of several runs: 4 if any could not run, else 1 over 3 over 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness import catalog, doctor, judging, launch
from harness.arguments import positive
from harness.bench.command import bench_command
from harness.errors import AssayError, UsageError
from harness.explore.command import explore_command, seed_range
from harness.explore.replay import ANY, replay_command
from harness.explore.shrinking import shrink_command
from harness.jury import TIME_S
from harness.limits import size
from harness.report import write_report
from harness.sim.process import begin_again, hashes_alike, require_assertions
from harness.store import RunFolder
from harness.suite.command import suite_command

EXIT_USAGE, EXIT_UNKNOWN, EXIT_FAILED = 2, 3, 4
UNLIKE = (
    "assay: warning: this kernel refuses personality(ADDR_NO_RANDOMIZE), as in a container with "
    "Docker's default seccomp profile: a seed may give another history the next time; use Python "
    "3.12 or newer, or allow it"
)


class _Parser(argparse.ArgumentParser):
    """argparse with exit status 2 and our way of saying what to do."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"assay: {message}\n  try: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Console script `assay`."""
    arguments = parser().parse_args(argv)
    if argv is None and getattr(arguments, "cluster", None) == "sim":  # explore, too
        begin_again()
        if not hashes_alike():
            print(UNLIKE, file=sys.stderr)
    try:
        require_assertions()
        status: int = arguments.command(arguments)
        sys.stdout.flush()
    except UsageError as error:
        print(f"assay: {error}", file=sys.stderr)
        return EXIT_USAGE
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # Whoever read us has gone; there is nobody to tell, and nothing to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_UNKNOWN
    except Exception:
        # Python would end with 1, which means that the system under test broke its promise.
        traceback.print_exc()
        print("assay: this is a bug of ours; what was recorded can be checked", file=sys.stderr)
        return EXIT_FAILED
    return status


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="assay", description=(__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _run_parser(commands.add_parser("run", help="run a workload on a cluster under faults"))
    _explore_parser(commands.add_parser("explore", help="many short simulated runs, by seeds"))
    _replay_parser(commands.add_parser("replay", help="repeat a stored run; is it the same?"))
    _shrink_parser(
        commands.add_parser("shrink", help="the smallest simulated run that still fails")
    )
    _suite_parser(
        commands.add_parser("suite", help="run the jobs of a file, and what they promise")
    )
    _check_parser(commands.add_parser("check", help="judge a recorded history again"))
    _up_parser(commands.add_parser("up", help="just run a cluster, until Ctrl-C"))
    _list_parser(commands.add_parser("list", help="what there is to choose from"))
    _report_parser(commands.add_parser("report", help="write a run's HTML report again"))
    _doctor_parser(commands.add_parser("doctor", help="what this machine can do; clean up"))
    _bench_parser(commands.add_parser("bench", help="how fast histories are judged, as a page"))
    return top


def _run_parser(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "workload", metavar="WORKLOAD", help="a name (assay list workloads) or FILE:NAME"
    )
    run.add_argument("--system", default="broker", help="a name or FILE:NAME (default: broker)")
    run.add_argument("--cluster", default="local", choices=("sim", "local", "docker"))
    run.add_argument("--nodes", type=positive(int), default=3)
    run.add_argument(
        "--nemesis",
        default="none",
        help="names joined by commas; targets after a colon: kill:leader,partition:bridge|halves",
    )
    run.add_argument("--nemesis-interval", type=positive(float), default=4.0, metavar="S")
    run.add_argument("--time-limit", type=positive(float), default=30.0, metavar="S")
    run.add_argument("--rate", type=positive(float), default=200.0, help="operations a second")
    run.add_argument("--concurrency", default="2n", help="processes; 2n is twice the nodes")
    run.add_argument("--client", metavar="LIBRARY", help="client library (default: the system's)")
    run.add_argument("--seed", type=int)
    run.add_argument("--bug", help="plant this bug in the nodes (assay list bugs)")
    run.add_argument("--test-count", type=positive(int), default=1)
    run.add_argument("--contract", choices=("derived", "strict"), default="derived")
    run.add_argument(
        "--disk", choices=("real", "volatile"), help="default: volatile if the nemesis needs it"
    )
    _checker(run)
    run.add_argument(
        "--liveness",
        type=positive(float),
        metavar="S",
        help="after healing, everybody must get something done within S seconds",
    )
    _beyond(run)
    run.add_argument(
        "--tape", type=Path, metavar="FILE", help="play this instead of workload and faults"
    )
    run.add_argument("--leave-running", action="store_true", help="leave the nodes until Ctrl-C")
    run.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    _option(run)
    _json(run)
    run.set_defaults(command=launch.run_command)


def _explore_parser(explore: argparse.ArgumentParser) -> None:
    explore.add_argument("workload", nargs="?", metavar="WORKLOAD", help="default: log")
    explore.add_argument("--system", default="broker", help="a name or FILE:NAME (default: broker)")
    explore.add_argument(
        "--seeds", type=seed_range, default=range(100), metavar="A:B", help="default: 0:100"
    )
    explore.add_argument("--jobs", type=positive(int), default=1, metavar="N", help="processes")
    explore.add_argument(
        "--scheduler", metavar="ADDRESS", help="send the seeds to this dask cluster instead"
    )
    explore.add_argument(
        "--fixed",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="do not draw this: a flag of run (nemesis, nodes, …) or an option",
    )
    explore.add_argument("--bug", help="plant this bug in the nodes (assay list bugs)")
    _beyond(explore)
    explore.add_argument("--until-failure", action="store_true", help="stop at the first finding")
    explore.add_argument(
        "--until",
        metavar="NAME,…",
        help="stop at the first finding of one of these names; any is every one",
    )
    explore.add_argument(
        "--shrink",
        type=positive(float),
        metavar="S",
        help="of --bug all: shrink what is found, for S seconds at most",
    )
    explore.add_argument("--time-limit", type=positive(float), default=10.0, metavar="S")
    explore.add_argument("--rate", type=positive(float), default=50.0, help="operations a second")
    explore.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    _json(explore)
    explore.set_defaults(command=explore_command, cluster="sim")


def _replay_parser(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    replay.add_argument(
        "--until", type=int, metavar="OP", help="stop at this operation, and show the nodes"
    )
    replay.add_argument(
        "--diagram",
        type=int,
        nargs="?",
        const=ANY,
        metavar="OP",
        help="draw the messages around this operation, or around the first finding",
    )
    replay.add_argument("--results", type=Path, metavar="DIR", help="default: beside RUN")
    _json(replay)
    replay.set_defaults(command=replay_command, cluster="sim")


def _shrink_parser(shrink: argparse.ArgumentParser) -> None:
    shrink.add_argument("run", type=Path, metavar="RUN", help="the folder of a simulated run")
    shrink.add_argument("--anomaly", metavar="NAME", help="what it must still show")
    shrink.add_argument("--budget", type=positive(float), default=300.0, metavar="S")
    shrink.add_argument("--results", type=Path, metavar="DIR", help="default: beside RUN")
    _json(shrink)
    shrink.set_defaults(command=shrink_command, cluster="sim")


def _suite_parser(suite: argparse.ArgumentParser) -> None:
    suite.add_argument("file", type=Path, metavar="FILE", help="a TOML file, as suites/zoo.toml")
    suite.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="the jobs of this name, or that match it as in bugs/*; may be given several times",
    )
    suite.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    _json(suite)
    suite.set_defaults(command=suite_command)


def _check_parser(check: argparse.ArgumentParser) -> None:
    check.add_argument(
        "file", type=Path, metavar="FILE", help="history.jsonl, .edn or a run folder"
    )
    check.add_argument("--workload", help="how to read it; a run folder knows its own")
    check.add_argument("--contract", choices=("derived", "strict"))
    _checker(check)
    check.add_argument("--witness", action="store_true", help="print each witness' operations")
    check.add_argument("--report", type=Path, metavar="FILE.html", help="write it as a page, too")
    _option(check)
    _json(check)
    check.set_defaults(command=judging.check_command)


def _up_parser(up: argparse.ArgumentParser) -> None:
    up.add_argument("system", metavar="SYSTEM")
    up.add_argument("--nodes", type=positive(int), default=3)
    up.add_argument("--cluster", default="local", choices=("local", "docker"))
    up.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    _option(up)
    up.set_defaults(command=launch.up_command)


def _list_parser(lists: argparse.ArgumentParser) -> None:
    lists.add_argument("kind", choices=tuple(catalog.OWN))
    _json(lists)
    lists.set_defaults(command=_list)


def _report_parser(report: argparse.ArgumentParser) -> None:
    report.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    report.set_defaults(command=_report)


def _doctor_parser(doc: argparse.ArgumentParser) -> None:
    doc.add_argument(
        "--clean", action="store_true", help="remove what a killed harness left behind"
    )
    _json(doc)
    doc.set_defaults(command=doctor.doctor_command)


def _bench_parser(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("what", choices=("checkers",))
    bench.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="this one; may be given again"
    )
    bench.add_argument(
        "--operations", type=positive(int), metavar="N", help="histories of at most N operations"
    )
    bench.add_argument("--no-peers", action="store_true", help="do not build and ask Porcupine")
    bench.set_defaults(command=bench_command)


def _beyond(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--beyond-contract",
        action="store_true",
        help="let faults take more disks than the options of the run can bear",
    )


def _option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        dest="options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the workload; a key with a dot is one of the nodes",
    )


def _checker(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checker",
        dest="checkers",
        action="append",
        default=[],
        metavar="NAME",
        help="judge by this checker, too: a name (assay list checkers) or FILE:NAME",
    )
    command.add_argument(
        "--checker-memory",
        type=size,
        metavar="SIZE",
        help="what each checker may take, as in 4G (default: its share of what is available)",
    )
    command.add_argument(
        "--checker-time",
        type=positive(float),
        default=TIME_S,
        metavar="S",
        help=f"how long each checker may take (default: {TIME_S:g})",
    )


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="only JSON on standard output")


def _list(arguments: argparse.Namespace) -> int:
    found = catalog.describe(arguments.kind)
    if arguments.json:
        print(json.dumps(found))
    else:
        width = max((len(each["name"]) for each in found), default=0)
        for each in found:
            print(f"{each['name']:<{width}}  {each['about']}".rstrip())
    return 0


def _report(arguments: argparse.Namespace) -> int:
    folder = RunFolder.find(arguments.run)
    print(write_report(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
