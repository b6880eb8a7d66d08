"""Writing an artifact: files stream in, then one publication."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from resources.manifest import (
    REFERENCES,
    FileEntry,
    Manifest,
    ObjectInfo,
    ObjectMissing,
    StoreError,
    artifact_folder,
    artifact_key,
    canonical_json,
    check_file_name,
    check_name,
    check_sha256,
    check_version,
    version_of,
)
from resources.store_backend import CHUNK, Backend, Lease, Sink

if TYPE_CHECKING:
    from resources.store import Store

Source = bytes | bytearray | memoryview | BinaryIO | Path | Iterable[bytes]
"""What can be stored: bytes, a binary file object, a path, or chunks of bytes."""


def put(backend: Backend, source: Source) -> ObjectInfo:
    """Store a source's bytes as an object, streaming."""
    sink = backend.sink()
    try:
        for chunk in chunks_of(source):
            sink.write(chunk)
        return sink.commit()
    finally:
        sink.abort()


def chunks_of(source: Source) -> Iterator[bytes | memoryview]:
    """The source's bytes in bounded pieces; raises TypeError for text."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        view = memoryview(source).cast("B")
        for start in range(0, len(view), CHUNK):
            yield view[start : start + CHUNK]
    elif isinstance(source, Path):
        with source.open("rb") as file:
            yield from iter(lambda: file.read(CHUNK), b"")
    elif isinstance(source, str):
        raise TypeError("a str is no source of bytes: pass Path(...) for a file, or .encode() for text")
    elif hasattr(source, "read"):
        yield from iter(lambda: source.read(CHUNK), b"")
    else:
        yield from source


class ArtifactWriter:
    """Collects an artifact's files, then publishes it; see `Store.writer`. For one thread."""

    def __init__(
        self,
        store: Store,
        name: str,
        inputs: dict[str, str],
        parameters: dict[str, Any],
        code_version: str,
        key: str | None,
        run: dict[str, Any],
        promote: bool = True,
    ) -> None:
        check_name(name)
        for input_name, version in inputs.items():
            check_version(version, f"{name}: version of input {input_name!r}")
        canonical_json(run, f"{name}: run")
        self.name = name
        self.key = check_version(key or artifact_key(name, inputs, parameters, code_version), f"{name}: key")
        self.figures: dict[str, Any] = {}
        """Small facts for people, kept in the manifest outside the version. Plain JSON."""
        self._store = store
        self._inputs, self._parameters, self._run = inputs, parameters, run
        self._code_version = code_version
        self._promote = promote
        self._files: dict[str, FileEntry] = {}
        self._references: set[bytes] = set()
        self._lease: Lease | None = None
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """What was published. Raises StoreError before that."""
        if self._manifest is None:
            raise StoreError(
                f"{self.name} is not published yet: its manifest is there after the 'with' block"
            )
        return self._manifest

    def __enter__(self) -> ArtifactWriter:
        self._lease = self._store.backend.lease({"name": self.name, "inputs": self._inputs})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lease is not None
        try:
            if kind is None:
                self._manifest = self._publish(self._lease)
        finally:
            self._lease.release()
            self._lease = None

    def add(self, name: str, source: Source, volatile: bool = False) -> FileEntry:
        """Store a file. `volatile`: kept and verified, outside the version. ValueError for bad names."""
        self._admit(name)
        info = put(self._store.backend, source)
        return self._enter_file(name, info, volatile)

    def open(self, name: str, volatile: bool = False) -> BinaryIO:
        """A file object to write a file into, as a context manager; it cannot seek.

        Leaving its block by an exception forgets the file; closing it stores it.
        """
        self._admit(name)
        sink = self._store.backend.sink()
        return FileWriter(sink, lambda info: self._enter_file(name, info, volatile))  # type: ignore[return-value]

    def reference(self, sha256: str) -> None:
        """Name an object that the artifact needs and that is not one of its files, so that gc keeps it."""
        self._references.add(bytes.fromhex(check_sha256(sha256)))

    def _admit(self, name: str) -> None:
        if self._lease is None:
            raise StoreError(f"{self.name}: add files inside 'with store.writer(...) as w:'")
        self._lease.refresh()
        check_file_name(name)
        if name == REFERENCES:
            raise ValueError(f"{self.name}: {REFERENCES} is written by the store: use w.reference(sha256)")
        for other in self._files:
            if other == name or other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise ValueError(f"{self.name}: file {name!r} clashes with {other!r}, which is in it already")

    def _enter_file(self, name: str, info: ObjectInfo, volatile: bool) -> FileEntry:
        entry = FileEntry(name, info.bytes, info.sha256, volatile)
        self._files[name] = entry
        return entry

    def _publish(self, lease: Lease) -> Manifest:
        backend = self._store.backend
        if self._references:
            lines = (f"{digest.hex()}\n".encode() for digest in sorted(self._references))
            self._enter_file(REFERENCES, put(backend, lines), False)
        files = tuple(self._files[name] for name in sorted(self._files))
        version = version_of(self.name, files, self._inputs)
        folder = artifact_folder(self.name, version)
        canonical_json(self.figures, f"{self.name}: figures")
        manifest = Manifest(
            name=self.name,
            version=version,
            key=self.key,
            files=files,
            inputs=self._inputs,
            parameters=self._parameters,
            code_version=self._code_version,
            run=self._run,
            figures=dict(self.figures),
            published_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            uri=f"{self._store.uri}/{folder}",
        )
        # Again if it vanished: on S3 nothing keeps a gc from removing a superseded version just now.
        for _ in range(3):
            with backend.guard():
                self._check_objects(files)
                backend.publish(manifest, lease)
                self._store.point(f"artifacts/{self.name}/keys/{self.key}", version)
                if self._promote:
                    self._store.point(f"artifacts/{self.name}/HEAD", version)
                published = self._store.get(self.name, version)
            if published is not None:
                return published
        raise StoreError(
            f"{self.name}@{version} is removed as soon as it is published: stop 'luca store gc' and retry"
        )

    def _check_objects(self, files: tuple[FileEntry, ...]) -> None:
        """All objects are there, and count as stored now: gc, which may be at work, leaves them."""
        backend = self._store.backend
        digests = {file.sha256 for file in files} | {digest.hex() for digest in self._references}
        sizes = backend.sizes(sorted(digests), touch=True)
        missing = sorted(digests - sizes.keys())
        if missing:
            owners = [file.name for file in files if file.sha256 in missing] or ["a reference"]
            raise ObjectMissing(
                f"{self.name}: {len(missing)} of its objects are not in {self._store.uri}, first {missing[0]}"
                f" ({owners[0]}): fetch or build them again"
            )


class FileWriter(io.RawIOBase):
    """A write-only file object over a sink. Closing it stores the object; an exception or loss does not."""

    def __init__(self, sink: Sink, done: Callable[[ObjectInfo], object]) -> None:
        super().__init__()
        self._sink, self._done = sink, done
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:  # type: ignore[override]
        if self.closed:
            raise ValueError("write to a closed file")
        view = memoryview(data).cast("B")
        self._sink.write(view)
        self._position += len(view)
        return len(view)

    def close(self) -> None:
        if not self.closed:
            try:
                self._done(self._sink.commit())
            finally:
                self._sink.abort()
                super().close()

    def discard(self) -> None:
        """Close without storing."""
        if not self.closed:
            self._sink.abort()
            super().close()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()
