"""Downloads that survive breaks: conditional requests, resume by range and validator, verified bytes.

Bytes go to a partial file named for the address, with its validator beside it, so that a later process
goes on where a killed one stopped. A file is handed over only when length and checksums hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import re
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from resources.http import HttpClient, lowered
from resources.http_errors import BadResponse, DamagedPayload, TooLarge, Transient

CHUNK = 1 << 18
REFUSED = 3
LEFTOVERS = {".done": 86_400.0, ".decoded": 86_400.0, ".part": 30 * 86_400.0}
"""Seconds after which a file that nobody touched is a killed download's."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
InspectHead = Callable[[bytes], None]
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Validators:
    """What a later conditional request sends back."""

    etag: str = ""
    last_modified: str = ""

    @property
    def for_range(self) -> str:
        """What may stand in If-Range: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True)
class Expected:
    """What upstream says of the bytes; empty where it says nothing."""

    bytes: int | None = None
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Download:
    """Verified bytes in a local file; the taker calls `discard` when it has stored them."""

    path: Path
    sha256: str
    bytes: int
    validators: Validators
    media_type: str
    transferred: int
    attempts: int

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


async def download(
    http: HttpClient,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    validators: Validators | None = None,
    expected: Expected | None = None,
    max_bytes: int = 1 << 40,
    inspect: InspectHead | None = None,
    on_bytes: OnBytes | None = None,
) -> Download | None:
    """Fetch `url` to a verified local file; None when upstream answers 304 to `validators`.

    `inspect` gets the first 4 KiB of the finished file and may raise (Transient: fetch again). Raises
    TooLarge over `max_bytes`, DamagedPayload when length or checksum differ from `expected`, and the
    errors of HttpClient.get.
    """
    expected = expected or Expected()
    partial = Partial.claim(http.folder, http.clean(str(http.logical(url, params))))
    state = _State()

    async def once() -> Download | None:
        state.attempts += 1
        return await _attempt(http, url, params, validators, expected, max_bytes, partial, state, on_bytes)

    async def until_stuck() -> Download | None:
        # A break after new bytes is not a failed attempt: the next one starts further on.
        while True:
            before = state.transferred
            try:
                return await once()
            except (TimeoutError, aiohttp.ClientPayloadError, ConnectionError):
                if state.transferred - before < CHUNK or state.attempts > 200:
                    raise

    async def whole() -> Download | None:
        result = await until_stuck()
        if result is not None and inspect is not None:
            try:
                inspect(head_of(result.path))
            except Exception as error:
                partial.remove()
                state.refused += 1
                if isinstance(error, Transient) and state.refused >= REFUSED:
                    raise BadResponse(f"{http.clean(url)}: {error}, {state.refused} times") from None
                raise
        return result

    try:
        result: Download | None = await http.retrying(whole, url)
    except (TooLarge, DamagedPayload, BadResponse):
        partial.remove()
        raise
    finally:
        partial.close()
    return result


class _State:
    attempts = 0
    transferred = 0
    refused = 0


async def _attempt(
    http: HttpClient,
    url: str,
    params: Mapping[str, str] | None,
    validators: Validators | None,
    expected: Expected,
    max_bytes: int,
    partial: Partial,
    state: _State,
    on_bytes: OnBytes | None,
) -> Download | None:
    offset = partial.offset()
    async with http.exchange(
        "GET", url, params, _headers(partial, offset, validators), accept=frozenset({416}), raw=True
    ) as answer:
        headers = lowered(answer.headers)
        if answer.status == 304:
            if offset or not validators:
                raise BadResponse(f"{http.clean(url)}: 304 to a request that was not conditional", 304)
            partial.remove()
            return None
        if answer.status == 416:
            total = content_range(headers)[1]
            if total is None or total != offset:
                partial.reset(Validators())
                raise Transient(f"{http.clean(url)}: 416 at {offset}: the file changed, starting over", 416)
        else:
            begins, total = content_range(headers)
            fits = offset > 0 and begins == offset and same_file(headers, partial.validators)
            if answer.status == 206 and fits:
                start = offset
            elif answer.status == 206:
                partial.reset(Validators())
                raise Transient(f"{http.clean(url)}: 206 for another range or file than the one asked", 206)
            else:
                start = 0
                partial.reset(Validators(headers.get("etag", ""), headers.get("last-modified", "")))
            partial.media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            declared = headers.get("content-length", "")
            if declared.isdigit() and start + int(declared) > max_bytes:
                raise TooLarge(f"{http.clean(url)}: {start + int(declared):,} bytes, over {max_bytes:,}")
            position = start
            async for chunk in answer.content.iter_chunked(CHUNK):
                position += len(chunk)
                if position > max_bytes:
                    raise TooLarge(f"{http.clean(url)}: more than {max_bytes:,} bytes")
                partial.file.write(chunk)
                state.transferred += len(chunk)
                http.received += len(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
            partial.encoding = headers.get("content-encoding", "identity").strip().lower()
            if answer.status == 206 and total is not None and position < total:
                # A server may send less than was asked for: a part must not pass for the whole.
                raise aiohttp.ClientPayloadError(f"{position:,} of {total:,} bytes came")
    result = await asyncio.to_thread(partial.finish, max_bytes)
    result = replace(result, transferred=state.transferred, attempts=state.attempts)
    if fault := mismatch(result.path, result, expected):
        partial.remove()
        if offset:
            # Two halves that do not belong together look the same as a bad file: fetch it in one piece.
            raise Transient(f"{http.clean(url)}: {fault}, after a resume")
        damaged = DamagedPayload(f"{http.clean(url)}: {fault}")
        damaged.validators = result.validators
        raise damaged
    return result


def same_file(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether a 206 belongs to the bytes that came before: not if it states another strong ETag."""
    etag = headers.get("etag", "")
    return not etag or not validators.etag or etag == validators.etag


