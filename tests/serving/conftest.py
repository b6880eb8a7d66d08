"""A store with a real vocabulary, a loopback engine and a gateway, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.settings import PROJECT
from resources.store import Store
from serving.config import Route, write_route
from serving.keys import KeyRing
from serving.limits import Limits
from training.vocabulary_build import Corpus, Sizes, build_vocabulary, vocabulary_files

ALIAS = "luca-test"


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 30) -> str:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{path.name} did not appear; status {process.poll()}")
        time.sleep(0.02)
    return path.read_text()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def vocabulary_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(store URI, version of tokens/vocabulary): a small one, built by the real builder."""
    random = np.random.default_rng(5)
    corpus = Corpus(
        text=["Life began in water. What is life? DNA came after RNA, says the story of life."] * 4,
        dna=["ACGTACGTTTGACA" * 8],
        protein=["MKVLAAGIVGAL" * 8],
        image=[random.integers(0, 255, (32, 32, 3), dtype=np.uint8)],
        audio=[(random.standard_normal(16_000).astype(np.float32), 16_000)],
    )
    sizes = Sizes(text=300, dna=40, protein=40, image=8, audio=8)
    vocabulary = build_vocabulary(corpus, sizes, image_side=4, codebook_sample=100, seed=1)
    store = Store.open(tmp_path_factory.mktemp("store").as_uri())
    with store.writer("tokens/vocabulary") as writer:
        for name, data in vocabulary_files(vocabulary).items():
            writer.add(name, data)
    return store.uri, writer.manifest.version


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the loopback engine."""
    port_file = tmp_path_factory.mktemp("engine") / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.mock_engine", str(port_file)], cwd=PROJECT
    )
    try:
        yield f"http://127.0.0.1:{wait_for(port_file, process)}"
    finally:
        stop(process)


@pytest.fixture(scope="session")
def route(engine: str, vocabulary_store: tuple[str, str]) -> Route:
    """A route to the loopback engine."""
    uri, version = vocabulary_store
    return Route(
        alias=ALIAS,
        release="endpoint/release/test@0123456789abcdef",
        engine=engine,
        store=uri,
        inputs={"tokens/vocabulary": version},
        max_model_len=256,
        max_tokens=32,
        temperature=0.0,
    )


@dataclass(frozen=True)
class Running:
    """A running gateway: its URL, its serving folder, a key that may do much."""

    url: str
    folder: Path
    key: str
    process: subprocess.Popen[bytes]

    def ask(
        self, path: str, body: object = None, *, key: str | None = None, method: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body) of a request; bytes bodies are sent as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.key if key is None else key}")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def chat(self, content: str = "What is life?", **fields: Any) -> tuple[int, dict[str, str], bytes]:
        """A chat request with one message of the user."""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": content}], **fields}
        return self.ask("/v1/chat/completions", body)


StartGateway = Callable[..., Running]


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts a gateway process over routes; stopped by its process at the end."""
    processes = []

    def start(*routes: Route, limits: dict[str, Any] | None = None, folder: Path | None = None) -> Running:
        job = tmp_path_factory.mktemp("gateway")
        serving = folder or job / "serving"
        for each in routes:
            write_route(serving, each)
        spec = {"folder": str(serving), "port": 0, "limits": limits or {}}
        (job / "spec.json").write_text(json.dumps(spec))
        ring = KeyRing(serving)
        name = f"test-{len(ring.read())}"
        key, _ = ring.create(name, Limits(requests_per_minute=1e6, burst=100_000, tokens_per_minute=1e9))
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.gateway_service", str(job)], cwd=PROJECT, env=os.environ
        )
        processes.append(process)
        url = json.loads(wait_for(job / "service.json", process))["url"]
        return Running(url, serving, key, process)

    yield start
    for process in processes:
        stop(process)


@pytest.fixture(scope="session")
def gateway(start_gateway: StartGateway, route: Route) -> Running:
    """One gateway that many tests share; tests that change routes or limits start their own."""
    return start_gateway(route, replace(route, alias="candidate", candidate=True))
