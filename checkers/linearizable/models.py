"""Sequential objects: what an operation may do in a state, and what it returns there.

A model is a value without state of its own. `step` gives every state that an operation may lead to:
none where the operation cannot have had this outcome in this state, several where an outcome that
nobody knows leaves a choice. States are hashable and are compared by equality, so each state of the
object has one spelling.

    model             f              asked      told
    Register          write, read    v, null    null, v; null is what nobody has written yet
                      cas            [old, new]
    Fifo, Unordered   enqueue        v
                      dequeue                   v, or null for an empty queue
    Stack             push, pop      v          as of a queue
    PriorityQueue     insert         number
                      delete-min                the least number, or null for an empty queue
    Set               add, read      v          read: [v, …]
    Counter           add, read      number     read: the sum; increment, decrement: by 1 or number
    Lock              acquire, release
    MultiRegister     txn            [["w", k, v], ["r", k, null]]   the same, reads filled in

Source: the models of Knossos (README); Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from typing import Any, ClassVar, Final, Literal, Protocol

State = Hashable
Keys = Literal["pairs", "value", "nowhere"]


class _Unknown:
    """The outcome of an operation that nobody knows."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN: Final = _Unknown()


class Model(Protocol):
    """What the search needs to know of an object.

    Attributes:
        fs: the operations that it has.
        writers: of these, those whose argument says whether values are `[key, value]`.
        readers: those whose outcome says it where nothing was written.
        initial: its first state.
        keys: where a history of many such objects says which one is meant: in "pairs" `[key, v]`,
            in the "value" (a lock's name), or nowhere.
        every_maker: whether an outcome needs all that was made, as a sum does.
    """

    fs: ClassVar[frozenset[str]]
    writers: ClassVar[frozenset[str]]
    readers: ClassVar[frozenset[str]]
    initial: State
    keys: ClassVar[Keys]
    every_maker: ClassVar[bool]

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        """Every state after the operation; `told` may be UNKNOWN. Values are frozen."""
        ...

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        """Whether the operation changes no state whatever."""
        ...

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        """Whether the values have the shape that `step` wants."""
        ...

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        """What others can only see or take because of this operation: values, as a rule."""
        ...

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        """What some operation must have made for this outcome: without it, or where it began later,
        there is no order. An argument that keeps the outcome and not its origin would speak of a
        value from nowhere. (With `every_maker`, what there is of it counts, were it nothing.)"""
        ...


def frozen(value: Any) -> Any:
    """The same JSON value, hashable: lists are tuples, objects sorted tuples of pairs."""
    kind = type(value)
    if kind is list or kind is tuple:
        return tuple([one if type(one) is int else frozen(one) for one in value])
    if kind is dict:
        return tuple(sorted((key, frozen(inner)) for key, inner in value.items()))
    return value


class _Model:
    """What most models have in common."""

    fs: ClassVar[frozenset[str]]
    writers: ClassVar[frozenset[str]] = frozenset()
    readers: ClassVar[frozenset[str]] = frozenset()
    keys: ClassVar[Keys] = "pairs"
    every_maker: ClassVar[bool] = False


class Register(_Model):
    """One value; `cas` replaces it where it is what was expected."""

    fs = frozenset({"read", "write", "cas"})
    writers = frozenset({"write"})
    readers = frozenset({"read"})
    initial: State = None

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f == "write":
            return (asked,)
        if f == "read":
            return (state,) if told is UNKNOWN or told == state else ()
        return (asked[1],) if asked[0] == state else ()

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return f == "read"

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return f != "cas" or (_is_pair(asked) and (told is UNKNOWN or _is_pair(told)))

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        if f == "read":
            return ()
        return (asked[1],) if f == "cas" else (asked,)

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        needed = told[0] if f == "cas" else told
        return () if f == "write" or needed is None else (needed,)


class _Container(_Model):
    """What is put in comes out once; the state is what is inside, as a tuple."""

    fs = frozenset({"enqueue", "dequeue"})
    writers = frozenset({"enqueue"})
    readers = frozenset({"dequeue"})
    initial: State = ()

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f in self.writers:
            return (self._with(state, asked),)
        if told is None:
            return (state,) if not state else ()
        if told is UNKNOWN and not state:
            return (state,)
        return self._without(state, told)

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return f not in self.writers and told is None

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return True

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        return (asked,) if f in self.writers else ()

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        return () if f in self.writers or told is None else (told,)

    def _with(self, state: Any, value: Any) -> State:
        return (*state, value)

    def _without(self, state: Any, told: Any) -> tuple[State, ...]:
        raise NotImplementedError


class Fifo(_Container):
    """First in, first out."""

    def _without(self, state: Any, told: Any) -> tuple[State, ...]:
        if not state or (told is not UNKNOWN and state[0] != told):
            return ()
        return (state[1:],)


