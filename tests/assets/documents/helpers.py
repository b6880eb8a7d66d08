"""A small source artifact and raw items for tests of the documents stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.documents.dispatch import opened
from assets.documents.parts import Part, RawItem, Rejection
from assets.sources.schema import ITEMS
from assets.tables import read_rows, write_table
from resources.manifest import Manifest
from resources.store import Store


def raw_item(path: Path, media_type: str = "", modality: str = "text", **metadata: Any) -> RawItem:
    """A file as a reader sees it."""
    return RawItem(
        item_id=f"test/{path.name}",
        path=path,
        media_type=media_type,
        url=f"http://example.test/{path.name}",
        title="",
        modality=modality,
        language="en",
        metadata=metadata,
        fetch=lambda sha256: path.parent / sha256,
    )


def read(path: Path, media_type: str = "", modality: str = "text", **metadata: Any) -> list[Part | Rejection]:
    """Everything that the dispatched reader finds in a file; Unreadable is raised."""
    with opened(raw_item(path, media_type, modality, **metadata)) as (item, reader):
        return list(reader(item))


def texts(found: Sequence[Part | Rejection]) -> list[str]:
    """Texts of the parts."""
    return [part.text or "" for part in found if isinstance(part, Part)]


def item_row(store: Store, upstream_id: str, body: bytes | None, **fields: Any) -> dict[str, Any]:
    """A manifest row of source ``test``; without a body nothing is held."""
    row: dict[str, Any] = dict.fromkeys(ITEMS.names)
    row |= {
        "item_id": f"test/{upstream_id}",
        "title": upstream_id,
        "url": f"http://example.test/{upstream_id}",
        "sha256": store.put_object(body).sha256 if body is not None else None,
        "bytes": len(body) if body is not None else None,
        "media_type": "text/plain",
        "language": "en",
        "domain": "biology",
        "modality": "text",
        "dimension": "factual",
        "region": "global",
        "tradition": "none",
        "licence_stated": "CC0",
        "licence": "CC0-1.0",
        "may_mirror": True,
        "may_train": True,
        "may_republish": True,
        "attribution": "Nobody",
        "status": "live",
        "metadata": json.dumps({}),
    }
    return row | fields


def publish_source(store: Store, rows: Sequence[Mapping[str, Any]], name: str = "sources/test") -> Manifest:
    """Publish rows as a source's manifest.parquet."""
    with store.writer(name) as writer, writer.open("manifest.parquet") as sink:
        write_table(sink, ITEMS, sorted(rows, key=lambda r: str(r["item_id"])), ("item_id",))
    return writer.manifest


def table(store: Store, manifest: Manifest, name: str) -> list[dict[str, Any]]:
    """Rows of one of an artifact's tables."""
    with store.open_file(manifest, name) as file:
        return list(read_rows(file))
