"""A running local upstream over the sample, for tests of the clients and of the mirror."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.stand import Upstream
from resources.http import HttpClient


class Running:
    """The upstream's levers, and clients that are routed to it."""

    def __init__(self, upstream: Upstream, folder: Path):
        self.upstream, self.folder = upstream, folder

    def http(self, **options: Any) -> HttpClient:
        defaults: dict[str, Any] = {"backoff": 0.01, "folder": self.folder / "transfers"}
        return HttpClient(routes={self.upstream.origin: self.upstream.url}, **{**defaults, **options})

    def control(self, action: str, body: bytes | None = None, **query: str) -> Any:
        address = f"{self.upstream.url}/_upstream/{action}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(urllib.request.Request(address, data=body)) as answer:
            return json.loads(answer.read())

    def requests(self) -> int:
        """Requests since the last call."""
        return int(self.control("stats", reset="1")["total"])


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    upstream = Upstream.start(log=folder / "upstream.log")
    try:
        yield Running(upstream, folder)
    finally:
        upstream.stop()
