"""A loopback engine that speaks vLLM's /v1/completions, in the shapes recorded from vLLM 0.32.0.

`python -m tests.serving.mock_engine PORT_FILE`: a process of its own, as the real one is. The request's
seed asks for a fault, as the gateway passes that field on unchanged. `/_mock/state` says what came in.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

TEXT = "Life began in water, and RNA came before DNA. \u00bfNo es as\u00ed? \u751f\u547d"
PIECES = [
    "Life began",
    " in water,",
    " and RNA",
    " came before DNA.",
    " \u00bfNo es as\u00ed?",
    " \u751f\u547d",
]
BUSY, BROKEN, GARBAGE, SLOW, BREAKS_OFF, REPEATS, LIFTED, ENDLESS = range(9001, 9009)

state: dict[str, Any] = {"requests": [], "aborted": 0, "finished": 0}


def choice(text: str, reason: str | None, stop_reason: object = None) -> dict[str, Any]:
    return {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": reason,
        "stop_reason": stop_reason,
        "token_ids": None,
        "prompt_token_ids": None,
    }


def answer(request: dict[str, Any], text: str, reason: str, stop_reason: object = None) -> bytes:
    prompt = len(request["prompt"])
    return json.dumps(
        {
            "id": "cmpl-8531392aca2aba77",
            "object": "text_completion",
            "created": 1795390590,
            "model": request["model"],
            "choices": [choice(text, reason, stop_reason)],
            "service_tier": None,
            "system_fingerprint": "vllm-0.32.0-9b10ebfd",
            "usage": {
                "prompt_tokens": prompt,
                "total_tokens": prompt + len(PIECES),
                "completion_tokens": len(PIECES),
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
            "kv_transfer_params": None,
            "metrics": None,
        }
    ).encode()


def event(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def stream_event(request: dict[str, Any], text: str, reason: str | None) -> bytes:
    return event(
        {
            "id": "cmpl-b935b64262e4d236",
            "object": "text_completion",
            "created": 1795390591,
            "model": request["model"],
            "choices": [choice(text, reason)],
        }
    )


async def reply(send: Any, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def complete(request: dict[str, Any], send: Any, receive: Any) -> None:
    seed = request.get("seed")
    error = {"error": {"message": "The engine is full", "type": "x", "param": None, "code": 503}}
    if seed == BUSY:
        await reply(send, 503, json.dumps(error).encode())
    elif seed == BROKEN:
        await reply(send, 500, b"Internal Server Error", b"text/plain")
    elif seed == GARBAGE:
        await reply(send, 200, b'{"choices": []}')
    elif seed == SLOW:
        gone = asyncio.create_task(wait_gone(receive))
        done, _ = await asyncio.wait({gone}, timeout=20)
        state["aborted"] += bool(done)
        await reply(send, 200, answer(request, TEXT, "stop"))
    elif seed == REPEATS:
        await reply(send, 200, answer(request, "so so so so", "repetition", "repetition_detected"))
    elif seed == LIFTED:
        from training.alphabets import BLOCKS

        await reply(send, 200, answer(request, "ori: " + "".join(BLOCKS["dna"].characters()[:4]), "stop"))
    else:
        await reply(send, 200, answer(request, TEXT, "stop", 260))


async def wait_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def stream(request: dict[str, Any], send: Any, receive: Any) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def part(data: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    if request.get("seed") == ENDLESS:
        gone = asyncio.create_task(wait_gone(receive))
        for _ in range(2000):
            await part(stream_event(request, "more ", None))
            done, _ = await asyncio.wait({gone}, timeout=0.01)
            if done:
                state["aborted"] += 1
                return
        return
    for piece in PIECES[:-1]:
        data = stream_event(request, piece, None)
        # Cut inside an event and inside a character, as TCP may.
        await part(data[: len(data) // 2])
        await asyncio.sleep(0.001)
        await part(data[len(data) // 2 :])
    if request.get("seed") == BREAKS_OFF:
        await part(b"", more=False)
        return
    usage = {"prompt_tokens": len(request["prompt"]), "completion_tokens": len(PIECES), "total_tokens": 0}
    await part(stream_event(request, PIECES[-1], "stop"))
    await part(
        event({"id": "c", "object": "text_completion", "choices": [], "usage": usage}) + event(b"[DONE]")
    )
    await part(b"", more=False)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/health":
        await reply(send, 200, b"")
        return
    if scope["path"] == "/_mock/state":
        await reply(send, 200, json.dumps(state).encode())
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    request = json.loads(body)
    state["requests"] = [*state["requests"][-4:], request]
    refused = request.get("seed") in (BUSY, BROKEN)
    await (stream if request.get("stream") and not refused else complete)(request, send, receive)
    state["finished"] += 1


async def main(port_file: Path) -> None:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http="httptools", lifespan="off", access_log=False, log_level="error"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    temporary = port_file.with_suffix(".part")
    temporary.write_text(str(server.servers[0].sockets[0].getsockname()[1]))
    temporary.replace(port_file)
    await task


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
