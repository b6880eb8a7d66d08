"""Where things are on this machine: read once from the environment, passed on as a value.

Every variable and its default stands in docs/architecture.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Paths, URIs and routes. Relative paths are taken from the project's folder."""

    home: Path
    store: str
    catalog: Path
    mixture: Path
    recipes: Path
    routes: Mapping[str, str]

    @property
    def jobs(self) -> Path:
        """Folder of launched jobs' records."""
        return self.home / "jobs"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the LUCA_* variables; raises ValueError that names the variable."""
        home = (PROJECT / environment.get("LUCA_HOME", ".luca")).resolve()
        return cls(
            home=home,
            store=environment.get("LUCA_STORE") or (home / "store").as_uri(),
            catalog=(PROJECT / environment.get("LUCA_CATALOG", "assets/sources/catalog.yaml")).resolve(),
            mixture=(PROJECT / environment.get("LUCA_MIXTURE", "assets/mixture/mixture.yaml")).resolve(),
            recipes=(PROJECT / environment.get("LUCA_RECIPES", "training/recipes")).resolve(),
            routes=parse_routes(environment.get("LUCA_ROUTES", "")),
        )


def parse_routes(text: str) -> dict[str, str]:
    """``origin=origin,…`` to a mapping; raises ValueError naming the bad part."""
    routes: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        origin, separator, target = part.partition("=")
        if not separator or "://" not in origin or "://" not in target:
            raise ValueError(
                f"LUCA_ROUTES: {part!r} is not ORIGIN=ORIGIN, like http://a.test=http://127.0.0.1:80"
            )
        routes[origin.rstrip("/")] = target.rstrip("/")
    return routes
