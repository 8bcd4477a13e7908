"""The process that owns a cluster's processes: `python -m harness.cluster.supervisor`.

Reads one JSON request a line from standard input and answers on standard output:

    {"id":1,"do":"start","name":"n1","argv":[…],"env":{…},"cwd":"…","log":"…"}   {"id":1,"pid":42}
    {"id":2,"do":"signal","name":"n1","signal":"SIGSTOP"}                        {"id":2,"pid":42}
    {"id":3,"do":"kill","name":"n1"}            {"id":3,"pid":42,"status":-9}, once it is reaped
    {"id":4,"do":"quit"}                        kills all, answers {"id":4}, exits
    signal or kill, when it has ended already   {"id":4,"gone":true}
    any that cannot be done                     {"id":5,"error":"…"}
    at each end, planned or not   {"event":"exit","name":"n1","pid":42,"status":1,"planned":false,
                                   "time_ns":…}

Promise: when the harness dies, SIGKILL included, every process started here is gone soon after,
stopped ones too. Four nets, since each has a hole: the end of standard input (a fork of the harness
may hold the pipe open), a pidfd of the harness, PR_SET_PDEATHSIG on each child for the case that
this process is killed itself, and PR_SET_CHILD_SUBREAPER, by which grandchildren that left their
process group still end up here.

Linux only. Imports the standard library alone and runs one thread: it has to start fast, and
`preexec_fn` is safe in a process without threads only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

# A killed process may need a moment (it writes back, or its memory is large); a process that is
# still there after this is stuck in the kernel, and nobody can do more.
REAP_DEADLINE_S = 5.0


@dataclass(slots=True)
class Child:
    """A process, the head of a group of its own."""

    name: str
    process: subprocess.Popen[bytes]
    pidfd: int
    planned: bool = False  # whether its end is the harness's doing
    killers: list[int] = field(default_factory=list)  # the ids of the requests that wait for it


class Supervisor:
    """Starts, signals and reaps processes by name, at the harness's word."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies
        self.children: dict[str, Child] = {}
        self.selector = selectors.DefaultSelector()
        self.unread = b""
        self.over = False

    def run(self) -> None:
        """Serve until told to quit or until the harness is gone."""
        self.selector.register(self.requests, selectors.EVENT_READ, self._read_requests)
        harness = os.pidfd_open(os.getppid())
        self.selector.register(harness, selectors.EVENT_READ, self._quit)
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(wake, selectors.EVENT_READ, self._quit)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # wakes the selector, no more
        try:
            while not self.over:
                for key, _ in self.selector.select():
                    handle: Callable[[], None] = key.data
                    handle()
        finally:
            self.kill_all()

    # -- requests ----------------------------------------------------------------------------

    def _read_requests(self) -> None:
        data = os.read(self.requests, 1 << 20)
        if not data:
            self._quit()
            return
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                reply = self._obey(request)
            except (OSError, KeyError, subprocess.SubprocessError) as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            if reply is not None:
                self._tell({"id": request["id"], **reply})

    def _obey(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        match request["do"]:
            case "start":
                return self._start(request)
            case "signal" | "kill" if request["name"] not in self.children:
                return {"gone": True}
            case "signal":
                child = self.children[request["name"]]
                os.killpg(child.process.pid, signal.Signals[request["signal"]])
                return {"pid": child.process.pid}
            case "kill":
                child = self.children[request["name"]]
                child.planned = child.planned or not _has_ended(child.pidfd)
                child.killers.append(request["id"])
                _kill_group(child.process.pid)
                return None  # answered when it is reaped
            case "quit":
                self.kill_all()
                self.over = True
                return {}
        return {"error": f"no such request: {request['do']}"}

    def _start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name = request["name"]
        if name in self.children:
            return {"error": f"{name} is running"}
        me = os.getpid()

        def tie_to_me() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:  # this process died before the line above
                os.kill(os.getpid(), signal.SIGKILL)

        with Path(request["log"]).open("ab") as log:
            process = subprocess.Popen(
                request["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=request["cwd"],
                env=request["env"],
                start_new_session=True,
                preexec_fn=tie_to_me,
            )
        child = Child(name, process, os.pidfd_open(process.pid))
        self.children[name] = child
        self.selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        return {"pid": process.pid}

    def _tell(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # the harness is gone: its pidfd says so too
            while data:
                data = data[os.write(self.replies, data) :]

    # -- ends --------------------------------------------------------------------------------

    def _reap(self, child: Child) -> None:
        pid = child.process.pid
        status = child.process.wait()
        _kill_group(pid)  # what it started must not outlive it
        self.selector.unregister(child.pidfd)
        os.close(child.pidfd)
        del self.children[child.name]
        self._tell(
            {
                "event": "exit",
                "name": child.name,
                "pid": pid,
                "status": status,
                "planned": child.planned,
                "time_ns": time.monotonic_ns(),
            }
        )
        for number in child.killers:
            self._tell({"id": number, "pid": pid, "status": status})

    def _quit(self) -> None:
        self.over = True

    def kill_all(self) -> None:
        """SIGKILL all processes, those too that left their group, and reap them."""
        for child in self.children.values():
            _kill_group(child.process.pid)
        deadline = time.monotonic() + REAP_DEADLINE_S
        while time.monotonic() < deadline:
            for pid in _own_children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.001)
            except ChildProcessError:
                break  # nobody is left
        for child in self.children.values():
            child.process.returncode = -signal.SIGKILL  # reaped above, behind Popen's back
        self.children.clear()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _has_ended(pidfd: int) -> bool:
    """Whether the process is dead but not reaped yet: then it died by itself."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PIDFD, pidfd, options) is not None


def _own_children() -> list[int]:
    me = os.getpid()
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
    return []


def main() -> None:
    # Ctrl-C is for the harness, which then heals and stops the cluster in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(sys.stdin.fileno(), sys.stdout.fileno()).run()


if __name__ == "__main__":
    main()
