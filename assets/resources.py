"""Dagster's handles on the plain classes of `resources/`: configuration here, behaviour there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.settings import Settings

if TYPE_CHECKING:
    from resources.compute import LocalCompute
    from resources.http import HttpClient
    from resources.launcher import LocalLauncher
    from resources.store import Store


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The artifact store: a folder (file:///…) or an S3 prefix (s3://bucket/prefix)."""

    uri: str

    def open(self) -> Store:
        from resources.store import Store

        if not self.uri.startswith("s3://"):
            return Store.open(self.uri)
        # dagster-aws builds the client, so that a deployment sets profile, endpoint and retries in one place.
        from dagster_aws.s3 import S3Resource

        return Store.open(self.uri, s3_client=S3Resource().get_client())


class HttpResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The polite HTTP client of the source protocols."""

    routes: dict[str, str] = Field(default_factory=dict)

    def client(self) -> HttpClient:
        from resources.http import HttpClient

        return HttpClient(routes=self.routes)


class LauncherResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Starts and follows jobs that outlive the step: training, evaluation, services."""

    root: str
    # A training saves its state when it is told to end; its workers get 30 s for that.
    grace_seconds: float = 40

    def open(self) -> LocalLauncher:
        from resources.launcher import LocalLauncher

        return LocalLauncher(Path(self.root), grace_seconds=self.grace_seconds)


class ComputeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Maps a function over items in local processes; 0 workers means one per core."""

    workers: int = 0

    def open(self) -> LocalCompute:
        from resources.compute import LocalCompute

        return LocalCompute(workers=self.workers or None)


def default_resources(settings: Settings) -> dict[str, object]:
    """What the code location runs on unless a test overrides it."""
    return {
        "store": StoreResource(uri=settings.store),
        "http": HttpResource(routes=dict(settings.routes)),
        "launcher": LauncherResource(root=str(settings.jobs)),
        "compute": ComputeResource(),
    }
