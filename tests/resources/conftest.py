"""Stores for tests: a folder, and a prefix on a real S3 that one SeaweedFS serves for the whole session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.store import Store
from tests.seaweed import Seaweed, seaweed


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A running SeaweedFS with the bucket `luca`."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def s3_store(s3_server: Seaweed, tmp_path: Path) -> Store:
    """An empty store under a prefix of its own."""
    uri = f"s3://luca/{uuid.uuid4().hex}"
    return Store.open(uri, s3_client=s3_server.client(), cache=tmp_path / "cache")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each test that takes this runs on a disk and on S3."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
