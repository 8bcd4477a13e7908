"""What a workload gives to the engine: operations, who performs them, and who judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from harness.checker import Check
from harness.client import Client
from harness.errors import UsageError
from harness.op import Op

SomeOptions = TypeVar("SomeOptions", bound="Options")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of a workload's or system's typed options; on the command line `-o max-txn=4`."""


def parse_options(cls: type[SomeOptions], given: Mapping[str, Any]) -> SomeOptions:
    """Typed options from text or JSON values.

    Raises:
        UsageError: an unknown key or a value of the wrong type; the message lists what exists.
    """
    try:
        return msgspec.convert(dict(given), cls, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(
            f"{field.encode_name}={field.default!r}" for field in msgspec.structs.fields(cls)
        )
        raise UsageError(f"option not understood: {error}; known options: {known}") from None


@dataclass(frozen=True, slots=True)
class Load:
    """How hard to drive a workload; from the command line, for its generator."""

    nodes: int = 3
    concurrency: int = 6
    rate: float = 200.0
    seed: int = 0


class Watched(Protocol):
    """Operations after healing with a purpose, and whether they came to it: final reads read all
    there is; progress is that everybody gets something done."""

    @property
    def generator(self) -> Any:
        """Client operations; ends by itself when all is read or done, or at its deadline."""
        ...

    def observe(self, op: Op) -> None:
        """Sees every event of the phase as it enters the history."""
        ...

    def stuck(self) -> Sequence[str]:
        """What was not read to its end, or who got nothing done, for a person; else empty."""
        ...


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload with its options applied.

    Attributes:
        client: the client that `open` is called on for each process.
        generator: client operations of the main phase, without rate and time limit.
        final_reads: makes the reads after healing, if the workload has any.
        progress: makes the operations by which every client and every part of the system shows
            that it works again, given how many seconds that may take.
        checks: who judges the history, by name.
        reads: operations without effect, which fail definitely however they fail.
        promises: the options that the contract is derived from (acks, idempotence, …).
    """

    name: str
    options: Options
    client: Client
    generator: Any
    checks: Mapping[str, Check]
    final_reads: Callable[[], Watched] | None = None
    progress: Callable[[float], Watched] | None = None
    reads: frozenset[str] = frozenset()
    promises: Mapping[str, Any] = field(default_factory=dict)


class Factory(Protocol):
    """What a workload's module exports as `workload`; `Options` and `checks` stand beside it.

    Args:
        options: the module's own `Options`.
        load: how hard to drive it.
        port: the client library's side of the workload's small interface, from the system.
    """

    def __call__(self, options: Any, load: Load, port: Callable[..., Any]) -> Workload: ...
