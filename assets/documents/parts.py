"""What a reader gets and what it gives: plain values that travel between processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Unreadable(Exception):
    """A whole item cannot be read: `reason` is a short name that is counted, `detail` tells a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class RawItem:
    """A live item: its bytes at `path` (decompressed), and what its source states about it.

    `fetch` gives another object of the store by its SHA-256 (a detached label), as a path.
    """

    item_id: str
    path: Path
    media_type: str
    url: str
    title: str
    modality: str
    language: str
    metadata: Mapping[str, Any]
    fetch: Callable[[str], Path]


@dataclass(frozen=True)
class Part:
    """A document that a reader found in an item.

    One of: `text` (prose, or letters for dna and protein), `messages`, or `payload` (bytes of a PNG or
    FLAC). Fields left None are taken from the item. `quality` holds figures for people and filters.
    """

    modality: str = "text"
    text: str | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    payload: bytes | None = None
    payload_media_type: str | None = None
    title: str | None = None
    language: str | None = None
    domain: str | None = None
    dimension: str | None = None
    clean: bool = True
    quality: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejection:
    """A part of an item that was set aside: `part` says where (a line, a page, a record)."""

    part: str
    reason: str
    detail: str = ""


Reader = Callable[[RawItem], Iterator[Part | Rejection]]
