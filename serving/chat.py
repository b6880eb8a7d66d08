"""OpenAI chat requests to token-id completions and back.

The engine never sees the caller's text: messages become token ids here, by the vocabulary, in which text
cannot spell a control token. What goes upstream is built from an allow-list; nothing else passes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.config import GatewayConfig, Route
from serving.errors import bad_request
from training.alphabets import lowered

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# Fields of OpenAI's API that change nothing of the answer: taken and left.
IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
# Accepted fields that the request is built from.
KNOWN = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
    }
)
# Control tokens after which an answer is over: the model may not write another speaker's turn.
STOPS = (
    "<|end_of_turn|>",
    "<|end_of_document|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|pad|>",
)
FINISH = {"stop": "stop", "length": "length", "repetition": "length", "abort": "stop"}


class Encoder(Protocol):
    """What the gateway needs of training/vocabulary.py's Vocabulary."""

    @property
    def control(self) -> Mapping[str, int]: ...

    def encode_messages(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
    ) -> list[int]: ...


@dataclass(frozen=True)
class ChatRequest:
    """One checked request. `upstream` is the engine's JSON body; token counts are in tokens."""

    messages: list[dict[str, str]]
    stream: bool
    include_usage: bool
    prompt_tokens: int
    max_tokens: int
    upstream: bytes


def build_request(
    body: Mapping[str, Any], route: Route, vocabulary: Encoder, config: GatewayConfig
) -> ChatRequest:
    """Check a chat request and build the engine's; ApiError 400 naming the field."""
    if unknown := body.keys() - KNOWN - IGNORED:
        name = min(unknown)
        raise bad_request(f"{name}: not supported here. Remove it.", name, "unsupported_parameter")
    if body.get("n") not in (None, 1):
        raise bad_request("n: only one answer a request.", "n", "unsupported_parameter")
    messages = parse_messages(body.get("messages"))
    stream = _boolean(body, "stream")
    prompt = vocabulary.encode_messages(messages, add_generation_prompt=True)
    room = route.max_model_len - len(prompt)
    if room < 1:
        raise bad_request(
            f"messages: {len(prompt)} tokens, and this model reads at most {route.max_model_len} with its "
            "answer. Shorten them.",
            "messages",
            "context_length_exceeded",
        )
    asked = _integer(body, "max_completion_tokens", 1, 2**31) or _integer(body, "max_tokens", 1, 2**31)
    max_tokens = min(asked or route.max_tokens, room)
    temperature = _number(body, "temperature", 0.0, 2.0)
    upstream: dict[str, Any] = {
        "model": route.model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": route.temperature if temperature is None else temperature,
        "stop_token_ids": [vocabulary.control[name] for name in STOPS if name in vocabulary.control],
        "repetition_detection": config.repetition_detection,
        "add_special_tokens": False,
    }
    for field, low, high in (
        ("top_p", 1e-6, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
    ):
        if (number := _number(body, field, low, high)) is not None:
            upstream[field] = number
    if (seed := _integer(body, "seed", -(2**63), 2**63 - 1)) is not None:
        upstream["seed"] = seed
    if stop := _stop(body.get("stop")):
        upstream["stop"] = stop
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request(
            'stream_options: must be an object, like {"include_usage": true}.', "stream_options"
        )
    if stream:
        upstream["stream"] = True
        upstream["stream_options"] = {"include_usage": True}
    return ChatRequest(
        messages=messages,
        stream=stream,
        include_usage=bool(options and options.get("include_usage")),
        prompt_tokens=len(prompt),
        max_tokens=max_tokens,
        upstream=json.dumps(upstream, separators=(",", ":")).encode(),
    )


def parse_messages(value: Any) -> list[dict[str, str]]:
    """Messages as {role, content} of text; ApiError 400 naming the message."""
    if not isinstance(value, list) or not value:
        raise bad_request("messages: give a list with at least one message.", "messages")
    messages = []
    for position, message in enumerate(value):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise bad_request(f"{where}: must be an object with role and content.", where)
        role = ROLES.get(message["role"]) if isinstance(message.get("role"), str) else None
        if role is None:
            raise bad_request(f"{where}.role: must be one of {', '.join(ROLES)}.", f"{where}.role")
        messages.append({"role": role, "content": _content(message.get("content"), f"{where}.content")})
    if messages[-1]["role"] != "user":
        raise bad_request("messages: the last one must be the user's.", "messages")
    return messages


def _content(value: Any, where: str) -> str:
    if isinstance(value, list):
        parts = []
        for part in value:
            if (
                not isinstance(part, dict)
                or part.get("type") != "text"
                or not isinstance(part.get("text"), str)
            ):
                raise bad_request(f"{where}: only parts of type text are read.", where, "unsupported_content")
            parts.append(part["text"])
        value = "\n".join(parts)
    if not isinstance(value, str):
        raise bad_request(f"{where}: must be text.", where)
    # A lone surrogate is no character; it could be neither encoded nor written to a record.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _boolean(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise bad_request(f"{field}: must be true or false.", field)
    return value


def _integer(body: Mapping[str, Any], field: str, low: int, high: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad_request(f"{field}: must be a whole number from {low} to {high}.", field)
    return value


def _number(body: Mapping[str, Any], field: str, low: float, high: float) -> float | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_request(f"{field}: must be a number from {low:g} to {high:g}.", field)
    if not low <= value <= high:
        raise bad_request(f"{field}: must be from {low:g} to {high:g}.", field)
    return value


def _stop(value: Any) -> list[str]:
    if value is None:
        return []
    stops = [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > 4
        or not all(isinstance(s, str) and 0 < len(s) <= 64 for s in stops)
    ):
        raise bad_request("stop: a text, or up to four, of 1 to 64 characters each.", "stop")
    return stops


@dataclass(frozen=True)
class Completion:
    """What the engine said: text, why it ended (OpenAI's words), the engine's own word, tokens used."""

    text: str
    finish_reason: str
    stop_detail: str | None
    prompt_tokens: int
    completion_tokens: int


def read_completion(data: bytes) -> Completion:
    """An engine's /v1/completions answer; ValueError if it is not one."""
    try:
        value = json.loads(data)
        choice = value["choices"][0]
        usage = value["usage"]
        reason = choice["finish_reason"]
        return Completion(
            text=lowered(choice["text"]),
            finish_reason=FINISH.get(reason, "stop"),
            stop_detail=choice.get("stop_reason") if reason == "repetition" else None,
            prompt_tokens=int(usage["prompt_tokens"]),
            completion_tokens=int(usage["completion_tokens"]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a completion: {type(error).__name__} {error}") from None


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def chat_completion(answer_id: str, created: int, route: Route, completion: Completion) -> bytes:
    """The chat.completion object, as JSON bytes."""
    return json.dumps(
        {
            "id": answer_id,
            "object": "chat.completion",
            "created": created,
            "model": route.alias,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": completion.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": completion.finish_reason,
                    "stop_detail": completion.stop_detail,
                }
            ],
            "usage": usage_of(completion.prompt_tokens, completion.completion_tokens),
            "system_fingerprint": route.release,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "replace")


def engine_message(data: bytes) -> str:
    """The message of an engine's error body, bounded."""
    try:
        message = json.loads(data)["error"]["message"]
    except (KeyError, TypeError, ValueError):
        message = data[:200].decode("utf-8", "replace")
    return str(message)[:500]
