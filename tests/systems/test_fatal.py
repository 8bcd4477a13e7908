"""A librdkafka producer that met a fatal error sends nothing any more; its process goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.cluster.contract import Address
from harness.errors import Refused
from systems.clients import confluent
from tests.systems.conftest import endpoint_at
from workloads.ports import Partition, Settings

rdkafka = pytest.importorskip("confluent_kafka")

HERE, NOBODY = Partition("log-0", 0), endpoint_at(Address("127.0.0.1", 1))


class Acknowledged:
    def offset(self) -> int:
        return 7


class Producer:
    """One that refuses with `error`, if there is one; else everything is acknowledged."""

    made = 0
    error: Any = None

    def __init__(self, settings: dict[str, Any]) -> None:
        type(self).made += 1
        self._error = self.error if self.made == 1 else None

    def produce(
        self, topic: str, value: bytes, partition: int, timestamp: int, on_delivery: Any
    ) -> None:
        if self._error is not None:
            raise rdkafka.KafkaException(self._error)
        on_delivery(None, Acknowledged())

    def flush(self, timeout_s: float) -> int:
        return 0


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], type[Producer]]:
    def refuse(error: Any) -> type[Producer]:
        made = type("Made", (Producer,), {"error": error})
        monkeypatch.setattr(rdkafka, "Producer", made)
        return made

    return refuse


async def test_a_process_goes_on_with_a_new_producer_after_a_fatal_error(
    refusing: Callable[[Any], type[Producer]],
) -> None:
    code = rdkafka.KafkaError._FATAL
    producer = refusing(rdkafka.KafkaError(code, "sequence numbers are lost", fatal=True))
    port = await confluent.connect(NOBODY, Settings())
    with pytest.raises(Refused, match="sequence numbers are lost"):
        await port.send(HERE, b"1")
    assert await port.send(HERE, b"2") == 7
    assert producer.made == 2
    await port.close()


async def test_a_refusal_that_is_not_fatal_leaves_the_producer_as_it_is(
    refusing: Callable[[Any], type[Producer]],
) -> None:
    producer = refusing(rdkafka.KafkaError(rdkafka.KafkaError._INVALID_ARG, "no such partition"))
    port = await confluent.connect(NOBODY, Settings())
    for _ in range(2):
        with pytest.raises(Refused, match="no such partition"):
            await port.send(HERE, b"1")
    assert producer.made == 1
    await port.close()
