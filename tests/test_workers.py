"""What a client's errors become in the history, mistakes of its own code among them."""

from __future__ import annotations

from typing import Any

from harness.client import Endpoint
from harness.op import Kind, Op
from harness.workers import ClientHands


class Clumsy:
    """A client whose code is wrong in two places, and whose system may be gone."""

    async def open(self, endpoint: Endpoint) -> Clumsy:
        return self

    async def setup(self) -> None: ...

    async def teardown(self) -> None: ...

    async def close(self) -> None: ...

    async def invoke(self, op: Op) -> Any:
        if op.value == 1:
            return {}["offset"]
        if op.value == 2:
            return len(op.value)
        raise ConnectionResetError("gone")


async def test_a_mistake_of_the_client_is_marked_and_traced_once_a_place() -> None:
    hands = ClientHands(Clumsy(), Endpoint("n1", "c1", ("n1", 1), (("n1", 1),)), frozenset(), [])
    asked = [Op(0, 0, Kind.INVOKE, 0, "add", value) for value in (1, 1, 2, 3)]
    kinds, _, _, extras = zip(*[await hands.perform(op) for op in asked], strict=True)
    assert kinds == (Kind.INFO,) * 4, "none says whether the system did it"
    first, again, other, network = extras
    assert first["unhandled"] == again["unhandled"] == "KeyError"
    assert "invoke" in first["traceback"] and "traceback" not in again
    assert other["unhandled"] == "TypeError" and "traceback" in other
    assert network is None, "a connection that is lost is no mistake of who had it"
