"""Whatever can be decoded is answered: no request makes a handler fail."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.broker.parts import HANDLERS
from nodes.broker.server import Disconnect
from nodes.broker.wire import Malformed, Request, decode_request, encode_response
from tests.nodes.broker.api.broker import Broker
from tests.nodes.broker.messages import requests

PATIENCE_S = 5.0


async def answer(request: Request) -> None:
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), {"auto.create.topics.enable": True})
        await broker.start()
        await broker.create_topic("t")
        try:
            body = request.body
            for field in ("max_wait_ms", "timeout_ms"):
                if hasattr(body, field):
                    setattr(body, field, 1)  # it is not the waiting that is tested
            for listener in ("c1", "peer"):
                if listener == "peer" and request.api.name not in ("Fetch", "ListOffsets"):
                    continue
                async with asyncio.timeout(PATIENCE_S):
                    found = await HANDLERS[request.api.name](broker.context, request, listener)
                if found is not None:
                    assert encode_response(request, found)
        except Disconnect:
            assert request.api.name == "Produce" and request.body.acks == 0
        finally:
            await broker.close()


@given(requests(), st.data())
@settings(max_examples=100, deadline=None)
def test_what_can_be_decoded_is_answered(
    sent: tuple[int, int, Any, bytearray], data: st.DataObject
) -> None:
    frame = sent[-1]
    if data.draw(st.booleans()):
        place = data.draw(st.integers(8, len(frame) - 1))
        frame[place] = data.draw(st.integers(0, 255))
    try:
        request = decode_request(frame)
    except Malformed:
        return
    asyncio.run(answer(request))
