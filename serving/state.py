"""What one gateway process knows: routes, keys, limits, answers; and the loop that keeps it fresh.

Route files and the keys file are re-read when they change, engines are asked for their health, and answers
are flushed to disk, all beside the requests. A bad file never replaces a good state: its problem is
kept for /readyz and said once on the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from serving.answers import AnswerBook
from serving.chat import Encoder
from serving.config import GatewayConfig, Route, fingerprint, read_routes
from serving.feedback import FeedbackLog
from serving.keys import KeyRing, KeyTable
from serving.limits import Limiter
from serving.metrics import Metrics
from serving.upstream import Upstream

log = logging.getLogger("luca.gateway")

LoadVocabulary = Callable[[Route], Encoder]
TraceText = Callable[[Route, str], Mapping[str, Any]]
HEALTH_SECONDS = 2.0


class State:
    """Everything that the endpoints share. `load_vocabulary` and `trace_text` block: they run in threads."""

    def __init__(
        self, config: GatewayConfig, *, load_vocabulary: LoadVocabulary, trace_text: TraceText
    ) -> None:
        self.config = config
        self.trace_text = trace_text
        self.metrics = Metrics()
        self.limiter = Limiter()
        self.answers = AnswerBook(config.folder, kept=config.answers_kept, limit=config.answers_bytes)
        self.feedback = FeedbackLog(config.folder, config.feedback_bytes)
        self.keys = KeyTable(b"", [])
        self.routes: dict[str, Route] = {}
        self.healthy: dict[str, bool] = {}
        self.problems: list[str] = []
        self.in_flight = 0
        self.traces = 0
        self.release_header = b""
        self._ring = KeyRing(config.folder)
        self._load_vocabulary = load_vocabulary
        self._vocabularies: dict[tuple[str, str], Encoder] = {}
        self._mark: object = None
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def upstream(self) -> Upstream:
        """The engines' client; only between `open` and `close`."""
        if self._upstream is None:
            raise RuntimeError("the gateway is not started: its lifespan has not run")
        return self._upstream

    def vocabulary(self, route: Route) -> Encoder:
        """The vocabulary of a live route."""
        return self._vocabularies[_vocabulary_key(route)]

    def public_routes(self) -> list[Route]:
        """What is listed: every route but the candidates, by alias."""
        return [route for _, route in sorted(self.routes.items()) if not route.candidate]

    def find_route(self, model: object) -> Route | None:
        """The route of an alias; with no model named, the only public one."""
        if model is None:
            public = self.public_routes()
            return public[0] if len(public) == 1 else None
        return self.routes.get(model) if isinstance(model, str) else None

    async def open(self) -> None:
        """Read the files, open the pool, start the loop that keeps the state fresh."""
        self._upstream = Upstream(self.config)
        await self.reload()
        await self.ask_health()
        self._task = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        """Stop the loop, write what is queued, close the pool."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.answers.flush()
        await self.upstream.close()

    async def reload(self) -> bool:
        """Re-read routes and keys if a file changed. Returns whether one did."""
        mark = fingerprint(self.config.folder)
        if mark == self._mark:
            return False
        problems: list[str] = []
        try:
            self.keys = await asyncio.to_thread(lambda: KeyTable(self._ring.pepper(), self._ring.read()))
            self.limiter.forget(self.keys.ids())
        except (OSError, ValueError) as error:
            problems.append(str(error))
        routes, bad = read_routes(self.config.folder)
        problems += bad
        for alias, route in sorted(routes.items()):
            try:
                await self._ensure_vocabulary(route)
            except Exception as error:
                problems.append(f"route {alias}: vocabulary: {type(error).__name__}: {error}")
                del routes[alias]
        self.routes = routes
        self.release_header = ",".join(r.release for r in self.public_routes()).encode("latin-1", "replace")
        used = {_vocabulary_key(route) for route in routes.values()}
        self._vocabularies = {k: v for k, v in self._vocabularies.items() if k in used}
        for problem in problems:
            if problem not in self.problems:
                log.error("%s", problem)
        self.problems = problems
        # With a problem, again on the next turn: the store may only have been away for a while.
        self._mark = None if problems else mark
        return True

    async def ask_health(self) -> None:
        """Ask every engine whether it can answer."""
        routes = list(self.routes.values())
        up = await asyncio.gather(*(self.upstream.healthy(route) for route in routes))
        self.healthy = {route.alias: ok for route, ok in zip(routes, up, strict=True)}
        public = (r for r in self.public_routes())
        self.metrics.serving((r.alias, r.release, self.healthy.get(r.alias, False)) for r in public)

    async def _ensure_vocabulary(self, route: Route) -> None:
        key = _vocabulary_key(route)
        if key not in self._vocabularies:
            self._vocabularies[key] = await asyncio.to_thread(self._load_vocabulary, route)

    async def _keep_fresh(self) -> None:
        asked = time.monotonic()
        while True:
            await asyncio.sleep(self.config.reload_seconds)
            try:
                changed = await self.reload()
                if changed or time.monotonic() - asked >= HEALTH_SECONDS:
                    await self.ask_health()
                    asked = time.monotonic()
                await asyncio.to_thread(self.answers.flush)
            except Exception:
                # The gateway goes on with what it has; the next turn tries again.
                log.exception("keeping the gateway's state fresh failed")


def _vocabulary_key(route: Route) -> tuple[str, str]:
    return route.store, route.inputs.get("tokens/vocabulary", "")
