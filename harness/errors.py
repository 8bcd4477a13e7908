"""Errors of the harness, by whose fault they are.

AssayError                  anything we raise on purpose; its text is for the user
├── UsageError              exit 2: the user asked for something that cannot be
│   └── HistoryError        a history file is malformed: file, line and reason
├── EnvironmentFailure      exit 4: this machine, a cluster or a node did not do its part
│   ├── NodeNotReady        a node never became ready
│   └── FaultNotPossible    this cluster cannot do this fault
└── OpError                 an operation did not succeed; says whether it is definite
    ├── Refused             definite: the node answered, and nothing happened
    ├── Unavailable         definite: nobody was asked (no connection, no client)
    └── TimedOut            indefinite: the request or its reply is somewhere, or nowhere
"""

from __future__ import annotations

from typing import ClassVar


class AssayError(Exception):
    """Something went wrong that we foresaw. The text says what happened and what to do."""


class UsageError(AssayError):
    """The command line, a configuration or an input cannot be used as it is."""


class HistoryError(UsageError):
    """A history cannot be read. Names the file, line and column (from 1) and the reason."""

    def __init__(
        self, path: object, line: int | None, reason: str, column: int | None = None
    ) -> None:
        where = ":".join(str(each) for each in (path, line, column) if each is not None)
        super().__init__(f"{where}: {reason}")
        self.path, self.line, self.column, self.reason = path, line, column, reason


class EnvironmentFailure(AssayError):
    """The harness, the machine or a node failed before anything could be judged."""


class NodeNotReady(EnvironmentFailure):
    """A node did not become ready in time, or died while starting."""


class FaultNotPossible(EnvironmentFailure):
    """The cluster lacks the means for a fault. Raised, never skipped in silence."""


class OpError(AssayError):
    """An operation failed. `definite` means: it had no effect and never will.

    Attributes:
        definite: whether the error proves that nothing happened. When in doubt, it does not.
        name: the error's short name, as it stands in the history.
    """

    definite: ClassVar[bool] = False

    def __init__(self, text: str = "", *, name: str | None = None) -> None:
        super().__init__(text)
        self.name = name or type(self).__name__


class Refused(OpError):
    """The node answered that it will not do this."""

    definite = True


class Unavailable(OpError):
    """The request never left: no connection, or no client to send it with."""

    definite = True


class TimedOut(OpError):
    """No reply came in time. The request may still take effect, so this is never a FAIL."""
