"""A store on a disk.

An object is written beside (`staging/`), flushed, made read-only and linked to its name. An artifact's
folder is built beside, as hard links and its manifest, and renamed into place: it exists whole or not
at all. Whoever writes holds a lock (flock) on its own file in `staging/`, which the system drops when
the process dies, so gc knows the dead from the living without a clock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from resources.manifest import (
    MANIFEST,
    Manifest,
    ObjectInfo,
    ObjectMissing,
    artifact_folder,
    is_version,
    object_key,
)
from resources.store_backend import CHUNK, Entry, Lease, LeaseInfo, Sink

READ_ONLY = 0o444


class LocalBackend:
    """The operations of `store_backend.Backend` on a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri()
        self.staging = root / "staging"

    # Small documents

    def read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def replace(self, key: str, body: bytes) -> None:
        target = self.root / key
        _make_folder(target.parent)
        with self._part() as (part, file):
            file.write(body)
            _flush(file)
            part.replace(target)
        _flush_folder(target.parent)

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    # Objects

    def sink(self) -> Sink:
        return _LocalSink(self)

    def stat(self, sha256: str) -> Entry | None:
        try:
            status = (self.root / object_key(sha256)).stat()
        except FileNotFoundError:
            return None
        return Entry(sha256, status.st_size, status.st_mtime)

    def sizes(self, digests: Iterable[str], touch: bool = False) -> dict[str, int]:
        found: dict[str, int] = {}
        for sha256 in digests:
            path = self.root / object_key(sha256)
            with suppress(FileNotFoundError):
                found[sha256] = path.stat().st_size
                if touch:
                    _touch(path)
        return found

    def open(self, sha256: str) -> BinaryIO:
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        path = self.root / object_key(sha256)
        if not path.is_file():
            raise ObjectMissing(
                f"object {sha256} is not in {self.uri}; 'luca store verify' names the artifacts that need it,"
                " and building them again brings it back"
            )
        return path

    def objects(self) -> Iterator[Entry]:
        for folder in _sorted(self.root / "objects"):
            for path in _sorted(folder):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield Entry(path.name, status.st_size, status.st_mtime)

    def delete_object(self, sha256: str, cutoff: float) -> bool:
        path = self.root / object_key(sha256)
        with self.guard(exclusive=True), suppress(FileNotFoundError):
            if path.stat().st_mtime < cutoff:
                path.unlink()
                return True
        return False

    # Artifacts

    def artifacts(self, prefix: str) -> Iterator[tuple[str, str]]:
        root = self.root / "artifacts"
        start = root / prefix.rpartition("/")[0]
        for folder in _version_folders(start):
            name = folder.parent.relative_to(root).as_posix()
            if name.startswith(prefix) and (folder / MANIFEST).is_file():
                yield name, folder.name

    def keys(self, name: str) -> list[str]:
        return [path.name for path in _sorted(self.root / "artifacts" / name / "keys")]

    def publish(self, manifest: Manifest, lease: Lease) -> bool:
        target = self.root / artifact_folder(manifest.name, manifest.version)
        if (target / MANIFEST).is_file():
            self._mend_view(target)
            return False
        view = self.staging / f"{lease.id}.view"
        shutil.rmtree(view, ignore_errors=True)
        _make_folder(view)
        for entry in manifest.files:
            place = view / entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(self.path(entry.sha256), place)
        with (view / MANIFEST).open("xb") as file:
            file.write(manifest.to_json())
            _flush(file)
        (view / MANIFEST).chmod(READ_ONLY)
        for folder, _, _ in os.walk(view, topdown=False):
            _flush_folder(Path(folder))
        _make_folder(target.parent)
        try:
            view.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(view)  # another writer of the same version was first: same content
            return False
        _flush_folder(target.parent)
        return True

    def retract(self, name: str, version: str) -> None:
        grave = self.staging / f"{uuid.uuid4().hex}.gone"
        _make_folder(self.staging)
        with suppress(FileNotFoundError):
            (self.root / artifact_folder(name, version)).rename(grave)
            shutil.rmtree(grave)

    def view_problems(self, manifest: Manifest) -> list[str]:
        folder = self.root / artifact_folder(manifest.name, manifest.version)
        problems: list[str] = []
        for entry in manifest.files:
            place, thing = folder / entry.name, self.root / object_key(entry.sha256)
            if not place.is_file():
                problems.append(f"{entry.name} is not in {folder}")
            elif thing.is_file() and not place.samefile(thing) and _sha256(place) != entry.sha256:
                problems.append(f"{place} differs from its object {entry.sha256}")
        return problems

    def _mend_view(self, folder: Path) -> None:
        """Make the files for people links to the objects again, where someone changed or removed them."""
        manifest = Manifest.from_json((folder / MANIFEST).read_bytes(), folder.as_uri())
        for entry in manifest.files:
            thing, place = self.root / object_key(entry.sha256), folder / entry.name
            if not thing.is_file() or (place.is_file() and place.samefile(thing)):
                continue
            if place.is_file() and place.stat().st_nlink == 1 and _sha256(place) == entry.sha256:
                continue  # a disk without hard links: a copy is as good
            spare = self.staging / f"{uuid.uuid4().hex}.part"
            _link(thing, spare)
            place.parent.mkdir(parents=True, exist_ok=True)
            spare.replace(place)

    # Writers and the swept

    @contextmanager
    def guard(self, exclusive: bool = False) -> Iterator[None]:
        _make_folder(self.staging)
        with (self.staging / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def lease(self, body: Mapping[str, Any]) -> Lease:
        _make_folder(self.staging)
        return _LocalLease(self.staging, body)

    def leases(self, lease_seconds: float) -> list[LeaseInfo]:
        live: list[LeaseInfo] = []
        for path in sorted(self.staging.glob("*.lease")):
            with suppress(FileNotFoundError):
                if _locked(path):
                    text = path.read_text("utf-8")
                    live.append(LeaseInfo(path.stem, path.stat().st_mtime, json.loads(text) if text else {}))
        return live

    def leftovers(self, cutoff: float, lease_seconds: float) -> list[Entry]:
        left: list[Entry] = []
        for path in _sorted(self.staging):
            with suppress(FileNotFoundError):
                owner = path if path.suffix in (".part", ".lease") else path.with_suffix(".lease")
                if (
                    path.name == "lock"
                    or path.stat().st_mtime >= cutoff
                    or (owner.is_file() and _locked(owner))
                ):
                    continue
                files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
                size = sum(p.stat().st_size for p in files if p.stat().st_nlink == 1)
                left.append(Entry(path.name, size, path.stat().st_mtime))
        return left

    def remove_leftover(self, entry: Entry) -> None:
        path = self.staging / entry.key
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def now(self) -> float:
        # The clock that stamps files, which runs behind time.time() by up to a tick.
        _make_folder(self.staging)
        with self._part() as (part, _):
            return part.stat().st_mtime

    @contextmanager
    def _part(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new locked file in staging; gone afterwards, unless it was renamed."""
        _make_folder(self.staging)
        part = self.staging / f"{uuid.uuid4().hex}.part"
        with part.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield part, file
            finally:
                part.unlink(missing_ok=True)


class _LocalSink:
    """An object on its way, in a locked file of staging."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._context = backend._part()
        self._part, self._file = self._context.__enter__()

    def write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)
        self._bytes += len(data)

    def commit(self) -> ObjectInfo:
        info = ObjectInfo(self._digest.hexdigest(), self._bytes)
        target = self._backend.root / object_key(info.sha256)
        try:
            _flush(self._file)
            self._part.chmod(READ_ONLY)
            _make_folder(target.parent)
            with self._backend.guard():
                if not self._reuse(target):
                    self._part.replace(target)
                    _flush_folder(target.parent)
        finally:
            self.abort()
        return info

    def _reuse(self, target: Path) -> bool:
        """Keep an object that is there already: fresh for gc, and still one with its hard links."""
        try:
            if target.stat().st_size != self._bytes:
                return False  # damaged: the whole one replaces it
            _touch(target)
            return True
        except (FileNotFoundError, PermissionError):
            return False

    def abort(self) -> None:
        self._context.__exit__(None, None, None)


class _LocalLease:
    """A locked file in staging: alive as long as this process is."""

    def __init__(self, staging: Path, body: Mapping[str, Any]) -> None:
        self.id = uuid.uuid4().hex
        self._path = staging / f"{self.id}.lease"
        self._file = self._path.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(json.dumps(dict(body), sort_keys=True).encode())
        self._file.flush()

    def refresh(self) -> None:
        """Nothing to do: the lock lives as long as the writer."""

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self._path.with_suffix(".view"), ignore_errors=True)
        self._file.close()


def _locked(path: Path) -> bool:
    """Whether a living process holds the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _version_folders(folder: Path) -> Iterator[Path]:
    """Folders named like a version, at any depth, without looking into them; sorted."""
    for path in _sorted(folder):
        if path.name != "keys" and path.is_dir():
            if is_version(path.name):
                yield path
            else:
                yield from _version_folders(path)


def _make_folder(folder: Path) -> None:
    """mkdir -p whose new folders survive a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _touch(path: Path) -> None:
    """The file counts as stored now. Another user's file cannot be touched: no harm while it is young."""
    try:
        os.utime(path)
    except PermissionError:
        if time.time() - path.stat().st_mtime > 1800:
            raise


def _link(source: Path, place: Path) -> None:
    """A hard link; a flushed read-only copy where the disk has none."""
    try:
        place.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
            raise
        with source.open("rb") as reader, place.open("xb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK)
            _flush(writer)
        place.chmod(READ_ONLY)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
