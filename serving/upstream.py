"""The client of the engines: one connection pool, time-outs, and errors that callers can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from serving.chat import engine_message
from serving.config import GatewayConfig, Route
from serving.errors import ApiError, bad_request, engine_failed, engine_timeout, engine_unreachable

ANSWER_LIMIT = 8 * 2**20
HEADERS = {"content-type": "application/json"}


class Upstream:
    """Talks to the engines on loopback. Open it inside the event loop that uses it; close it there."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._timeout = aiohttp.ClientTimeout(
            total=config.answer_timeout, sock_connect=config.connect_timeout
        )
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout, sock_read=config.idle_timeout
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, use_dns_cache=False),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def complete(self, route: Route, body: bytes) -> bytes:
        """POST a completion and return the whole answer's bytes; ApiError if there is none."""
        try:
            async with self._session.post(
                route.engine + "/v1/completions", data=body, headers=HEADERS, timeout=self._timeout
            ) as response:
                if (response.content_length or 0) > ANSWER_LIMIT:
                    raise engine_failed("its answer is too large")
                data = await response.read()
                if response.status != 200:
                    raise engine_error(response.status, data)
                return data
        except (aiohttp.ClientError, OSError) as error:
            raise self._explain(error) from error

    @asynccontextmanager
    async def stream(self, route: Route, body: bytes) -> AsyncIterator[aiohttp.StreamReader]:
        """POST a streamed completion; leaving closes the connection, which makes the engine stop."""
        try:
            async with self._session.post(
                route.engine + "/v1/completions", data=body, headers=HEADERS, timeout=self._stream_timeout
            ) as response:
                if response.status != 200:
                    raise engine_error(response.status, await response.read())
                try:
                    yield response.content
                finally:
                    if not response.content.at_eof():
                        response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise self._explain(error) from error

    async def healthy(self, route: Route) -> bool:
        """Whether the engine says that it can answer."""
        try:
            async with self._session.get(
                route.engine + "/health", timeout=aiohttp.ClientTimeout(total=self._config.connect_timeout)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    def _explain(self, error: Exception) -> ApiError:
        # TimeoutError is an OSError; aiohttp's connect time-out is both, and means "not reachable".
        if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
            return engine_unreachable()
        if isinstance(error, asyncio.TimeoutError):
            idle = isinstance(error, aiohttp.SocketTimeoutError)
            return engine_timeout(self._config.idle_timeout if idle else self._config.answer_timeout)
        return engine_failed(f"the connection broke ({type(error).__name__})")


def engine_error(status: int, data: bytes) -> ApiError:
    """The engine's error answer, told to the caller: only what he can mend keeps its message."""
    if status == 400:
        return bad_request(engine_message(data), code="refused_by_engine")
    if status in (429, 503):
        return ApiError(503, "The model is busy. Try again soon.", code="engine_busy", retry_after=2)
    return engine_failed(f"status {status}")
