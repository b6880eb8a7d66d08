"""What Prometheus scrapes. Every label has a bounded set of values, and every child exists from the start,
so that `increase()` sees the first event."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ROUTES = ("chat", "models", "feedback", "trace", "other")
STATUSES = (200, 400, 401, 403, 404, 405, 413, 429, 499, 500, 502, 503, 504)
LIMITS = ("requests", "tokens", "in_flight")
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """One registry a gateway, so that tests may run several in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            "luca_gateway_requests",
            "Requests, by route and status (499: the caller left).",
            ("route", "status"),
            registry=self.registry,
        )
        self._requests = {
            (route, status): requests.labels(route, str(status)) for route in ROUTES for status in STATUSES
        }
        seconds = Histogram(
            "luca_gateway_request_seconds",
            "Time to the end of the answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._seconds = {route: seconds.labels(route) for route in ROUTES}
        self.first_token = Histogram(
            "luca_gateway_first_token_seconds",
            "Time to the first piece of a streamed answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        tokens = Counter("luca_gateway_tokens", "Tokens, by kind.", ("kind",), registry=self.registry)
        self.prompt_tokens = tokens.labels("prompt")
        self.completion_tokens = tokens.labels("completion")
        limited = Counter(
            "luca_gateway_limited", "Requests refused by a limit.", ("limit",), registry=self.registry
        )
        self.limited = {name: limited.labels(name) for name in LIMITS}
        self.in_flight = Gauge("luca_gateway_in_flight", "Chat requests under way.", registry=self.registry)
        feedback = Counter(
            "luca_gateway_feedback", "Judgements received, by rating.", ("rating",), registry=self.registry
        )
        self.feedback = {rating: feedback.labels(rating) for rating in ("up", "down", "none")}
        self._engine = Gauge(
            "luca_gateway_engine_up",
            "1 if the engine behind an alias is healthy.",
            ("alias",),
            registry=self.registry,
        )
        self._release = Gauge(
            "luca_gateway_release_info",
            "1 for the release that an alias serves.",
            ("alias", "release"),
            registry=self.registry,
        )

    def count(self, route: str, status: int, seconds: float) -> None:
        """One finished request."""
        child = self._requests.get((route, status)) or self._requests[(route, 500 if status >= 500 else 400)]
        child.inc()
        self._seconds[route].observe(seconds)

    def serving(self, states: Iterable[tuple[str, str, bool]]) -> None:
        """What is served now: (alias, release, healthy) of each route; what was served before is dropped."""
        self._engine.clear()
        self._release.clear()
        for alias, release, healthy in states:
            self._engine.labels(alias).set(1 if healthy else 0)
            self._release.labels(alias, release).set(1)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
