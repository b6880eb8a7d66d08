"""A small client of the gateway, for this machine's own user: `luca ask`, the smoke question, the demo."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any


class GatewayError(RuntimeError):
    """The gateway refused (`status`) or was not reached (0); the message is its own where it gave one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """One answer: its id, text, release, and why it ended (`stop`: by itself; `length`: cut)."""

    id: str
    text: str
    release: str
    model: str
    finish_reason: str
    completion_tokens: int


@dataclass(frozen=True)
class Client:
    """Talks to one gateway with one key. Times in seconds."""

    url: str
    key: str
    timeout: float = 120.0

    def chat(self, question: str, model: str | None = None, **fields: Any) -> Reply:
        """Ask one question. GatewayError when there is no answer."""
        body = {"messages": [{"role": "user", "content": question}], **fields}
        answer = self.call("POST", "/v1/chat/completions", {**body, "model": model} if model else body)
        choice = answer["choices"][0]
        return Reply(
            id=answer["id"],
            text=choice["message"]["content"],
            release=answer["system_fingerprint"],
            model=answer["model"],
            finish_reason=choice["finish_reason"],
            completion_tokens=answer["usage"]["completion_tokens"],
        )

    def trace(
        self, *, id: str | None = None, text: str | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """Trace an answer by its id, or any text."""
        body = {"id": id, "text": text, "model": model}
        return self.call("POST", "/v1/trace", {k: v for k, v in body.items() if v is not None})

    def ready(self) -> dict[str, Any]:
        """What /readyz says, ready or not."""
        return self.call("GET", "/readyz", accept=(200, 503))

    def models(self) -> list[str]:
        """The aliases that are served."""
        return [model["id"] for model in self.call("GET", "/v1/models")["data"]]

    def call(
        self, method: str, path: str, body: object = None, accept: tuple[int, ...] = (200,)
    ) -> dict[str, Any]:
        """One request and its JSON object; GatewayError otherwise."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                status, content = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        except OSError as error:
            raise GatewayError(f"{self.url} is not reachable: {error}") from None
        try:
            value = json.loads(content)
        except ValueError:
            value = {}
        if status not in accept or not isinstance(value, dict):
            message = value.get("error", {}).get("message") if isinstance(value, dict) else None
            raise GatewayError(f"{method} {path}: {status}: {message or content[:200]!r}", status)
        return value
