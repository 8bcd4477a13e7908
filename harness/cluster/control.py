"""Calls of toxiproxy-python, which blocks, has no time-outs and knows one server per process.

They run on one thread, each batch under a deadline. `toxiproxy.api.requests` is replaced by a
session with a time-out, which also keeps its connection: about 1 ms a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import toxiproxy.api
from toxiproxy import Toxiproxy

from harness.cluster.contract import Address
from harness.errors import EnvironmentFailure

HTTP_TIMEOUT_S = 10.0
CALLS_DEADLINE_S = 30.0

# One thread for all clusters of a process: toxiproxy-python keeps the server's address in a class.
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="toxiproxy")


class Control:
    """The way to one server."""

    def __init__(self, api: Address) -> None:
        self.api = api

    async def call(self, do: Callable[..., Any], *args: Any) -> Any:
        """Run `do` on the control thread, with toxiproxy-python set to this server.

        If the caller is cancelled, `do` still runs to its end, so that what it keeps account of
        stays true.

        Raises:
            EnvironmentFailure: the server does not answer, or not as it should.
        """

        def call() -> Any:
            Toxiproxy().update_api_consumer(self.api.host, self.api.port)
            return do(*args)

        future = asyncio.get_running_loop().run_in_executor(_thread, call)
        try:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets the answer.
            async with asyncio.timeout(CALLS_DEADLINE_S):
                return await asyncio.shield(future)
        except TimeoutError:
            text = f"toxiproxy at {self.api} did not answer within {CALLS_DEADLINE_S:g} s"
            raise EnvironmentFailure(text) from None
        except (requests.RequestException, KeyError, ValueError, *_REFUSALS) as error:
            raise EnvironmentFailure(f"toxiproxy at {self.api}: {error}") from error


_REFUSALS = (
    toxiproxy.api.ProxyExists,
    toxiproxy.api.NotFound,
    toxiproxy.api.InvalidToxic,
)


class _Http:
    """What toxiproxy-python takes for the `requests` module: with a time-out, and kept alive.

    It asks neither for a time-out nor for the status of what it gets; a hung server would hold the
    only control thread for ever.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no HTTP proxy of the user's stands before loopback

    def get(self, url: str, **options: Any) -> Any:
        return self._send("GET", url, options)

    def post(self, url: str, **options: Any) -> Any:
        return self._send("POST", url, options)

    def delete(self, url: str, **options: Any) -> Any:
        return self._send("DELETE", url, options)

    def _send(self, method: str, url: str, options: dict[str, Any]) -> Any:
        response = self._session.request(method, url, timeout=HTTP_TIMEOUT_S, **options)
        if response.status_code >= 500:
            raise EnvironmentFailure(f"toxiproxy, {method} {url}: {response.text.strip()}")
        return response


toxiproxy.api.requests = _Http()
