"""A store on any S3-compatible service.

The manifest is published by a conditional put (`If-None-Match: *`), which one of two writers wins. An
object's name is known only after its last byte, so bytes are gathered first (in memory to 1 MiB, on the
local disk beyond) and then uploaded, in parts when large. S3 has no locks: a writer leaves a lease (a
small object) while it works, and takes what it reuses anew by copying it onto itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from resources.manifest import (
    MANIFEST,
    Manifest,
    ObjectInfo,
    ObjectMissing,
    StoreError,
    artifact_folder,
    check_digest,
    is_version,
    object_key,
)
from resources.s3_reader import S3Reader
from resources.store_backend import CHUNK, Entry, Lease, LeaseInfo, Sink

THREADS = 8
FRESH_SECONDS = 600
"""An object younger than this is not touched again: a gc with a shorter grace is for stores at rest."""
TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)


def make_client() -> Any:
    """A client from the usual AWS variables; an endpoint of one's own gets the bucket in the path."""
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return boto3.client(
        "s3",
        config=Config(
            max_pool_connections=THREADS,
            retries={"mode": "standard", "max_attempts": 6},
            s3={"addressing_style": "path"} if own else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3Backend:
    """The operations of `store_backend.Backend` on a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path) -> None:
        self.client, self.bucket, self.cache = client, bucket, cache
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._prefix = f"{prefix}/" if prefix else ""

    # Small documents

    def read(self, key: str) -> bytes | None:
        return self._body(key)

    def replace(self, key: str, body: bytes) -> None:
        self.call("put_object", key, Body=body)

    def delete(self, key: str) -> None:
        self.call("delete_object", key)

    # Objects

    def sink(self) -> Sink:
        return _S3Sink(self)

    def stat(self, sha256: str) -> Entry | None:
        answer = self.call("head_object", object_key(sha256))
        if answer is None:
            return None
        return Entry(sha256, answer["ContentLength"], answer["LastModified"].timestamp())

    def sizes(self, digests: Iterable[str], touch: bool = False) -> dict[str, int]:
        def look(sha256: str) -> tuple[str, int] | None:
            entry = self.stat(sha256)
            if entry is not None and touch and time.time() - entry.modified > FRESH_SECONDS:
                entry = entry if self._touch(sha256) else None
            return None if entry is None else (sha256, entry.bytes)

        names = list(digests)
        if len(names) < 2:
            return dict(filter(None, map(look, names)))
        with ThreadPoolExecutor(THREADS) as pool:
            return dict(filter(None, pool.map(look, names)))

    def _touch(self, sha256: str) -> bool:
        """Stored just now: copied onto itself by the server. Whether it was still there."""
        key = self._prefix + object_key(sha256)
        extra = {"MetadataDirective": "REPLACE", "Metadata": {"touched": uuid.uuid4().hex}}
        source = {"Bucket": self.bucket, "Key": key}
        copied = self._try(
            "copy", key, lambda: self.client.copy(source, self.bucket, key, ExtraArgs=extra) or True
        )
        return copied is not None

    def open(self, sha256: str) -> BinaryIO:
        entry = self.stat(sha256)
        if entry is None:
            raise ObjectMissing(
                f"object {sha256} is not in {self.uri}; 'luca store verify' names the artifacts that need it,"
                " and building them again brings it back"
            )
        key = object_key(sha256)

        def fetch(start: int, end: int) -> bytes:
            body = self._body(key, Range=f"bytes={start}-{end - 1}")
            if body is None:
                raise ObjectMissing(f"object {sha256} was removed from {self.uri} while it was read")
            return body

        return cast(BinaryIO, BufferedReader(S3Reader(fetch, entry.bytes), buffer_size=8192))

    def path(self, sha256: str) -> Path:
        target = self.cache / sha256[:2] / sha256
        if target.is_file():
            return target  # it was put there whole and verified
        with self.open(sha256) as reader:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
            spare = Path(name)
            try:
                digest = hashlib.sha256()
                with os.fdopen(handle, "wb") as writer:
                    for chunk in iter(lambda: reader.read(CHUNK), b""):
                        digest.update(chunk)
                        writer.write(chunk)
                    writer.flush()
                    os.fsync(writer.fileno())
                check_digest(sha256, digest.hexdigest(), self.uri)
                spare.chmod(0o444)
                spare.replace(target)
            finally:
                spare.unlink(missing_ok=True)
        return target

    def objects(self) -> Iterator[Entry]:
        for entry in self._list("objects/"):
            yield Entry(entry.key.rpartition("/")[2], entry.bytes, entry.modified)

    def delete_object(self, sha256: str, cutoff: float) -> bool:
        entry = self.stat(sha256)  # again: a writer may have taken it anew since it was listed
        if entry is None or entry.modified >= cutoff:
            return False
        self.delete(object_key(sha256))
        return True

    # Artifacts

    def artifacts(self, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in self._list(f"artifacts/{prefix}"):
            parts = entry.key.split("/")
            if parts[-1] == MANIFEST and len(parts) > 3 and is_version(parts[-2]):
                yield "/".join(parts[1:-2]), parts[-2]

    def keys(self, name: str) -> list[str]:
        return [entry.key.rpartition("/")[2] for entry in self._list(f"artifacts/{name}/keys/")]

    def publish(self, manifest: Manifest, lease: Lease) -> bool:
        key = f"{artifact_folder(manifest.name, manifest.version)}/{MANIFEST}"
        for _ in range(20):
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self._prefix + key, Body=manifest.to_json(), IfNoneMatch="*"
                )
                return True
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code == "PreconditionFailed":
                    return False
                if code != "ConditionalRequestConflict":  # two at once: S3 asks to try again
                    raise self._explain("put_object", key, error) from error
            except BotoCoreError as error:
                raise self._explain("put_object", key, error) from error
            time.sleep(0.05)
        raise StoreError(f"{self.uri}/{key}: other writers keep it busy; run again")

    def retract(self, name: str, version: str) -> None:
        self.delete(f"{artifact_folder(name, version)}/{MANIFEST}")

    def view_problems(self, manifest: Manifest) -> list[str]:
        return []

    # Writers and the swept

    def guard(self, exclusive: bool = False) -> AbstractContextManager[None]:
        return nullcontext()

    def lease(self, body: Mapping[str, Any]) -> Lease:
        return _S3Lease(self, body)

    def leases(self, lease_seconds: float) -> list[LeaseInfo]:
        listed = {entry.key: entry.modified for entry in self._list("staging/")}
        now, live = self.now(), []
        for key, started in sorted(listed.items()):
            if key.endswith(".lease"):
                sign = max(started, listed.get(f"{key.removesuffix('.lease')}.alive", 0))
                body = self.read(key) if now - sign < lease_seconds else None
                if body is not None:
                    live.append(LeaseInfo(Path(key).stem, started, json.loads(body)))
        return live

    def leftovers(self, cutoff: float, lease_seconds: float) -> list[Entry]:
        live = {lease.id for lease in self.leases(lease_seconds)}
        left = [e for e in self._list("staging/") if Path(e.key).stem not in live and e.modified < cutoff]
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self._prefix}objects/"):
            for upload in page.get("Uploads", []):
                begun = upload["Initiated"].timestamp()
                if begun < cutoff:
                    key = upload["Key"].removeprefix(self._prefix)
                    left.append(Entry(f"{key}?uploadId={upload['UploadId']}", 0, begun))
        return left

    def remove_leftover(self, entry: Entry) -> None:
        key, separator, upload = entry.key.partition("?uploadId=")
        if separator:
            self.call("abort_multipart_upload", key, UploadId=upload)
        else:
            self.delete(key)

    def now(self) -> float:
        key = f"staging/{uuid.uuid4().hex}.clock"
        self.replace(key, b"")
        answer = self.call("head_object", key)
        self.delete(key)
        return time.time() if answer is None else float(answer["LastModified"].timestamp())

    # Requests

    def upload(self, file: Any, key: str) -> None:
        full = self._prefix + key
        self._try(
            "upload",
            full,
            lambda: self.client.upload_fileobj(file, self.bucket, full, Config=TRANSFER) or True,
        )

    def _body(self, key: str, **arguments: Any) -> bytes | None:
        """A whole answer; three tries, since botocore itself retries only up to the headers."""
        for attempt in range(3):
            answer = self.call("get_object", key, **arguments)
            try:
                return None if answer is None else cast(bytes, answer["Body"].read())
            except BotoCoreError as error:
                if attempt == 2:
                    raise self._explain("get_object", key, error) from error
        return None

    def call(self, operation: str, key: str, **arguments: Any) -> Any:
        """One request on one key; None where there is no such key. Raises StoreError with the mend."""
        full = self._prefix + key
        request = getattr(self.client, operation)
        return self._try(operation, full, lambda: request(Bucket=self.bucket, Key=full, **arguments))

    def _try(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in (
                "404",
                "NoSuchKey",
                "NotFound",
                "NoSuchUpload",
            ):
                return None
            raise self._explain(operation, key, error) from error
        except BotoCoreError as error:
            raise self._explain(operation, key, error) from error

    def _explain(self, operation: str, key: str, error: Exception) -> StoreError:
        code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
        mends = {
            "NoSuchBucket": f"create the bucket {self.bucket!r}, or mend LUCA_STORE",
            "AccessDenied": "the key in AWS_ACCESS_KEY_ID must be allowed to list, get, put and delete",
            "InvalidAccessKeyId": "mend AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            "SignatureDoesNotMatch": "mend AWS_SECRET_ACCESS_KEY",
        }
        mend = mends.get(code or "", "check the AWS_* variables (endpoint, key, secret) and the service")
        return StoreError(f"{self.uri}: {operation} {key!r} failed: {error}; {mend}")

    def _list(self, prefix: str) -> Iterator[Entry]:
        """Keys (relative to the store) under a prefix, sorted as S3 sorts them: by their bytes."""
        pages = self.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    yield Entry(key, item["Size"], item["LastModified"].timestamp())
        except (ClientError, BotoCoreError) as error:
            raise self._explain("list_objects_v2", prefix, error) from error


class _S3Sink:
    """An object on its way: in memory, then on the local disk, then uploaded under its digest."""

    def __init__(self, backend: S3Backend) -> None:
        self._backend = backend
        self._digest = hashlib.sha256()
        self._bytes = 0
        with suppress(OSError):
            backend.cache.mkdir(parents=True, exist_ok=True)
        folder = str(backend.cache) if backend.cache.is_dir() else None
        # Closed by abort().
        self._spool = tempfile.SpooledTemporaryFile(CHUNK, dir=folder)  # noqa: SIM115

    def write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._spool.write(data)
        self._bytes += len(data)

    def commit(self) -> ObjectInfo:
        info = ObjectInfo(self._digest.hexdigest(), self._bytes)
        try:
            if self._backend.sizes([info.sha256], touch=True).get(info.sha256) != info.bytes:
                self._spool.seek(0)
                self._backend.upload(self._spool, object_key(info.sha256))
        finally:
            self.abort()
        return info

    def abort(self) -> None:
        self._spool.close()


class _S3Lease:
    """`staging/<id>.lease`, written once, and `<id>.alive`, written now and then while files are added."""

    def __init__(self, backend: S3Backend, body: Mapping[str, Any]) -> None:
        self.id = uuid.uuid4().hex
        self._backend = backend
        backend.replace(f"staging/{self.id}.lease", json.dumps(dict(body), sort_keys=True).encode())
        self._sign = time.monotonic()

    def refresh(self) -> None:
        if time.monotonic() - self._sign > FRESH_SECONDS:
            self._backend.replace(f"staging/{self.id}.alive", b"")
            self._sign = time.monotonic()

    def release(self) -> None:
        self._backend.delete(f"staging/{self.id}.lease")
        self._backend.delete(f"staging/{self.id}.alive")
