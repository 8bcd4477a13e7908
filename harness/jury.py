"""A jury: each checker judges in a process of its own, so that what befalls one is its own matter.

A checker that runs out of memory, loops, crashes in compiled code, raises or ends its process is
UNKNOWN, with the reason, what to do, and a traceback; what the others say is whole.

A juror is a fork: the history is there without being copied, and nobody pays for a new interpreter.
Of the threads of this process only the one that forks is there too, and what another one held stays
locked: so a juror touches nothing of theirs. It computes over columns, speaks by a pipe of its own,
prints by streams of its own, collects no garbage of before, and leaves without cleaning up.

No juror outlives this process: the kernel ends it then, with SIGKILL. A Ctrl-C, which the terminal
sends to all, is for this process, which ends the jurors. Where there are two processors, two sit
side by side; who ran out of memory then is heard again, alone, with all there is.

Blind to: further processes that a checker starts. Cost: 5 ms a checker, and some more where
much memory is held in small pages.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import io
import os
import pickle
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from harness import checker, limits
from harness.checker import Check
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Outcome, Verdict

TIME_S = 600.0
"""For a checker; ours take seconds for millions of operations."""

GRACE_S = 2.0
"""How long a juror whose time is up may take to say where it is."""

_PR_SET_PDEATHSIG = 1
_PIECE_BYTES = 1 << 20
_WORDS_BYTES = 1 << 16
_libc = ctypes.CDLL(None)  # loaded here: in a juror, another thread may hold the loader's lock


@dataclass(frozen=True, slots=True)
class Jury:
    """Judges as `harness.checker.judge` does.

    Attributes:
        memory_bytes: what each checker may take over what the history has; None for its share of
            what is available.
        time_s: how long each may take.
        seats: how many judge at the same time.
    """

    memory_bytes: int | None = None
    time_s: float = TIME_S
    seats: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def judge(self, history: History, checks: Mapping[str, Check], contract: Contract) -> Verdict:
        """The verdicts of all checks, merged in their order."""
        seats = max(min(self.seats, len(checks)), 1)
        heard = _hear(_Case(history, contract, self._share(seats), self.time_s), checks, seats)
        again = [name for name, answer in heard.items() if answer.kind == "memory"]
        if seats > 1 and self.memory_bytes is None and again:
            alone = _Case(history, contract, self._share(1), self.time_s)
            heard |= _hear(alone, {name: checks[name] for name in again}, 1)
        return Verdict.merge({name: heard[name].verdict for name in checks})

    def _share(self, seats: int) -> int:
        return self.memory_bytes or limits.share(seats)


@dataclass(frozen=True, slots=True)
class _Case:
    """What is put before a juror."""

    history: History
    contract: Contract
    memory_bytes: int
    time_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """`kind` is "verdict", or what kept the juror from one: "memory", "time", "crash"."""

    kind: str
    verdict: Verdict

    @staticmethod
    def none(kind: str, why: str, words: str) -> _Answer:
        return _Answer(kind, Verdict(Outcome.UNKNOWN, doubts=(f"{why}\n{words}".rstrip(),)))


# -- in this process ------------------------------------------------------------------------------


def _hear(case: _Case, checks: Mapping[str, Check], seats: int) -> dict[str, _Answer]:
    """The answer of each check; so many are asked at the same time."""
    waiting, seated, heard = deque(checks.items()), dict[str, _Juror](), dict[str, _Answer]()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or seated:
                while waiting and len(seated) < seats:
                    name, check = waiting.popleft()
                    try:
                        seated[name] = _Juror(case, check)
                    except OSError:  # no process is left, or no memory for one: then here
                        heard[name] = _Answer("verdict", _here(case, name, check))
                    else:
                        seated[name].watch(selector)
                if not seated:
                    continue
                deadline = min(juror.deadline for juror in seated.values())
                selector.select(max(deadline - time.monotonic(), 0))
                for name, juror in list(seated.items()):
                    if juror.has_ended(selector):
                        heard[name] = seated.pop(name).answer()
        finally:
            for juror in seated.values():
                juror.dismiss()
    return heard


def _here(case: _Case, name: str, check: Check) -> Verdict:
    return checker.judge(case.history, {name: check}, case.contract).checkers[name]


class _Juror:
    """One child.

    Attributes:
        deadline: when something has to be done about it.
    """

    def __init__(self, case: _Case, check: Check) -> None:
        self._case = case
        self._said = bytearray()
        self._late = False
        self._reading, writing = os.pipe()
        self._words = os.memfd_create("words")
        self.deadline = time.monotonic() + case.time_s
        parent = os.getpid()
        try:
            self._pid = os.fork()
            if not self._pid:
                _serve(case, check, writing, self._words, parent)
        except OSError:
            os.close(self._reading)
            os.close(self._words)
            raise
        finally:
            os.close(writing)
        os.set_blocking(self._reading, False)
        self._process = os.pidfd_open(self._pid)

    def watch(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._reading, selectors.EVENT_READ)
        selector.register(self._process, selectors.EVENT_READ)

    def has_ended(self, selector: selectors.BaseSelector) -> bool:
        """Take what it says; see to its time."""
        # Asked before the pipe is read: whatever an ended process said is in the pipe by now. Its
        # end is asked of the process, since the pipe may be open in a child of its own.
        ended = os.waitid(os.P_PIDFD, self._process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._reading, _PIECE_BYTES):
                self._said += piece
            if self._reading in selector.get_map():
                selector.unregister(self._reading)
        if ended is not None:
            for each in {self._reading, self._process} & {*selector.get_map()}:
                selector.unregister(each)
        elif time.monotonic() >= self.deadline:
            signal.pidfd_send_signal(
                self._process, signal.SIGKILL if self._late else signal.SIGTERM
            )
            self._late = True
            self.deadline = time.monotonic() + GRACE_S
        return ended is not None

    def answer(self) -> _Answer:
        """What it said, or why it said nothing."""
        words = os.pread(self._words, _WORDS_BYTES, 0).decode("utf-8", "replace")
        words = words.partition("\nExtension modules:")[0]
        status = self.dismiss()
        if self._late and status:
            limit_s = self._case.time_s
            why = (
                f"the checker was not done after {limit_s:g} s; "
                f"give it more time with --checker-time, as in --checker-time {2 * limit_s:g}"
            )
            return _Answer.none("time", why, words)
        if status < 0:
            return _Answer.none("crash", _killed(-status), words)
        try:
            kind, told = pickle.loads(self._said)
        except Exception as error:  # whatever somebody's class does when it is read back
            said = f"{type(error).__name__}: {error}" if self._said else f"status {status}"
            why = f"the checker's process ended without a verdict ({said}); this is a bug of ours"
            return _Answer.none("crash", why, words)
        match kind:
            case "verdict":
                return _Answer(kind, told)
            case "memory":
                had = limits.spelled(self._case.memory_bytes)
                why = (
                    f"the checker needed more than {had} of memory over what the history takes; "
                    "give it more with --checker-memory, as in --checker-memory 8G"
                )
                return _Answer.none(kind, why, told)
            case _:
                return _Answer(kind, checker.crashed(told))

    def dismiss(self) -> int:
        """End it, if it has not ended; its status, negative for a signal's number."""
        signal.pidfd_send_signal(self._process, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        for fd in (self._reading, self._words, self._process):
            os.close(fd)
        return os.waitstatus_to_exitcode(status)


def _killed(signum: int) -> str:
    """Why a juror that a signal ended says nothing."""
    name = signal.Signals(signum).name
    if signum == signal.SIGKILL:
        return (
            f"the checker's process was ended by {name}, as the kernel does when the machine has "
            "no memory left: make room, or let it have less with --checker-memory"
        )
    return f"the checker's process was ended by {name}; this is a bug of ours or of a library"


# -- in the juror's -------------------------------------------------------------------------------


def _serve(case: _Case, check: Check, writing: int, words: int, parent: int) -> NoReturn:
    """Judge, say it, and leave; nothing of the caller's is ever returned to."""
    status = 1
    try:
        _settle(words, parent)
        said = memoryview(_said(case, check))
        while said:
            said = said[os.write(writing, said) :]
        status = 0
    except BaseException:
        os.write(words, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _settle(words: int, parent: int) -> None:
    """Be a process of its own, of which nothing is left behind and that disturbs nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before we could ask
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Its garbage may be that of threads which are not here, and wait for them when it is let go.
    gc.freeze()
    # Tells where we are, from C as well: before it dies of its fault, or when its time is up.
    faulthandler.enable(words, all_threads=False)
    faulthandler.register(signal.SIGTERM, words, all_threads=False, chain=True)
    with contextlib.suppress(OSError):
        # Rather us than the harness, when the machine's memory is used up.
        Path("/proc/self/oom_score_adj").write_text("1000")
    sys.stdout = sys.stderr = None  # what is buffered there is the parent's to write
    with contextlib.suppress(OSError):  # nobody listens, perhaps
        os.dup2(2, 1)
        raw = io.FileIO(2, "w", closefd=False)
        sys.stdout = sys.stderr = io.TextIOWrapper(raw, "utf-8", "replace", write_through=True)


def _said(case: _Case, check: Check) -> bytes:
    """The juror's answer, ("verdict", it) or (why not, traceback)."""
    try:
        with limits.bounded(case.memory_bytes):
            verdict = checker.hear(check, case.history, case.contract)
            return _pickled("verdict", replace(verdict, windows={}))
    except MemoryError:
        return _pickled("memory", traceback.format_exc())
    except BaseException:  # SystemExit, too
        return _pickled("crash", traceback.format_exc())


def _pickled(kind: str, told: Any) -> bytes:
    return pickle.dumps((kind, told), pickle.HIGHEST_PROTOCOL)
