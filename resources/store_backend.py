"""What a store asks of the place it stands on: a disk (`store_local.py`) or S3 (`store_s3.py`).

Each operation is atomic by itself: it has happened or it has not, whenever the process dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from resources.manifest import Manifest, ObjectInfo

CHUNK = 1 << 20
"""Bytes in memory at a time, for every copy."""


@dataclass(frozen=True)
class Entry:
    """Something stored: `modified` is in seconds since 1970 by the store's own clock."""

    key: str
    bytes: int
    modified: float


@dataclass(frozen=True)
class LeaseInfo:
    """A writer at work: when it began (the store's clock) and what it builds from."""

    id: str
    started: float
    body: Mapping[str, Any]


class Lease(Protocol):
    """A writer's sign that it is at work; gc keeps what was stored since it began."""

    id: str

    def refresh(self) -> None:
        """Say that the writer still lives."""

    def release(self) -> None:
        """The writer has ended."""


class Sink(Protocol):
    """Bytes on their way to becoming an object; hashed as they come."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def commit(self) -> ObjectInfo:
        """Make them an object, durable and read-only."""

    def abort(self) -> None:
        """Forget them."""


class Backend(Protocol):
    """The operations. Keys are relative to the store, with slashes."""

    uri: str

    def read(self, key: str) -> bytes | None:
        """A small document, or None."""

    def replace(self, key: str, body: bytes) -> None:
        """Write a small document in one atomic step."""

    def delete(self, key: str) -> None:
        """Remove a small document; none is no error."""

    def sink(self) -> Sink:
        """Begin an object."""

    def stat(self, sha256: str) -> Entry | None:
        """An object's entry, or None."""

    def sizes(self, digests: Iterable[str], touch: bool = False) -> dict[str, int]:
        """Bytes of those objects that exist; `touch` makes them count as stored just now."""

    def open(self, sha256: str) -> BinaryIO:
        """A seekable reader; raises ObjectMissing."""

    def path(self, sha256: str) -> Path:
        """The object as a local file; raises ObjectMissing, ObjectDamaged."""

    def objects(self) -> Iterator[Entry]:
        """Every object, `key` being its digest, sorted."""

    def delete_object(self, sha256: str, cutoff: float) -> bool:
        """Remove the object if it was stored before `cutoff`; whether it did."""

    def artifacts(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(name, version) of every published artifact whose name starts with `prefix`, sorted."""

    def keys(self, name: str) -> list[str]:
        """The keys that point to a version of `name`, sorted."""

    def publish(self, manifest: Manifest, lease: Lease) -> bool:
        """Make the artifact exist, if none of its version does; whether it was this call."""

    def retract(self, name: str, version: str) -> None:
        """Make the artifact not exist."""

    def view_problems(self, manifest: Manifest) -> list[str]:
        """What is wrong with the artifact's folder for people (nothing, where there is none)."""

    def guard(self, exclusive: bool = False) -> AbstractContextManager[None]:
        """Writers hold it shared while they publish; gc holds it alone while it removes."""

    def lease(self, body: Mapping[str, Any]) -> Lease:
        """Begin a writer's lease."""

    def leases(self, lease_seconds: float) -> list[LeaseInfo]:
        """The writers at work."""

    def leftovers(self, cutoff: float, lease_seconds: float) -> list[Entry]:
        """What killed writers left before `cutoff`."""

    def remove_leftover(self, entry: Entry) -> None:
        """Remove one of them."""

    def now(self) -> float:
        """The store's own clock."""