def _headers(partial: Partial, offset: int, validators: Validators | None) -> dict[str, str]:
    if offset:
        return {"Range": f"bytes={offset}-", "If-Range": partial.validators.for_range}
    if validators and validators.etag:
        return {"If-None-Match": validators.etag}
    if validators and validators.last_modified:
        return {"If-Modified-Since": validators.last_modified}
    return {}


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(start, total) of a Content-Range header; None for what it leaves open."""
    match = _CONTENT_RANGE.match(headers.get("content-range", ""))
    if not match:
        return None, None
    start, _, total = match.groups()
    return (int(start) if start else None), (int(total) if total != "*" else None)


def mismatch(path: Path, got: Download, expected: Expected) -> str:
    """What differs from upstream's statement, or ""."""
    if expected.bytes is not None and got.bytes != expected.bytes:
        return f"{got.bytes:,} bytes, but upstream states {expected.bytes:,}"
    if expected.sha256 and got.sha256 != expected.sha256.lower():
        return f"SHA-256 is {got.sha256}, but upstream states {expected.sha256.lower()}"
    if expected.md5 and (md5 := digest_of(path, "md5")) != expected.md5.lower():
        return f"MD5 is {md5}, but upstream states {expected.md5.lower()}"
    return ""


def digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def head_of(path: Path, length: int = 4096) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


