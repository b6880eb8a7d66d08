"""Pure steps between an item as upstream states it and its row in the manifest."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

from assets.sources.catalog import Entry
from assets.sources.licences import Licence, parse_licence, parse_statements
from assets.sources.rights import TABLE, Rights, exclusion, rights_of
from assets.sources.schema import Row, as_json
from resources.items import Item, Known, Payload

# Facts about bytes that are held: taken over when they need not come again.
HELD = ("sha256", "bytes", "etag", "last_modified", "media_type")
RETRY = "retry"


@dataclass(frozen=True)
class Gate:
    """What the rights gate says of an item: the statement, the licence read in it, the rights, the reason."""

    stated: str
    licence: Licence | None
    rights: Rights
    reason: str


def gate(entry: Entry, statements: Iterable[str], reservation: str = "") -> Gate:
    """Decide on an item by its entry's rule.

    per_item: what the item states, and nothing else. fixed: the entry's licence, with its evidence; an
    item's own statement can only narrow it. A reservation against training (robots.txt) overrules both.
    """
    said = tuple(s for s in statements if s.strip())
    own = parse_statements(said)
    if entry.licence.rule == "fixed":
        licence = parse_licence(entry.licence.spdx or "")
        if own is not None and not rights_of(own).may_train:
            licence = own
        said = said or (entry.licence.spdx or "",)
    else:
        licence = own
    stated = " | ".join(dict.fromkeys(said))
    rights = rights_of(licence)
    if reservation and rights.may_train:
        rights = TABLE["no_training"]
        return Gate(stated, licence, rights, reservation)
    return Gate(stated, licence, rights, exclusion(licence, stated, rights))


def row_of(
    entry: Entry, item: Item, decision: Gate, status: str, reason: str = "", payload: Payload | None = None
) -> Row:
    """The item's row, without the facts of its bytes. What the item does not state comes from the entry."""
    payload = payload or Payload()
    stated = {k: v for k, v in (("sha256", item.sha256), ("md5", item.md5), ("bytes", item.size)) if v}
    metadata: dict[str, Any] = {**item.metadata, **payload.metadata}
    metadata = {f"{k}_stated" if is_ours(k) else k: v for k, v in metadata.items()}
    if stated:
        metadata["stated"] = stated
    row = {
        "item_id": f"{entry.name}/{item.upstream_id}",
        "upstream_version": item.version or None,
        "title": payload.title or item.title or None,
        "url": item.url or None,
        "etag": None,
        "last_modified": None,
        "datestamp": item.datestamp or None,
        "sha256": None,
        "bytes": None,
        "media_type": item.media_type or None,
        "language": item.language or entry.language,
        "domain": item.domain or entry.domain,
        "modality": item.modality or entry.modality,
        "dimension": item.dimension or entry.dimension,
        "region": item.region or entry.region,
        "tradition": item.tradition or entry.tradition,
        "licence_stated": decision.stated or None,
        "licence": decision.licence.spdx if decision.licence else None,
        "may_mirror": decision.rights.may_mirror,
        "may_train": decision.rights.may_train,
        "may_republish": decision.rights.may_republish,
        "attribution": payload.attribution or item.attribution or entry.attribution,
        "status": status,
        "reason": reason or None,
        "metadata": as_json(metadata),
    }
    return {name: storable(value) for name, value in row.items()}


def is_ours(name: str) -> bool:
    """Whether a name in the metadata says something about what we hold: upstream must not say that."""
    return name == RETRY or name.endswith("_sha256")


def storable(value: Any) -> Any:
    """Text without lone surrogates, which JSON can spell and no table can hold; other values as they are."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def gone(entry: Entry, item: Item, previous: Row | None, reason: str) -> Row:
    """The row of an item that upstream has deleted: what was known of it stays, its bytes do not."""
    if previous is None:
        nothing = Gate("", None, rights_of(None), "")
        return row_of(entry, item, nothing, "gone", reason)
    row = without_bytes(previous)
    metadata = {k: v for k, v in metadata_of(previous).items() if k != RETRY and not k.endswith("_sha256")}
    row |= {"status": "gone", "reason": reason, "metadata": as_json(metadata)}
    row["datestamp"] = item.datestamp or previous["datestamp"]
    return row


def without_bytes(row: Row) -> Row:
    return {**row, "sha256": None, "bytes": None, "etag": None, "last_modified": None}


def to_retry(row: Row) -> Row:
    """Marked so that the next refresh asks for it again, whatever upstream's dates say."""
    return {**row, "metadata": as_json({**metadata_of(row), RETRY: True})}


def metadata_of(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["metadata"] or "{}")
    return found


def media_type_of(item: Item, served: str) -> str:
    """What the listing says, else what the server says, else what the name says."""
    for candidate in (item.media_type, served):
        if candidate and candidate not in ("application/octet-stream", "binary/octet-stream"):
            return candidate
    name = str(item.metadata.get("file_name") or urlsplit(item.url).path)
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def known_from(entry: Entry, rows: Mapping[str, Row], retrieved: str) -> Known:
    """What to tell the client about an earlier harvest; marks come from rows, never from the clock.

    With rows to retry, the mark goes back to just before the earliest of them, so that they are listed
    again.
    """
    prefix = len(entry.name) + 1
    pairs: list[tuple[str, str]] = []
    again: list[tuple[str, str]] = []
    aliases: dict[str, str] = {}
    retry: set[str] = set()
    # Two days cover clocks and time zones.
    latest = (date.fromisoformat(retrieved[:10]) + timedelta(days=2)).isoformat() if retrieved else ""
    for row in rows.values():
        metadata = metadata_of(row)
        upstream_id = row["item_id"][prefix:]
        mark = (row["datestamp"] or "", str(metadata.get("lidvid", "")))
        if listed := metadata.get("listed_id"):
            aliases[str(listed)] = upstream_id
        if metadata.get(RETRY):
            retry.add(upstream_id)
            again.append(mark)
        # A date beyond the last retrieval is upstream's mistake: asked from there on, it would list nothing.
        if mark[0] and (not latest or mark[0][:10].replace("/", "-") <= latest):
            pairs.append(mark)
    if again:
        pairs = [pair for pair in pairs if pair < min(again)]
    high_water, cursor = max(pairs, default=("", ""))
    return Known(
        ids=frozenset(row["item_id"][prefix:] for row in rows.values() if row["status"] != "gone"),
        high_water=high_water,
        cursor=cursor,
        retrieved="" if again and not aliases else retrieved,
        aliases={k: v for k, v in aliases.items() if rows[f"{entry.name}/{v}"]["status"] != "gone"},
        retry=frozenset(retry),
    )
