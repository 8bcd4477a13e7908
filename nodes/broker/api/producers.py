"""InitProducerId, for idempotent and transactional producers."""

from __future__ import annotations

from typing import Any

from kafka.protocol.producer import InitProducerIdResponse

from nodes.broker.api.context import Context, code_of
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.wire import Request

NO_ID = -1
_EXPECTED_SINCE = 3
_FENCED_SINCE = 4


async def init_producer_id(context: Context, request: Request, listener: str) -> Any:
    """Without a transactional id it is a fresh one with epoch 0, whatever the producer had."""
    body = request.body
    try:
        if body.transactional_id is None:
            producer = await context.producer_ids.take(), 0
        else:
            expected = None
            if request.version >= _EXPECTED_SINCE and body.producer_id != NO_ID:
                expected = body.producer_id, body.producer_epoch
            producer = await context.transactions.init(
                body.transactional_id, body.transaction_timeout_ms, expected
            )
    except (BrokerError, LogError, OSError) as error:
        return InitProducerIdResponse(
            error_code=_code(context, error, request.version), producer_epoch=-1
        )
    return InitProducerIdResponse(producer_id=producer[0], producer_epoch=producer[1])


def _code(context: Context, error: BrokerError | LogError | OSError, version: int) -> int:
    code = code_of(error)
    if code == Code.PRODUCER_FENCED and version < _FENCED_SINCE:
        return int(Code.INVALID_PRODUCER_EPOCH)
    if code in (Code.REQUEST_TIMED_OUT, Code.NOT_CONTROLLER):
        # What no controller could do now, it may do soon: clients try again.
        context.host.log("producer-id.failed", error=str(error))
        return int(Code.COORDINATOR_NOT_AVAILABLE)
    return code