class Partial:
    """The part of a file that has come, and the validator that it belongs to."""

    def __init__(self, path: Path):
        self.path = path
        self.file = path.open("r+b" if path.exists() else "w+b")
        self.media_type = ""
        self.encoding = "identity"
        self.validators = Validators()
        self._read_note()

    @classmethod
    def claim(cls, folder: Path, name: str) -> Partial:
        """Open the partial file of this address, or one of our own if another process has it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(folder)
        stem = hashlib.sha256(name.encode()).hexdigest()[:32]
        partial = cls(folder / f"{stem}.part")
        try:
            fcntl.flock(partial.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have handed it over (unlinked it) between our open and our lock.
            if partial.path.exists() and os.path.samestat(
                os.fstat(partial.file.fileno()), partial.path.stat()
            ):
                return partial
        except BlockingIOError:
            pass
        partial.file.close()
        return cls(folder / f"{stem}-{uuid.uuid4().hex}.part")

    @property
    def note(self) -> Path:
        return self.path.with_suffix(".json")

    def _read_note(self) -> None:
        try:
            data: dict[str, Any] = json.loads(self.note.read_bytes())
            self.validators = Validators(str(data["etag"]), str(data["last_modified"]))
            self.media_type = str(data.get("media_type", ""))
        except (OSError, ValueError, KeyError, TypeError):
            self.validators = Validators()

    def offset(self) -> int:
        """Bytes that may be kept: none without a validator to tie them to."""
        self.file.flush()
        size = self.file.seek(0, os.SEEK_END)
        return size if self.validators.for_range else 0

    def reset(self, validators: Validators) -> None:
        """Empty the file, then note the validator of what will be written to it."""
        self.file.seek(0)
        self.file.truncate()
        self.file.flush()
        self.validators = validators
        temporary = self.note.with_name(f"{self.note.name}.{uuid.uuid4().hex}")
        note = {
            "etag": validators.etag,
            "last_modified": validators.last_modified,
            "media_type": self.media_type,
        }
        temporary.write_text(json.dumps(note))
        temporary.replace(self.note)

    def finish(self, max_bytes: int) -> Download:
        """Flush to disk, decode a gzip encoding, digest."""
        self.file.flush()
        os.fsync(self.file.fileno())
        path = self.path.with_suffix(f".{uuid.uuid4().hex}.done")
        self.path.rename(path)
        self._done = path
        self.note.unlink(missing_ok=True)
        if self.encoding in ("gzip", "x-gzip"):
            gunzip_in_place(path, max_bytes)
        elif self.encoding not in ("identity", ""):
            raise BadResponse(f"Content-Encoding {self.encoding} to a request for identity")
        # The name is free again: a retry after a mismatch starts from an empty file.
        self.file.close()
        self.file = self.path.open("w+b")
        return Download(
            path, digest_of(path, "sha256"), path.stat().st_size, self.validators, self.media_type, 0, 0
        )

    _done: Path | None = None

    def remove(self) -> None:
        """Forget what has come; the (empty) file itself goes with `close`, since a retry may use it."""
        self.note.unlink(missing_ok=True)
        if self._done is not None:
            self._done.unlink(missing_ok=True)
        self.validators = Validators()
        self.file.seek(0)
        self.file.truncate()

    def close(self) -> None:
        """Let go; an empty partial file is not worth keeping."""
        if not self.file.closed:
            if self.file.seek(0, os.SEEK_END) == 0:
                self.path.unlink(missing_ok=True)
                self.note.unlink(missing_ok=True)
            self.file.close()


_swept: set[Path] = set()


def sweep(folder: Path) -> None:
    """Once a process: remove what killed downloads left long ago. A part of an hour ago is still of use."""
    if folder in _swept:
        return
    _swept.add(folder)
    now = time.time()
    for path in folder.iterdir():
        if path.suffix in LEFTOVERS:
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > LEFTOVERS[path.suffix]:
                    path.unlink()


def gunzip_in_place(path: Path, max_bytes: int) -> None:
    """Replace a gzip file by its content; TooLarge over `max_bytes`, DamagedPayload if it is broken."""
    decoded = path.with_suffix(".decoded")
    total = 0
    try:
        with gzip.open(path, "rb") as source, decoded.open("wb") as target:
            while chunk := source.read(CHUNK):
                total += len(chunk)
                if total > max_bytes:
                    raise TooLarge(f"more than {max_bytes:,} bytes once decoded")
                target.write(chunk)
        decoded.replace(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedPayload(f"broken gzip encoding: {error}") from None
    finally:
        decoded.unlink(missing_ok=True)
