"""Plain files over HTTP: a JSON Lines list of addresses with what is known of each, or a bare list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from resources.http import HttpClient
from resources.http_errors import BadResponse, HttpError
from resources.items import Item, Known
from resources.robots import RobotsCache
from resources.xml import looks_like_html

_TEXT_FIELDS = (
    *("title", "media_type", "language", "region", "tradition", "domain", "modality", "dimension"),
    *("attribution", "sha256", "md5"),
)
ROW_FIELDS = frozenset({"url", "id", "licence", "bytes", *_TEXT_FIELDS})


def id_of(url: str) -> str:
    """An address as an upstream id: host and path, so that it does not change with the scheme."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return unquote(f"{parts.netloc}{parts.path}{query}").strip("/")


def parse_index(body: bytes, url: str) -> list[Item]:
    """Items of a JSON Lines list; BadResponse naming the line and the field.

    A row is an object with `url`, and optionally id, title, licence, media_type, language, region,
    tradition, domain, modality, dimension, attribution, sha256, md5, bytes; other fields become metadata.
    A stated sha256 is the version: such an item is asked for again only when it changes.
    """
    if looks_like_html(body):
        raise BadResponse(f"{url}: an HTML page stands where the list should")
    items: dict[str, Item] = {}
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadResponse(f"{url}, line {number}: not JSON ({error})") from None
        item = row_item(row, url, number)
        if item.upstream_id in items:
            raise BadResponse(f"{url}, line {number}: id {item.upstream_id!r} stands there twice")
        items[item.upstream_id] = item
    return list(items.values())


def row_item(row: Any, url: str, number: int) -> Item:
    """One row of the list as an Item."""
    where = f"{url}, line {number}"
    if not isinstance(row, Mapping) or not isinstance(row.get("url"), str) or not row["url"]:
        raise BadResponse(f"{where}: field 'url' is missing")
    values: dict[str, Any] = {}
    for name in _TEXT_FIELDS:
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise BadResponse(f"{where}: field {name!r} is {value!r}; it must be text")
        values[name] = value
    size = row.get("bytes")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise BadResponse(f"{where}: field 'bytes' is {size!r}; it must be a whole number")
    licence = row.get("licence")
    if licence is not None and not isinstance(licence, str):
        raise BadResponse(f"{where}: field 'licence' is {licence!r}; it must be text")
    try:
        address = urljoin(url, row["url"])
        own = id_of(address)
    except ValueError as error:
        raise BadResponse(f"{where}: field 'url' is {row['url'][:200]!r}: {error}") from None
    return Item(
        str(row.get("id") or own),
        url=address,
        version=values.get("sha256", ""),
        size=size,
        licence_stated=(licence,) if licence else (),
        metadata={k: v for k, v in row.items() if k not in ROW_FIELDS},
        **values,
    )


async def harvest(
    http: HttpClient, base_url: str, known: Known, *, index: str = "", urls: Sequence[str] = ()
) -> AsyncIterator[Item]:
    """Every item of the list, then what the list no longer names (deleted). robots.txt is honoured."""
    if index:
        address = urljoin(base_url, index)
        answer = await http.get(address, max_bytes=256 << 20)
        items = parse_index(answer.body, answer.url)
    else:
        items = [Item(id_of(address), url=address) for address in (urljoin(base_url, u) for u in urls)]
    robots = RobotsCache(http)
    for item in items:
        try:
            rules = await robots.of(item.url)
        except HttpError as error:
            if urlsplit(item.url).netloc == urlsplit(base_url).netloc:
                raise
            # Another host than the list's: its silence costs its own items only. What is held stays.
            if item.upstream_id not in known.ids:
                kind = type(error).__name__
                yield replace(item, denied=f"robots.txt of its origin could not be read: {kind}")
            continue
        denied = "" if rules.allows(item.url) else "robots.txt disallows this address"
        reservation = "robots.txt of the origin says ai-train=no" if rules.reserves_training else ""
        yield Item(**{**item.__dict__, "denied": denied, "reservation": reservation})
    for upstream_id in sorted(known.ids - {item.upstream_id for item in items}):
        yield Item(upstream_id, deleted="the list no longer names it")
