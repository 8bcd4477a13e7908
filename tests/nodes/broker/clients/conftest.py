"""One cluster for all tests of the clients; tests that break nodes mend them again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes.broker.clients.cluster import Brokers


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    brokers = Brokers(tmp_path_factory.mktemp("brokers"))
    try:
        brokers.run(brokers.cluster.start())
        yield brokers
        assert brokers.cluster.crashes() == ()
    finally:
        brokers.close()
