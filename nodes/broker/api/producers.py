"""InitProducerId, for idempotent producers."""

from __future__ import annotations

from typing import Any

from kafka.protocol.producer import InitProducerIdResponse

from nodes.broker.api.context import Context
from nodes.broker.errors import BrokerError, Code
from nodes.broker.wire import Request


async def init_producer_id(context: Context, request: Request, listener: str) -> Any:
    """A fresh id with epoch 0, whatever the producer had before; no transactional ids yet."""
    if request.body.transactional_id is not None:
        code = Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        return InitProducerIdResponse(error_code=int(code), producer_epoch=-1)
    try:
        id = await context.producer_ids.take()
    except BrokerError as error:
        context.host.log("producer-id.failed", error=str(error))
        # What no controller could do now, it may do soon: clients try again.
        code = Code.COORDINATOR_NOT_AVAILABLE
        return InitProducerIdResponse(error_code=int(code), producer_epoch=-1)
    return InitProducerIdResponse(producer_id=id, producer_epoch=0)
