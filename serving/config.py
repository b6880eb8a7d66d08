"""What the gateway serves: routes, one file each under SERVING/routes, re-read while it runs.

A route names an alias, the engine that answers for it and the artifacts behind it. Releasing is writing a
route file; the gateway picks it up within a second, so a roll drops no request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serving.files import write_json_atomic

ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RouteError(ValueError):
    """A route file that cannot be used; the message names the file, the field and the mend."""


@dataclass(frozen=True)
class Route:
    """One served model.

    release: name and key of the release, `endpoint/release/tiny@0123456789abcdef`
    engine: URL of the engine, `http://127.0.0.1:PORT`
    inputs: artifact name -> version; the vocabulary, and for traces the trace index and what it names
    max_model_len, max_tokens: tokens; temperature: default of requests that state none
    candidate: asked by its exact alias only (the smoke question), listed nowhere
    """

    alias: str
    release: str
    engine: str
    store: str
    inputs: Mapping[str, str]
    max_model_len: int
    max_tokens: int
    temperature: float
    engine_model: str = ""
    candidate: bool = False
    created: int = 0

    @property
    def model(self) -> str:
        """The model's name as the engine knows it."""
        return self.engine_model or self.alias


FIELDS = {
    "alias": str,
    "release": str,
    "engine": str,
    "store": str,
    "inputs": dict,
    "max_model_len": int,
    "max_tokens": int,
    "temperature": (int, float),
}


@dataclass(frozen=True)
class GatewayConfig:
    """Bounds of one gateway process. Times in seconds, sizes in bytes."""

    folder: Path
    body_limit: int = 256 * 1024
    in_flight_limit: int = 256
    connect_timeout: float = 2.0
    answer_timeout: float = 120.0
    idle_timeout: float = 30.0
    answers_kept: int = 20_000
    answers_bytes: int = 32 * 2**20
    feedback_bytes: int = 64 * 2**20
    feedback_text_limit: int = 4_000
    trace_text_limit: int = 20_000
    traces_limit: int = 4
    reload_seconds: float = 1.0
    repetition_detection: Mapping[str, int] = field(
        # A pattern of up to 32 tokens that stands six times in a row is a spiral, not an answer.
        default_factory=lambda: {"max_pattern_size": 32, "min_pattern_size": 1, "min_count": 6}
    )


def routes_folder(serving: Path) -> Path:
    """Where the route files of one serving folder are."""
    return serving / "routes"


def write_route(serving: Path, route: Route) -> None:
    """Serve `route` from now on (replaces the route of the same alias)."""
    if not ALIAS.fullmatch(route.alias):
        raise RouteError(
            f"alias {route.alias!r}: use up to 64 letters, digits, '.', '_', '-', a letter or digit first"
        )
    write_json_atomic(routes_folder(serving) / f"{route.alias}.json", asdict(route))


def remove_route(serving: Path, alias: str) -> None:
    """Serve `alias` no longer; nothing happens if it was not served."""
    (routes_folder(serving) / f"{alias}.json").unlink(missing_ok=True)


def read_route(serving: Path, alias: str) -> Route | None:
    """The route of one alias, or None."""
    path = routes_folder(serving) / f"{alias}.json"
    return parse_route(path) if path.exists() else None


def parse_route(path: Path) -> Route:
    """Read one route file; raises RouteError naming file and field."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RouteError(f"{path}: not readable as JSON: {error}. Release the recipe again.") from None
    if not isinstance(raw, dict):
        raise RouteError(f"{path}: must hold an object. Release the recipe again.")
    for name, kind in FIELDS.items():
        if not isinstance(raw.get(name), kind):  # type: ignore[arg-type]
            raise RouteError(f"{path}: {name}: missing or of the wrong type. Release the recipe again.")
    try:
        return Route(**raw)
    except TypeError as error:
        raise RouteError(f"{path}: {error}. Release the recipe again.") from None


def fingerprint(serving: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a route or the keys file does: (name, mtime in ns, inode) of each."""
    found = []
    for path in [serving / "keys.json", *sorted(routes_folder(serving).glob("*.json"))]:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_ino))
    return tuple(found)


def read_routes(serving: Path) -> tuple[dict[str, Route], list[str]]:
    """Every good route by alias, and a message for each bad one (a bad file never takes down the rest)."""
    routes: dict[str, Route] = {}
    problems = []
    for path in sorted(routes_folder(serving).glob("*.json")):
        try:
            route = parse_route(path)
        except RouteError as error:
            problems.append(str(error))
        else:
            routes[route.alias] = route
    return routes, problems
