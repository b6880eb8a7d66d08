"""A polite asynchronous HTTP client: routes, spacing per host, retries that heed Retry-After, size limits.

Downloads (resume, validators, checksums) are in `resources/transfer.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from resources.http_errors import (
    BadResponse,
    Denied,
    Gone,
    HttpError,
    TooLarge,
    Transient,
    Unreachable,
)
from resources.redact import redact
from resources.spacing import Spacing, spacing_of

USER_AGENT = "luca/0.1"
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# Not OSError: a full disk is no fault of the network (aiohttp wraps the sockets' errors).
_NETWORK = (aiohttp.ClientError, TimeoutError, ConnectionError)


@dataclass(frozen=True)
class Response:
    """A whole answer, in memory: status, headers (names in lower case), body, the address it came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as JSON; BadResponse that quotes its start otherwise."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadResponse(f"{self.url}: not JSON ({error}): {start_of(self.body)}", self.status) from None


Inspect = Callable[[Response], None]


@dataclass
class HttpClient:
    """`async with HttpClient(...) as http: await http.get(url)`. Everything has a default.

    routes: origin -> origin really connected to; the Host header and every stored address keep the first.
    spacing: host -> seconds, over the built-in table. folder: partial downloads and the hosts' slots,
    shared by the machine's processes. secrets: values that must not appear in any error. public_only: go to
    no address of this machine or its private network (a redirect never leads there from outside).
    """

    routes: Mapping[str, str] = field(default_factory=dict)
    contact: str = ""
    spacing: dict[str, float] = field(default_factory=dict)
    attempts: int = 6
    backoff: float = 0.5
    longest_wait: float = 300.0
    connect_seconds: float = 30.0
    read_seconds: float = 90.0
    connections_per_host: int = 6
    max_redirects: int = 8
    folder: Path = field(default_factory=lambda: default_folder())
    secrets: tuple[str, ...] = ()
    public_only: bool = False
    requests: int = 0
    received: int = 0

    def __post_init__(self) -> None:
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._slots = Spacing(self.folder)
        self._inside: dict[str, bool] = {}

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client can be used again (in another event loop too)."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        accept: frozenset[int] = frozenset(),
        max_bytes: int = 64 << 20,
        inspect: Inspect | None = None,
        method: str = "GET",
        data: Mapping[str, str] | None = None,
    ) -> Response:
        """One answer, at most `max_bytes` long, retried while upstream is busy.

        `accept` lists error statuses to return instead of raising (OAI sends errors under 422). `inspect`
        may raise: Transient asks for another attempt. Raises the errors of `resources/http_errors.py`.
        """

        async def once() -> Response:
            async with self.exchange(method, url, params, headers, data=data, accept=accept) as answer:
                body = await self.read_limited(answer, max_bytes, url)
                response = Response(
                    answer.status, lowered(answer.headers), body, self.clean(str(self.logical(url, params)))
                )
                if inspect is not None:
                    inspect(response)
                return response

        response: Response = await self.retrying(once, url)
        return response

    async def retrying(self, once: Callable[[], Any], url: str) -> Any:
        """`await once()` until it does not raise a network error or Transient, or attempts run out."""
        last: Exception | None = None
        for attempt in range(self.attempts):
            try:
                return await once()
            except BusyUpstream as error:
                last, wait = error, error.wait
            except Transient as error:
                last, wait = error, None
            except HttpError:
                raise
            except _NETWORK as error:
                last, wait = error, None
                if isinstance(error, aiohttp.ClientConnectorDNSError) and attempt >= 2:
                    break  # a name that does not resolve seldom does a minute later
            if wait is not None and wait > self.longest_wait:
                raise Unreachable(
                    f"{self.clean(url)}: upstream asks to wait {wait:.0f} s; come back later.", 503
                )
            if attempt + 1 < self.attempts:
                await asyncio.sleep(wait if wait is not None else self.pause(attempt))
        raise Unreachable(
            f"{self.clean(url)}: no answer after {attempt + 1} attempts: {self.describe(last)}. "
            "Check the network and the address, or try again later."
        )

    def pause(self, attempt: int) -> float:
        """Exponential backoff with full jitter around it, in seconds."""
        return float(min(60.0, self.backoff * 2**attempt) * random.uniform(0.5, 1.5))

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        data: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
        raw: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request after its turn, redirects followed; raises by status unless 2xx, 304 or accepted."""
        target = self.logical(url, params)
        for _ in range(self.max_redirects + 1):
            if self.public_only and await self.is_inside(target):
                raise Denied(
                    f"{self.clean(str(target.origin()))} is an address of this machine or its private network"
                )
            reached, host_header, routed = self.route(target)
            host = reached.host or ""
            wait = self._slots.reserve(host, spacing_of(host, self.spacing))
            if wait > 0:
                await asyncio.sleep(wait)
            self.requests += 1
            sent = {"User-Agent": self.user_agent, **host_header, **(headers or {})}
            if raw:
                sent["Accept-Encoding"] = "identity"
            answer = await self.session(routed).request(
                method, reached, headers=sent, data=data, allow_redirects=False, auto_decompress=not raw
            )
            location = answer.headers.get("Location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                answer.release()
                before, target = target, redirected(target, location)
                if target.scheme not in ("http", "https") or not target.host:
                    raise BadResponse(
                        f"{self.clean(url)}: redirects to {self.clean(location[:500])}", answer.status
                    )
                if await self.is_inside(target) and not await self.is_inside(before):
                    raise BadResponse(
                        f"{self.clean(url)}: redirects to {self.clean(str(target.origin()))}, an address of "
                        "this machine or its private network",
                        answer.status,
                    )
                if answer.status == 303:
                    method, data = "GET", None
                continue
            try:
                await self.raise_for_status(answer, url, accept)
                yield answer
            finally:
                if answer.content.at_eof():
                    answer.release()
                else:
                    answer.close()
            return
        raise BadResponse(f"{self.clean(url)}: more than {self.max_redirects} redirects")

    async def raise_for_status(
        self, answer: aiohttp.ClientResponse, url: str, accept: frozenset[int]
    ) -> None:
        status = answer.status
        if 200 <= status < 300 or status == 304 or status in accept:
            return
        start = start_of(await answer.content.read(2000))
        brief = f"{self.clean(url)}: {status} {answer.reason or ''}".rstrip()
        message = f"{brief}: {self.clean(start)}"
        if status in BUSY:
            raise BusyUpstream(message, status, retry_after(answer.headers.get("Retry-After"), time.time()))
        if status in (401, 403, 407, 451):
            raise Denied(message, status, brief)
        if status in (404, 410):
            raise Gone(message, status, brief)
        raise BadResponse(message, status, brief)

    async def read_limited(self, answer: aiohttp.ClientResponse, max_bytes: int, url: str) -> bytes:
        chunks: list[bytes] = []
        total = 0
        async for chunk in answer.content.iter_chunked(1 << 16):
            total += len(chunk)
            if total > max_bytes:
                raise TooLarge(f"{self.clean(url)}: more than {max_bytes:,} bytes")
            chunks.append(chunk)
        self.received += total
        return b"".join(chunks)

    def logical(self, url: str, params: Mapping[str, str] | None = None) -> URL:
        """The address with its parameters: what is meant, whatever is connected to."""
        try:
            target = URL(url)
            fit = target.scheme in ("http", "https") and bool(target.host)
        except ValueError as error:
            raise BadResponse(f"{self.clean(url[:500])!r} is no address: {error}") from None
        if not fit:
            raise BadResponse(f"{self.clean(url[:500])!r} is not an http(s) address")
        return target.update_query(dict(params)) if params else target

    def route(self, target: URL) -> tuple[URL, dict[str, str], bool]:
        """(address to connect to, Host header to send, whether it is a route)."""
        destination = self.routes.get(str(target.origin()))
        if destination is None:
            return target, {}, False
        to = URL(destination)
        reached = target.with_scheme(to.scheme).with_host(to.host or "").with_port(to.port)
        return reached, {"Host": str(target.origin()).partition("://")[2]}, True

    async def is_inside(self, target: URL) -> bool:
        """Whether an address leads to this machine or its private network, by any of its names.

        A routed one does not: the operator named where it leads. Nor does one that does not resolve here.
        """
        if str(target.origin()) in self.routes or not target.host:
            return False
        if target.host not in self._inside:
            try:
                found = [target.host] if is_literal(target.host) else await resolve(target.host)
            except (OSError, UnicodeError):
                found = []  # behind a proxy names may resolve there only: asked once, it may take seconds
            self._inside[target.host] = any(
                not ipaddress.ip_address(address.partition("%")[0]).is_global for address in found
            )
        return self._inside[target.host]

    def session(self, routed: bool) -> aiohttp.ClientSession:
        """Routed requests go straight; others may take the proxy that the environment names."""
        session = self._sessions.get(routed)
        if session is None or session.closed:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit_per_host=self.connections_per_host),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.connect_seconds, sock_read=self.read_seconds
                ),
                trust_env=not routed,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._sessions[routed] = session
        return session

    @property
    def user_agent(self) -> str:
        return f"{USER_AGENT} (+{self.contact})" if self.contact else USER_AGENT

    def clean(self, text: str) -> str:
        return redact(text, self.secrets)

    def describe(self, error: Exception | None) -> str:
        return self.clean(f"{type(error).__name__}: {error}")


class BusyUpstream(Transient):
    """A status that asks to come back, with the seconds that Retry-After names (or None)."""

    def __init__(self, message: str, status: int, wait: float | None):
        super().__init__(message, status)
        self.wait = wait


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait from a Retry-After header: a number or an HTTP date; None if there is none."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def redirected(target: URL, location: str) -> URL:
    """Where a Location header leads; an empty URL for one that is no address."""
    try:
        return URL(urljoin(str(target), location), encoded=True)
    except ValueError:
        return URL()


def is_literal(host: str) -> bool:
    """Whether a host is an IP address already."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def resolve(host: str) -> list[str]:
    """The addresses of a name; OSError if it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in headers.items()}


def start_of(body: bytes, length: int = 160) -> str:
    """The start of a body, on one line, to quote in an error."""
    return " ".join(body[: length * 4].decode("utf-8", "replace").split())[:length]


def default_folder() -> Path:
    """A private folder for partial downloads and slots: they outlive a killed process."""
    home = os.environ.get("LUCA_TRANSFERS")
    if home:
        return Path(home)
    folder = Path(tempfile.gettempdir()) / f"luca-transfers-{os.getuid()}"
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
        raise PermissionError(f"{folder} is another user's: set LUCA_TRANSFERS to a folder of your own")
    return folder
