"""What the gateway costs: CPU milliseconds a request, beside the engine alone and a bare forwarder.

    python -m tests.benchmarks.bench_gateway [--requests 4000] [--connections 1 16 64]

A loopback engine in a process of its own; before it, in turn, nothing, a bare ASGI + aiohttp forwarder (no
keys, no limits, no records), and the gateway with every feature on. The load comes from this process, over
raw sockets with keep-alive. CPU is the process's own user + system time, so other work on the machine
disturbs it less than requests a second, which are only comparable within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from resources.settings import PROJECT
from resources.store import Store
from serving.config import Route, write_route
from serving.keys import KeyRing
from serving.limits import Limits
from training.vocabulary import Vocabulary
from training.vocabulary_build import Corpus, Sizes, build_vocabulary, vocabulary_files

ALIAS = "luca-bench"
QUESTION = (
    "What is life, and how did it begin in the water of the young Earth? Answer in two sentences, please."
)


@contextmanager
def process(*command: str, ready: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A server of the project's Python; yields it and what it wrote to `ready`."""
    child = subprocess.Popen([sys.executable, "-m", *command], cwd=PROJECT)
    try:
        while not ready.exists():
            if child.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {child.returncode}")
            time.sleep(0.02)
        yield psutil.Process(child.pid), ready.read_text()
    finally:
        child.terminate()
        child.wait(20)


async def load(url: str, path: str, body: bytes, key: str, requests: int, connections: int) -> float:
    """Send the requests over so many connections; returns seconds. RuntimeError if a status is not 200."""
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    left = iter(range(requests))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in left:
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode() + (await reader.read(500)).decode())
            lines = answer.lower().split(b"\r\n")
            length = next((int(v[15:]) for v in lines if v.startswith(b"content-length:")), None)
            if length is not None:
                await reader.readexactly(length)
            else:
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return time.perf_counter() - started


def measure(
    server: psutil.Process, url: str, path: str, body: bytes, key: str, requests: int, connections: int
) -> tuple[float, float]:
    """(requests a second, CPU milliseconds of the server a request), after a warm-up."""
    import uvloop

    uvloop.run(load(url, path, body, key, 500, connections))
    before = server.cpu_times()
    seconds = uvloop.run(load(url, path, body, key, requests, connections))
    after = server.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return requests / seconds, cpu / requests * 1000


def prepare(folder: Path, engine: str) -> tuple[Vocabulary, str]:
    """A store with a vocabulary, a route and a key; returns the vocabulary and the key."""
    store = Store.open((folder / "store").as_uri())
    sizes = Sizes(text=1000, dna=24, protein=64, image=4, audio=4)
    text = [(PROJECT / "docs" / "architecture.md").read_text(), QUESTION]
    vocabulary = build_vocabulary(Corpus(text=text), sizes, image_side=16, codebook_sample=16, seed=0)
    with store.writer("tokens/vocabulary") as writer:
        for name, data in vocabulary_files(vocabulary).items():
            writer.add(name, data)
    serving = folder / "serving"
    route = Route(
        alias=ALIAS,
        release="endpoint/release/bench@0123456789abcdef",
        engine=engine,
        store=store.uri,
        inputs={"tokens/vocabulary": writer.manifest.version},
        max_model_len=512,
        max_tokens=96,
        temperature=0.0,
    )
    write_route(serving, route)
    key, _ = KeyRing(serving).create("bench", Limits(1e9, 10**9, 1e12))
    (folder / "spec.json").write_text(json.dumps({"folder": str(serving), "port": 0}))
    return vocabulary, key


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with process("tests.serving.mock_engine", str(folder / "port"), ready=folder / "port") as (
            engine,
            port,
        ):
            engine_url = f"http://127.0.0.1:{port}"
            vocabulary, key = prepare(folder, engine_url)
            messages = [{"role": "user", "content": QUESTION}]
            prompt = vocabulary.encode_messages(messages, add_generation_prompt=True)
            direct: dict[str, Any] = {"model": ALIAS, "prompt": prompt, "max_tokens": 96, "temperature": 0.0}
            chat = {"model": ALIAS, "messages": messages, "max_tokens": 96}
            print(f"requests of {len(json.dumps(chat))} bytes, {len(prompt)} tokens; {chosen.requests} a row")
            print(f"{'':34}{'connections':>12}{'requests/s':>12}{'CPU ms':>9}")
            with (
                process(
                    "tests.benchmarks.bare_forwarder", str(folder / "bare"), engine_url, ready=folder / "bare"
                ) as (bare, bare_port),
                process("serving.gateway_service", str(folder), ready=folder / "service.json") as (
                    gateway,
                    said,
                ),
            ):
                gateway_url = json.loads(said)["url"]
                plain, asked = "/v1/completions", "/v1/chat/completions"
                streamed = {**chat, "stream": True}
                rows = [
                    ("loopback engine, direct", engine, engine_url, plain, direct),
                    ("bare ASGI + aiohttp forwarder", bare, f"http://127.0.0.1:{bare_port}", plain, direct),
                    ("gateway", gateway, gateway_url, asked, chat),
                    ("gateway, streamed (7 chunks)", gateway, gateway_url, asked, streamed),
                ]
                for name, server, url, path, body in rows:
                    for connections in chosen.connections:
                        count = chosen.requests if not body.get("stream") else chosen.requests // 4
                        rate, cpu = measure(
                            server, url, path, json.dumps(body).encode(), key, count, connections
                        )
                        print(f"{name:34}{connections:>12}{rate:>12.0f}{cpu:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
