"""JSON values of every shape, for the properties of the data modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness import column_file
from harness.events import Events
from harness.op import Kind, Op

int64 = st.integers(-(2**63), 2**63 - 1)
# The ends of the ranges of codes are where an integer could be mistaken for something else.
edges = st.sampled_from([0, -1, 2**63 - 1, -(2**63), -(2**63) + 1, -(2**63) + 2**32 - 1, 2**63])
integers = st.integers(-20, 20) | edges | int64
scalars = (
    integers
    | st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
offsets = st.none() | integers
poll_keys = st.integers(-3, 30).map(str) | st.sampled_from(["", "k", "00", "-0x", "٣", "9" * 30])
messages = st.dictionaries(
    poll_keys,
    st.lists(st.tuples(offsets, scalars).map(list), max_size=3),
    max_size=3,
)
keys = st.integers(0, 9) | scalars
mops = st.one_of(
    st.just(["poll"]),
    messages.map(lambda found: ["poll", found]),
    st.tuples(st.just("send"), keys, scalars).map(list),
    st.tuples(st.just("send"), keys, st.tuples(offsets, scalars).map(list)).map(list),
    st.tuples(st.just("r"), keys, st.none() | st.lists(scalars, max_size=4) | integers).map(list),
    st.tuples(st.sampled_from(["w", "append", "r", "x", "poll"]), keys, json_values).map(list),
)
values: st.SearchStrategy[Any] = st.one_of(
    scalars,
    st.tuples(integers, scalars).map(list),
    st.tuples(integers, st.lists(scalars, max_size=3)).map(list),
    st.lists(mops, min_size=1, max_size=4),
    st.lists(mops | json_values, max_size=3),
    json_values,
)
# What nearly all of a history consists of, so that whole chunks of it are decoded as typed values.
small = st.integers(-5, 2**40)
usual_mops = st.one_of(
    st.just(["poll"]),
    st.dictionaries(
        st.integers(0, 9).map(str),
        st.lists(st.tuples(st.none() | small, small).map(list), max_size=3),
        max_size=3,
    ).map(lambda found: ["poll", found]),
    st.tuples(st.just("send"), small, small).map(list),
    st.tuples(st.just("send"), small, st.tuples(st.none() | small, small).map(list)).map(list),
    st.tuples(st.just("r"), small, st.none() | small | st.lists(small, max_size=3)).map(list),
    st.tuples(st.sampled_from(["w", "append"]), small, small).map(list),
)
usual_values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    small,
    st.tuples(small, st.none() | small).map(list),
    st.lists(small, max_size=4),
    st.lists(usual_mops, min_size=1, max_size=3),
    st.text(max_size=3),
    st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=2), max_size=2),
)
errors = st.none() | st.tuples(st.text(max_size=5), st.text(max_size=5))
names = st.sampled_from(["read", "send", "txn", "ключ", 'a"b', "-->"])


@st.composite
def histories(draw: st.DrawFn, value: st.SearchStrategy[Any] = values) -> list[Op]:
    """A well-formed history of a few processes and a nemesis, dense from 0."""
    begun: dict[int | str, str] = {}
    ops: list[Op] = []
    time = 0
    processes: list[int | str] = [0, 1, 2, 40_000, "nemesis", "other"]
    for _ in range(draw(st.integers(0, 12))):
        time += draw(st.integers(0, 50))
        process = draw(st.sampled_from(processes))
        kind, f, error = Kind.INFO, begun.pop(process, ""), None
        if f:
            if isinstance(process, int):
                kind = draw(st.sampled_from([Kind.OK, Kind.FAIL, Kind.INFO]))
            error = draw(errors) if kind is not Kind.OK else None
        else:
            kind = Kind.INVOKE if isinstance(process, int) else Kind.INFO
            f = begun[process] = draw(names)
        node = draw(st.none() | st.sampled_from(["n1", "n2"]))
        extra = draw(st.none() | st.dictionaries(st.text(max_size=3), json_values, max_size=2))
        ops.append(Op(len(ops), time, kind, process, f, draw(value), error, node, extra))
    return ops


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def assert_identical(left: Events, right: Events) -> None:
    """The same columns, tables and notes, bit by bit."""
    others = dict(column_file._flat("", right))
    for name, one in column_file._flat("", left):
        other = others.pop(name)
        if isinstance(one, tuple) or isinstance(other, tuple):
            assert one == other, name
        else:
            assert one.dtype == other.dtype, name
            assert np.array_equal(one, other), f"{name}: {one} and {other}"
    assert not others
    left.values._check()
