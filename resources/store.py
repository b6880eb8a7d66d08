"""The store: objects under their SHA-256, and artifacts, which are named sets of objects with a manifest.

A reader sees a whole artifact or none. An artifact is published in this order: its objects, its manifest
(one atomic step; from here on it exists), the key that led to it, and HEAD. A process killed between any
two of these leaves either nothing that a reader sees, or an artifact that the next run finds and adopts.

    store = Store.open("file:///data/luca")
    with store.writer("sources/books", parameters={"query": "life"}) as w:
        w.add("manifest.parquet", path)
        with w.open("notes.txt") as f:
            f.write(b"...")
    print(w.manifest.version)

Contract and layout: docs/architecture.md. Everything streams: memory stays at a few MiB whatever the size
(plus 32 bytes for each referenced object while an artifact is written).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from resources.manifest import (
    MANIFEST,
    REFERENCES,
    ArtifactDamaged,
    ArtifactMissing,
    FileEntry,
    Manifest,
    ObjectDamaged,
    ObjectInfo,
    ObjectMissing,
    StoreError,
    artifact_folder,
    artifact_key,
    canonical_json,
    check_digest,
    check_name,
    check_sha256,
    check_version,
    is_version,
)
from resources.settings import Settings
from resources.store_backend import CHUNK, Backend
from resources.store_local import LocalBackend
from resources.store_writer import ArtifactWriter, Source, put

if TYPE_CHECKING:
    from resources.store_upkeep import GcReport, VerifyReport

__all__ = [
    "ArtifactDamaged",
    "ArtifactMissing",
    "ArtifactWriter",
    "FileEntry",
    "Manifest",
    "ObjectDamaged",
    "ObjectInfo",
    "ObjectMissing",
    "Source",
    "Store",
    "StoreError",
    "artifact_key",
]


class Store:
    """Objects and artifacts at a URI. Safe for many processes and threads at once."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @classmethod
    def open(cls, uri: str, s3_client: Any = None, cache: Path | None = None) -> Store:
        """The store at ``file:///folder`` or ``s3://bucket/prefix``; nothing is read or made yet.

        `s3_client`: a boto3 S3 client to use instead of one from the usual AWS variables.
        `cache`: where `object_path` puts downloads from S3; LUCA_HOME/cache unless given.
        Raises ValueError for any other URI.
        """
        parts = urlsplit(uri)
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            return cls(LocalBackend(Path(os.path.normpath(unquote(parts.path)))))
        if parts.scheme == "s3" and parts.netloc:
            from resources.store_s3 import S3Backend, make_client

            folder = cache or Settings.from_environment().home / "cache"
            client = s3_client if s3_client is not None else make_client()
            return cls(S3Backend(client, parts.netloc, parts.path.strip("/"), folder))
        raise ValueError(f"store {uri!r}: LUCA_STORE must be file:///folder or s3://bucket/prefix")

    def __reduce__(self) -> tuple[Callable[[str], Store], tuple[str]]:
        # Worker processes open the same URI with their own connections.
        return Store.open, (self.uri,)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """Where the store is, without a slash at its end."""
        return self.backend.uri

    # Objects

    def put_object(self, source: Source) -> ObjectInfo:
        """Store bytes under their SHA-256 (once: the same bytes again cost no space)."""
        return put(self.backend, source)

    def has_object(self, sha256: str) -> bool:
        """Whether the object is in the store."""
        return self.backend.stat(check_sha256(sha256)) is not None

    def open_object(self, sha256: str, verify: bool = False) -> BinaryIO:
        """A seekable reader; ranged reads on S3. `verify` reads it all first and checks the digest.

        Raises ObjectMissing, ObjectDamaged.
        """
        if not verify:
            return self.backend.open(check_sha256(sha256))
        file = self.backend.path(check_sha256(sha256)).open("rb")
        try:
            check_digest(sha256, hashlib.file_digest(file, "sha256").hexdigest(), self.uri)  # type: ignore[arg-type]
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def read_object(self, sha256: str, verify: bool = False) -> bytes:
        """All bytes of a small object. Raises ObjectMissing, ObjectDamaged."""
        with self.backend.open(check_sha256(sha256)) as file:
            body = file.read()
        if verify:
            check_digest(sha256, hashlib.sha256(body).hexdigest(), self.uri)
        return body

    def object_path(self, sha256: str) -> Path:
        """The object as a local, read-only file: itself on a disk, a verified cached download on S3."""
        return self.backend.path(check_sha256(sha256))

    # Artifacts

    def writer(
        self,
        name: str,
        *,
        inputs: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        code_version: str = "",
        key: str | None = None,
        run: Mapping[str, Any] | None = None,
        promote: bool = True,
    ) -> ArtifactWriter:
        """A context manager that publishes the artifact when it is left without an exception.

        `inputs`: name -> version of the artifacts that it is built from. `key`: see `artifact_key`, which
        is the default. `run`: who built it (unversioned). `promote=False` leaves HEAD as it is, until
        `adopt` (its checks passed) or `hold` (they did not).
        """
        return ArtifactWriter(
            self,
            name,
            dict(inputs or {}),
            dict(parameters or {}),
            code_version,
            key,
            dict(run or {}),
            promote=promote,
        )

    def head(self, name: str) -> Manifest | None:
        """The current version, or None."""
        return self._follow(f"artifacts/{check_name(name)}/HEAD", name)

    def get(self, name: str, version: str) -> Manifest | None:
        """That version, or None. Raises ArtifactDamaged if its manifest is not what was published."""
        folder = artifact_folder(check_name(name), check_version(version))
        body = self.backend.read(f"{folder}/{MANIFEST}")
        if body is None:
            return None
        manifest = Manifest.from_json(body, f"{self.uri}/{folder}")
        if (manifest.name, manifest.version) != (name, version):
            other = f"{manifest.name}@{manifest.version}"
            raise ArtifactDamaged(
                f"{manifest.uri}/{MANIFEST}: is the manifest of {other}; delete this folder"
            )
        return manifest

    def cached(self, name: str, key: str) -> Manifest | None:
        """The artifact that was built under this key, if it is there with all its files; sets nothing.

        Its own `key` may be another one: the same content, first built under another key, is one artifact.
        """
        manifest = self._follow(f"artifacts/{check_name(name)}/keys/{check_version(key, 'key')}", name)
        if manifest is None:
            return None
        sizes = self.backend.sizes({file.sha256 for file in manifest.files})
        return manifest if all(sizes.get(file.sha256) == file.bytes for file in manifest.files) else None

    def adopt(self, manifest: Manifest) -> None:
        """Make a published artifact HEAD and lift any hold. Raises ArtifactMissing if it is not there."""
        with self.backend.guard():
            if self.get(manifest.name, manifest.version) is None:
                raise ArtifactMissing(
                    f"{manifest.name}@{manifest.version} is not in {self.uri}: build it again"
                )
            self.point(f"artifacts/{manifest.name}/HEAD", manifest.version)
            self.backend.delete(f"artifacts/{manifest.name}/HELD")

    def hold(self, manifest: Manifest, checks: Sequence[str]) -> None:
        """Say that a published artifact failed these checks: what depends on it must wait (see `held`).

        HEAD stays on the last version that passed. The next `adopt` of any version lifts the hold.
        """
        body = canonical_json({"version": manifest.version, "checks": sorted(checks)}, "hold")
        self.backend.replace(f"artifacts/{manifest.name}/HELD", body)

    def held(self, name: str) -> dict[str, Any] | None:
        """``{"version", "checks"}`` of the version that failed its checks last, or None."""
        body = self.backend.read(f"artifacts/{check_name(name)}/HELD")
        return None if body is None else json.loads(body)

    def names(self, prefix: str = "") -> list[str]:
        """Names of the published artifacts that start with `prefix`, sorted."""
        return sorted({name for name, _ in self.backend.artifacts(prefix)})

    def versions(self, name: str) -> list[str]:
        """All published versions of an artifact, oldest first."""
        found = [self.get(name, v) for n, v in self.backend.artifacts(check_name(name)) if n == name]
        return [m.version for m in sorted(filter(None, found), key=lambda m: (m.published_at, m.version))]

    def open_file(self, manifest: Manifest, name: str, verify: bool = False) -> BinaryIO:
        """A seekable reader of one file. Raises ArtifactMissing if there is none of that name."""
        return self.open_object(manifest.file(name).sha256, verify=verify)

    def read_file(self, manifest: Manifest, name: str, verify: bool = False) -> bytes:
        """All bytes of one small file."""
        return self.read_object(manifest.file(name).sha256, verify=verify)

    def file_path(self, manifest: Manifest, name: str) -> Path:
        """One file as a local, read-only path. Its last part is the digest, not the name."""
        return self.object_path(manifest.file(name).sha256)

    def references(self, manifest: Manifest) -> Iterator[str]:
        """Digests of the raw objects that the artifact needs beside its files, sorted."""
        if any(file.name == REFERENCES for file in manifest.files):
            with self.open_file(manifest, REFERENCES) as file:
                for line in file:
                    yield check_sha256(line.decode("ascii").strip())

    def checkout(
        self, manifest: Manifest, dest: Path, only: Iterable[str] | None = None, link: bool = False
    ) -> Path:
        """Copy the artifact's files to the folder `dest`, each verified and put in place atomically.

        `only`: file names or patterns (``*.json``). `link`: hard links where the disk allows, for readers
        that never write: a write through a link would damage the store. Returns `dest`.
        """
        patterns = None if only is None else list(only)
        dest.mkdir(parents=True, exist_ok=True)
        for entry in manifest.files:
            if patterns is None or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                target = dest / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._place(entry, target, link)
        return dest

    def _place(self, entry: FileEntry, target: Path, link: bool) -> None:
        spare = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        source = self.object_path(entry.sha256)
        try:
            try:
                if not link:
                    raise OSError
                spare.hardlink_to(source)
            except OSError:
                digest = hashlib.sha256()
                with source.open("rb") as reader, spare.open("xb") as writer:
                    for chunk in iter(lambda: reader.read(CHUNK), b""):
                        digest.update(chunk)
                        writer.write(chunk)
                check_digest(entry.sha256, digest.hexdigest(), self.uri)
            spare.replace(target)
        finally:
            spare.unlink(missing_ok=True)

    def delete_artifact(self, name: str, version: str) -> None:
        """Remove one version, and HEAD if it names it: no other version is promoted unchecked (see `adopt`).

        Its objects go with the next gc. Raises ArtifactMissing. What other artifacts name as their input
        should not be removed lightly: lineage ends there.
        """
        with self.backend.guard(exclusive=True):
            if not any(found == (name, version) for found in self.backend.artifacts(check_name(name))):
                raise ArtifactMissing(f"{name}@{version} is not in {self.uri}")
            if self.pointer(f"artifacts/{name}/HEAD") == version:
                self.backend.delete(f"artifacts/{name}/HEAD")
            if (self.held(name) or {}).get("version") == version:
                self.backend.delete(f"artifacts/{name}/HELD")
            self.backend.retract(name, version)
            for key in self.backend.keys(name):
                if self.pointer(f"artifacts/{name}/keys/{key}") == version:
                    self.backend.delete(f"artifacts/{name}/keys/{key}")

    def verify(
        self,
        names: Iterable[str] | None = None,
        *,
        deep: bool = True,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        """Read back manifests, pointers, folders and (if `deep`) every byte; see `store_upkeep.verify`."""
        from resources.store_upkeep import verify

        return verify(self, names, deep=deep, on_progress=on_progress)

    def gc(
        self,
        *,
        keep: int | None = None,
        grace_seconds: float = 3600,
        lease_seconds: float = 86400,
        dry_run: bool = False,
    ) -> GcReport:
        """Remove what nothing needs; see `store_upkeep.gc`."""
        from resources.store_upkeep import gc

        return gc(self, keep=keep, grace_seconds=grace_seconds, lease_seconds=lease_seconds, dry_run=dry_run)

    # Pointers

    def pointer(self, key: str) -> str | None:
        """The version that HEAD or a key (a path in the store) names, or None."""
        body = self.backend.read(key)
        text = None if body is None else body.decode("ascii", "replace").strip()
        return text if text and is_version(text) else None

    def _follow(self, key: str, name: str) -> Manifest | None:
        # Twice: the version may be deleted between the two reads, and the pointer moved with it.
        for _ in range(2):
            version = self.pointer(key)
            if version is None:
                return None
            manifest = self.get(name, version)
            if manifest is not None:
                return manifest
        return None

    def point(self, key: str, version: str) -> None:
        """Make HEAD or a key (a path in the store) name a version; for the writer."""
        if self.pointer(key) != version:
            self.backend.replace(key, f"{version}\n".encode())
