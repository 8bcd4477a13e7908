"""Seeds in a process of their own, which hashes like every other: for callers that do not.

A test run, or a worker of a cluster, was begun by somebody else: its strings hash at random, and it
has threads of its own. So the seeds go to a child (`python -m harness.explore.apart`), pickled, one
after another, and what came of them returns. The child ends when its standard input does, which
happens however this process ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from typing import IO, Any

from harness.errors import EnvironmentFailure, UsageError
from harness.explore.once import Job, Result, explore
from harness.sim.process import begin_again


class Apart:
    """One child. Not for several threads at once."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )

    @property
    def ended(self) -> bool:
        return self._child.poll() is not None

    def explore(self, job: Job, seed: int) -> Result:
        """What `harness.explore.once.explore` gives, there.

        Raises:
            UsageError: nothing that can be drawn fits the job.
            EnvironmentFailure: the child is gone, or met a bug of ours.
        """
        asking, answering = self._child.stdin, self._child.stdout
        assert asking is not None and answering is not None
        try:
            pickle.dump((job, seed), asking)
            asking.flush()
            answer = pickle.load(answering)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.close()
            raise EnvironmentFailure(
                f"the process that ran seed {seed} ended with status {self._child.returncode}"
            ) from error
        if isinstance(answer, Result):
            return answer
        kind, text = answer
        raise UsageError(text) if kind == "usage" else EnvironmentFailure(text)

    def close(self) -> None:
        """The child ends, whatever it does."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.kill()
        self._child.wait()


def _serve(asking: IO[bytes], answering: IO[bytes]) -> None:
    """Answer until nobody asks any more."""
    while True:
        try:
            job, seed = pickle.load(asking)
        except EOFError:
            return
        pickle.dump(_answer(job, seed), answering)
        answering.flush()


def _answer(job: Job, seed: int) -> Any:
    try:
        return explore(job, seed)
    except UsageError as error:
        return "usage", str(error)
    except Exception:
        return "bug", f"seed {seed} met a bug of ours\n{traceback.format_exc()}"


def main() -> None:
    begin_again()
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed by anybody is no answer
    _serve(sys.stdin.buffer, answering)


if __name__ == "__main__":
    main()
