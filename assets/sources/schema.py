"""The tables of a source: `manifest.parquet`, a row an item, and the volatile `retrievals.parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import pyarrow as pa

from assets.tables import read_rows, write_table
from resources.manifest import Manifest
from resources.store import ArtifactWriter, Store

MANIFEST = "manifest.parquet"
RETRIEVALS = "retrievals.parquet"
STATUSES = ("live", "gone", "denied", "damaged", "excluded")

_TEXT = (*("item_id", "upstream_version", "title", "url", "etag", "last_modified", "datestamp", "sha256"),)
_LABELS = ("media_type", "language", "domain", "modality", "dimension", "region", "tradition")

ITEMS = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=name != "item_id") for name in _TEXT),
        pa.field("bytes", pa.int64()),
        *(pa.field(name, pa.string()) for name in _LABELS),
        pa.field("licence_stated", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("may_mirror", pa.bool_(), nullable=False),
        pa.field("may_train", pa.bool_(), nullable=False),
        pa.field("may_republish", pa.bool_(), nullable=False),
        pa.field("attribution", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("metadata", pa.string()),
    ]
)
"""Sorted by item_id. Text columns are null where upstream states nothing; metadata is JSON."""

RETRIEVAL = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("retrieved_at", pa.string()),
        pa.field("bytes_transferred", pa.int64()),
        pa.field("attempts", pa.int64()),
    ]
)

Row = dict[str, Any]


def as_json(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text whose bytes depend on its content alone."""
    return json.dumps(metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def write_items(sink: IO[bytes], rows: Iterable[Row]) -> None:
    write_table(sink, ITEMS, rows, sort_key=("item_id",))


def write_retrievals(sink: IO[bytes], rows: Iterable[Row]) -> None:
    write_table(sink, RETRIEVAL, rows, sort_key=("item_id",))


def save(writer: ArtifactWriter, rows: Mapping[str, Row], retrievals: Mapping[str, Row]) -> None:
    """Both tables into the artifact, and a reference to every object that they name."""
    for row in rows.values():
        for sha256 in objects_of(row):
            writer.reference(sha256)
    with writer.open(MANIFEST) as file:
        write_items(file, (rows[key] for key in sorted(rows)))
    with writer.open(RETRIEVALS, volatile=True) as file:
        write_retrievals(file, (retrievals[key] for key in sorted(retrievals) if key in rows))


def objects_of(row: Row) -> list[str]:
    """SHA-256 of the item's bytes and of its attachments; none unless it is live."""
    if row["status"] != "live":
        return []
    metadata = json.loads(row["metadata"] or "{}")
    attached = [v for k, v in sorted(metadata.items()) if k.endswith("_sha256") and isinstance(v, str)]
    return [row["sha256"], *attached]


def items_of(store: Store, manifest: Manifest) -> Iterator[Row]:
    """The rows of a published source, in their order."""
    with store.open_file(manifest, MANIFEST) as file:
        yield from read_rows(file)


def retrievals_of(store: Store, manifest: Manifest) -> Iterator[Row]:
    with store.open_file(manifest, RETRIEVALS) as file:
        yield from read_rows(file)
