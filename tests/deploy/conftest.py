"""The local upstream over the project's sample, as a process, for a module's tests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.local.stand import Upstream


@dataclass(frozen=True)
class Reply:
    """What came over the wire."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Get = Callable[..., Reply]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    stand = Upstream.start(log=tmp_path_factory.mktemp("upstream") / "upstream.log")
    yield stand
    stand.stop()


@pytest.fixture
def get(upstream: Upstream) -> Iterator[Get]:
    """``get(path, body=…, **headers)`` against the upstream; its faults are cleared afterwards."""

    def ask(path: str, body: bytes | None = None, **headers: str) -> Reply:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(upstream.url + path, data=body, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    yield ask
    ask("/_upstream/faults", b"")
