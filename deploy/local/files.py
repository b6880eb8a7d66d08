"""Plain files over HTTP: validators, ranges, and lists of what there is (RFC 9110)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from deploy.local.answer import Answer
from deploy.local.items import Item, Library

ROBOTS = "User-agent: *\nDisallow: /files/private/\nAllow: /\n"
LIST_FIELDS = [
    "title",
    "licence",
    "media_type",
    "language",
    "region",
    "tradition",
    "domain",
    "modality",
    "dimension",
    "attribution",
]


def robots() -> Answer:
    return Answer(body=ROBOTS.encode())


def web_list(library: Library, name: str, headers: Mapping[str, str]) -> Answer:
    """The living items of a web list as JSON Lines, a row an item; 404 if there is no such list."""
    items = library.items("web", name)
    if not items:
        return Answer(404, f"no list {name}\n".encode())
    living = [item for item in items if not item.deleted]
    body = "".join(json.dumps(_row(library, item), ensure_ascii=False) + "\n" for item in living).encode()
    changed = max(item.datestamp for item in items)
    return _bytes(body, "application/x-ndjson", changed, headers)


def _row(library: Library, item: Item) -> dict[str, object]:
    assert item.path is not None, f"web item {item.id} has no file"
    row: dict[str, object] = {"url": library.url(item), "id": item.id}
    row |= {key: getattr(item, key) for key in LIST_FIELDS if getattr(item, key) not in (None, "")}
    row["sha256"] = item.stated_sha256 or library.digests(item.path)[0]
    row["bytes"] = library.size(item.path)
    return row


def file(library: Library, path: str, headers: Mapping[str, str]) -> Answer:
    """A file that an item names, whole or in part; 404 if none does, 410 if the item was deleted."""
    item = library.by_path(path)
    if item is None:
        return Answer(404, b"no such file\n")
    if item.deleted:
        return Answer(410, b"this item was withdrawn\n")
    size = library.size(path)
    etag = f'"{library.digests(path)[0][:32]}"'
    modified = _http_date(item.datestamp)
    media_type = item.media_type if path == item.path else "text/plain; charset=utf-8"
    base = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
    if _not_modified(headers, etag, modified):
        return Answer(304, headers=base)
    span = _range(headers, size, etag, modified)
    if span == "unsatisfiable":
        return Answer(416, b"", headers=base | {"Content-Range": f"bytes */{size}"})
    if isinstance(span, tuple):
        start, end = span
        partial = base | {"Content-Range": f"bytes {start}-{end}/{size}"}
        pieces = library.read(path, start, end - start + 1)
        return Answer(206, b"", media_type, partial, pieces, end - start + 1)
    return Answer(200, b"", media_type, base, library.read(path), size)


def _bytes(body: bytes, media_type: str, changed: str, headers: Mapping[str, str]) -> Answer:
    import hashlib

    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    base = {"ETag": etag, "Last-Modified": _http_date(changed)}
    if _not_modified(headers, etag, base["Last-Modified"]):
        return Answer(304, headers=base)
    return Answer(200, body, media_type, base)


def _not_modified(headers: Mapping[str, str], etag: str, modified: str) -> bool:
    if "If-None-Match" in headers:
        given = {tag.strip().removeprefix("W/") for tag in headers["If-None-Match"].split(",")}
        return "*" in given or etag in given
    if "If-Modified-Since" in headers:
        since = _parse_http_date(headers["If-Modified-Since"])
        return since is not None and parsedate_to_datetime(modified) <= since
    return False


def _range(headers: Mapping[str, str], size: int, etag: str, modified: str) -> tuple[int, int] | str | None:
    """First and last byte asked for; None for the whole, ``unsatisfiable`` beyond the end."""
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", "").strip())
    if asked is None or asked.group(0) == "bytes=-":
        return None
    condition = headers.get("If-Range")
    if condition is not None and condition not in (etag, modified):
        return None
    first, last = asked.groups()
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else "unsatisfiable"
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start >= size:
        return "unsatisfiable"
    return (start, end) if start <= end else None


def _http_date(datestamp: str) -> str:
    return format_datetime(datetime.fromisoformat(datestamp).astimezone(UTC), usegmt=True)


def _parse_http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
