"""Independent keys: values become `[k, v]`, so that one test exercises many objects at once.

Source: jepsen.independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from harness.generator.choice import soonest
from harness.generator.core import NOTHING, PENDING, Call, Context, Generator, Step, concat, lift
from harness.generator.rewriting import map_calls
from harness.op import Op


def keyed(key: object, generator: object) -> Generator:
    """Every value v as `[key, v]`."""

    def tupled(call: Call) -> Call:
        if call.type in ("sleep", "log"):
            return call  # its value is no operation's
        return Call(call.f, [key, call.value], call.process, call.time, call.type, call.extra)

    return map_calls(tupled, generator)


def sequential_keys(keys: Iterable[object], make: Callable[[object], object]) -> Generator:
    """One key at a time: `make(key)` until it ends, then the next."""
    return concat(*(keyed(key, make(key)) for key in keys))


class Groups(Generator):
    """See `concurrent_keys`. `parts` by group; `left` are the keys nobody has yet."""

    __slots__ = ("left", "listens", "make", "parts", "size")

    def __init__(
        self,
        size: int,
        left: tuple[object, ...],
        make: Callable[[object], object],
        parts: tuple[Generator, ...] | None = None,
    ) -> None:
        self.size, self.left, self.make, self.parts = size, left, make, parts
        self.listens = True

    def op(self, context: Context) -> Step:
        parts, left = self._parts(context), list(self.left)
        steps: list[tuple[int, Step]] = []
        fresh = list(parts)
        for group, mask in enumerate(self._masks(context)):
            view = context.view(mask)
            step = fresh[group].op(view)
            while step is None and left:
                key = left.pop(0)
                fresh[group] = keyed(key, self.make(key))
                step = fresh[group].op(view)
            steps.append((group, step))
        found = soonest(steps, context)
        if found is None:
            return None
        group, step = found
        if not isinstance(step, tuple):
            return PENDING
        call, after = step
        fresh[group] = after
        return call, Groups(self.size, tuple(left), self.make, tuple(fresh))

    def update(self, context: Context, event: Op) -> Generator:
        parts = list(self._parts(context))
        for group, mask in enumerate(self._masks(context)):
            if parts[group].listens:
                parts[group] = parts[group].update(context.view(mask), event)
        return Groups(self.size, self.left, self.make, tuple(parts))

    def _masks(self, context: Context) -> list[int]:
        threads = context.list_threads()
        assert len(threads) % self.size == 0, (
            f"{len(threads)} threads cannot be grouped by {self.size}; change --concurrency"
        )
        starts = range(0, len(threads), self.size)
        return [sum(1 << t for t in threads[s : s + self.size]) for s in starts]

    def _parts(self, context: Context) -> tuple[Generator, ...]:
        if self.parts is not None:
            return self.parts
        return (NOTHING,) * (context.threads.bit_count() // self.size)


def concurrent_keys(
    size: int, keys: Iterable[object], make: Callable[[object], object], most: int = 100_000
) -> Generator:
    """Groups of `size` threads, each working on a key of its own until `make(key)` ends."""
    return Groups(size, tuple(islice(keys, most)), make)


__all__ = ["concurrent_keys", "keyed", "lift", "sequential_keys"]
