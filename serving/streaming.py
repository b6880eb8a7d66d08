"""Server-sent events: reading the engine's, writing OpenAI's chat.completion.chunk.

Source of the format: WHATWG HTML, "Server-sent events"; the engine ends a stream with `data: [DONE]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from serving.chat import FINISH, usage_of
from serving.config import Route
from training.alphabets import lowered

DONE = b"data: [DONE]\n\n"
EVENT_LIMIT = 1 << 20


class EventReader:
    """Cuts a byte stream into the data of its events; a chunk may end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that this chunk completes; ValueError on an event above 1 MiB."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > EVENT_LIMIT:
            raise ValueError("an event above 1 MiB")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@dataclass(frozen=True)
class Delta:
    """One event of the engine: new text, the end's reason if it is the end, usage if it tells it."""

    text: str
    finish_reason: str | None
    stop_detail: str | None
    usage: tuple[int, int] | None


def read_delta(data: bytes) -> Delta:
    """An engine's stream event; ValueError if it is an error or not an event that we know."""
    value = json.loads(data)
    if not isinstance(value, dict) or "choices" not in value:
        detail = value.get("error", value) if isinstance(value, dict) else value
        raise ValueError(f"not a completion event: {str(detail)[:300]}")
    text, reason, detail = "", None, None
    try:
        if value["choices"]:
            choice = value["choices"][0]
            text, reason = lowered(choice["text"]), choice["finish_reason"]
            detail = choice.get("stop_reason") if reason == "repetition" else None
        usage = value.get("usage")
        counts = (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a completion event: {type(error).__name__} {error}") from None
    return Delta(text, FINISH.get(reason, "stop") if reason else None, detail, counts)


class ChunkWriter:
    """Writes one answer's events. The parts that never change are rendered once."""

    def __init__(self, answer_id: str, created: int, route: Route, include_usage: bool) -> None:
        head = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": route.alias,
            "system_fingerprint": route.release,
        }
        self._head = b"data: " + json.dumps(head, separators=(",", ":")).encode()[:-1]
        # With usage asked for, every chunk but the last says that it has none.
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage

    def role(self) -> bytes:
        """The first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": ""}, None, None)

    def text(self, text: str) -> bytes:
        """A piece of the answer."""
        return self._chunk({"content": text}, None, None)

    def finish(self, reason: str, stop_detail: str | None) -> bytes:
        """The end of the answer, and why."""
        return self._chunk({}, reason, stop_detail)

    def usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The tokens used, if the caller asked; else nothing."""
        if not self._include_usage:
            return b""
        usage = json.dumps(usage_of(prompt_tokens, completion_tokens), separators=(",", ":")).encode()
        return self._head + b',"choices":[],"usage":' + usage + b"}\n\n"

    def error(self, body: bytes) -> bytes:
        """An error after the answer has begun: an event with an error object, as the clients expect."""
        return b"data: " + body + b"\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None, stop_detail: str | None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        if stop_detail is not None:
            choice["stop_detail"] = stop_detail
        rendered = json.dumps(choice, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return self._head + b',"choices":[' + rendered + b"]" + self._tail