class Stack(_Container):
    """Last in, first out."""

    fs = frozenset({"push", "pop"})
    writers = frozenset({"push"})
    readers = frozenset({"pop"})

    def _without(self, state: Any, told: Any) -> tuple[State, ...]:
        if not state or (told is not UNKNOWN and state[-1] != told):
            return ()
        return (state[:-1],)


class Unordered(_Container):
    """Whatever is inside may come out. The state is sorted, so that one bag has one spelling."""

    def _with(self, state: Any, value: Any) -> State:
        return tuple(sorted((*state, value), key=_place))

    def _without(self, state: Any, told: Any) -> tuple[State, ...]:
        out = dict.fromkeys(state) if told is UNKNOWN else [told]
        return tuple(_less(state, value) for value in out if value in state)


class PriorityQueue(_Container):
    """The least of the numbers inside comes out. The state is sorted."""

    fs = frozenset({"insert", "delete-min"})
    writers = frozenset({"insert"})
    readers = frozenset({"delete-min"})

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        if f in self.writers:
            return is_priority(asked)
        return told is UNKNOWN or told is None or is_priority(told)

    def _with(self, state: Any, value: Any) -> State:
        at = bisect_right(state, value)
        return (*state[:at], value, *state[at:])

    def _without(self, state: Any, told: Any) -> tuple[State, ...]:
        if not state or (told is not UNKNOWN and state[0] != told):
            return ()
        return (state[1:],)


class Set(_Model):
    """Values that were added; a read returns them all, in any order."""

    fs = frozenset({"add", "read"})
    writers = frozenset({"add"})
    readers = frozenset({"read"})
    initial: State = frozenset()

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f == "add":
            return (state | {asked},)
        if told is UNKNOWN:
            return (state,)
        return (state,) if frozenset(told) == state else ()

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return f == "read"

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return f == "add" or told is UNKNOWN or isinstance(told, tuple)

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        return (asked,) if f == "add" else ()

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        return told if f == "read" else ()


class Counter(_Model):
    """A sum. `add` takes a number of any sign; `increment` and `decrement` one or none for 1."""

    fs = frozenset({"add", "increment", "decrement", "read"})
    writers = frozenset({"add", "increment", "decrement"})
    readers = frozenset({"read"})
    initial: State = 0
    every_maker = True

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f == "read":
            return (state,) if told is UNKNOWN or told == state else ()
        by = 1 if asked is None else asked
        return (state - by if f == "decrement" else state + by,)

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return f == "read"

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return told is UNKNOWN or _is_number(told) if f == "read" else _is_amount(f, asked)

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        return () if f == "read" else ("sum",)

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        return ("sum",) if f == "read" else ()


class Lock(_Model):
    """Held by one at a time. Who holds it is not looked at: see fencing tokens for that."""

    fs = frozenset({"acquire", "release"})
    initial: State = False
    keys: ClassVar[Keys] = "value"

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f == "acquire":
            return () if state else (True,)
        return (False,) if state else ()

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return False

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return True

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        return ("held",) if f == "acquire" else ()

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        return ("held",) if f == "release" else ()


class MultiRegister(_Model):
    """Several registers, of which one operation writes and reads some, in order."""

    fs = frozenset({"txn"})
    initial: State = ()
    keys: ClassVar[Keys] = "nowhere"

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        values = dict(state)
        for kind, key, value in asked if told is UNKNOWN else told:
            if kind == "w":
                values[key] = value
            elif told is not UNKNOWN and values.get(key) != value:
                return ()
        return (tuple(sorted(values.items(), key=_place)),)

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return all(kind == "r" for kind, _, _ in asked)

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return _are_micro(asked) and (told is UNKNOWN or _are_micro(told))

    def makes(self, f: str, asked: Any) -> Iterable[Hashable]:
        return [(key, value) for kind, key, value in asked if kind == "w"]

    def needs(self, f: str, told: Any) -> Iterable[Hashable]:
        return [(key, value) for kind, key, value in told if kind == "r" and value is not None]


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def is_priority(value: Any) -> bool:
    """Whether it is a number that can be less than another: no truth value, and not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_amount(f: str, asked: Any) -> bool:
    return _is_number(asked) or (asked is None and f != "add")


def _are_micro(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, tuple) and len(each) == 3 and each[0] in ("r", "w") for each in value
    )


def _place(value: Any) -> tuple[str, str]:
    """An order of any values: which one does not matter, but that it is one."""
    return type(value).__name__, repr(value)


def _less(state: tuple[Any, ...], value: Any) -> State:
    at = state.index(value)
    return state[:at] + state[at + 1 :]
