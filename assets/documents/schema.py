"""The one schema of every documents table, the table of what was set aside, and that of decisions.

The columns' meaning stands in docs/architecture.md ("Tables").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

KINDS = ("document", "dialogue")
MODALITIES = ("text", "dna", "protein", "image", "audio")
DOMAINS = ("biology", "philosophy", "astrobiology", "alife", "synbio")

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("dimension", pa.string()),
        pa.field("language", pa.string()),
        pa.field("region", pa.string()),
        pa.field("tradition", pa.string()),
        pa.field("title", pa.string()),
        pa.field("text", pa.string()),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("payload_sha256", pa.string()),
        pa.field("payload_media_type", pa.string()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("attribution", pa.string()),
        pa.field("url", pa.string()),
        pa.field("raw_sha256", pa.string(), nullable=False),
        pa.field("content_sha256", pa.string(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("quality", pa.string(), nullable=False),
    ]
)

REJECTED = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

DECISIONS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("cluster", pa.string(), nullable=False),
    ]
)


def document_prefix(item_id: str) -> str:
    """What every document id of an item starts with, ``<item_id>#``; a ``#`` in the item id is escaped,
    so that sorting items by their prefix sorts their documents."""
    return item_id.replace("#", "%23") + "#"


def document_id(item_id: str, part: int) -> str:
    """``<item_id>#<part>``; parts have six digits, so that ids sort as the parts stand in the item."""
    return f"{document_prefix(item_id)}{part:06d}"


def render_dialogue(messages: Sequence[Mapping[str, str]]) -> str:
    """A dialogue as text: a line ``role: content`` a message."""
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)


def content_sha256(
    modality: str, text: str | None, messages: Sequence[Mapping[str, str]] | None, payload_sha256: str | None
) -> str:
    """Identity of the content alone: equal for equal text, dialogue or normalised payload of a modality."""
    if payload_sha256:
        return payload_sha256
    body = (
        canonical_json([[m["role"], m["content"]] for m in messages]) if messages is not None else text or ""
    )
    return hashlib.sha256(f"{modality}\n{body}".encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value, the same text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
