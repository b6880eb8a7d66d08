"""One HTTP exchange over ASGI: the body with a bound, the answer, and the caller's leaving."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from serving.errors import ApiError, bad_request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json"


class CallerLeftError(Exception):
    """The caller closed the connection before the answer was whole."""


class Exchange:
    """A request under way. `status` is what was answered so far (0: nothing)."""

    __slots__ = (
        "_receive",
        "_send",
        "authorization",
        "length",
        "method",
        "path",
        "release",
        "started",
        "status",
    )

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.authorization: bytes | None = None
        self.length: bytes | None = None
        self.release = b""
        self.status = 0
        self.started = time.perf_counter()
        self._receive = receive
        self._send = send
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-length":
                self.length = value

    async def body(self, limit: int) -> bytes:
        """The whole request body; ApiError 413 above `limit` bytes, before reading more than that."""
        if self.length is not None and int(self.length) > limit:
            raise too_large(limit)
        message = await self._receive()
        data: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [data], len(data)
            while message.get("more_body"):
                message = await self._receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise too_large(limit)
            data = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise CallerLeftError
        if len(data) > limit:
            raise too_large(limit)
        return data

    async def reply(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON_TYPE,
        extra: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send a whole answer."""
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *extra]
        if self.release:
            headers.append((b"x-luca-release", self.release))
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def reply_json(self, status: int, value: Any) -> None:
        """Send an object."""
        await self.reply(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))

    async def reply_error(self, error: ApiError) -> None:
        """Send an error in OpenAI's shape."""
        extra = []
        if error.retry_after is not None:
            # Whole seconds, rounded up: coming back earlier would be refused again.
            extra.append((b"retry-after", b"%d" % max(1, -int(-error.retry_after // 1))))
        if error.status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        if error.status == 413:
            extra.append((b"connection", b"close"))
        await self.reply(error.status, error.body(), extra=extra)

    async def start_stream(self) -> None:
        """Send the head of a stream of events."""
        self.status = 200
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        if self.release:
            headers.append((b"x-luca-release", self.release))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_part(self, data: bytes, more: bool = True) -> None:
        """Send a part of a stream; `more=False` ends it."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def watch(self) -> CallerWatch:
        """Give up the work of the block when the caller leaves (raises CallerLeftError from the block)."""
        return CallerWatch(self._receive)


class CallerWatch:
    """Listens while the block works: ASGI tells of a disconnect only to who is receiving."""

    __slots__ = ("_left", "_receive", "_task", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = False

    def __enter__(self) -> CallerWatch:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a caller is watched from inside a task only")
        self._task = task
        self._watcher = asyncio.get_running_loop().create_task(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._watcher.cancel()
        if self._left and kind is not None and issubclass(kind, asyncio.CancelledError):
            self._task.uncancel()
            raise CallerLeftError from None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._task.cancel()


def too_large(limit: int) -> ApiError:
    """413, with the limit."""
    return ApiError(413, f"The body is above {limit} bytes. Send less.", code="body_too_large")


def object_body(data: bytes) -> dict[str, Any]:
    """A JSON object; ApiError 400 that says where it is broken."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object.", code="invalid_json")
    return value
