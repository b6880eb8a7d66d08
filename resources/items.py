"""What the source protocols have in common: an item as upstream states it, and what we hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Item:
    """One thing upstream offers, as it states it at the time of the listing.

    The bytes are in `content`, or are fetched from `url` (with `params` added to the request only: a
    stored address holds no key). `version` changes when the bytes may have changed; an empty one means
    that only a conditional request can tell. `size` is in bytes. None and "" mean "not stated".
    `attachments` are small files that belong to it (a label); each is kept as an object and named in the
    metadata as `<name>_sha256`.
    """

    upstream_id: str
    version: str = ""
    title: str = ""
    url: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    datestamp: str = ""
    media_type: str = ""
    licence_stated: tuple[str, ...] = ()
    licence_in_payload: bool = False
    attribution: str = ""
    language: str = ""
    region: str = ""
    tradition: str = ""
    domain: str = ""
    modality: str = ""
    dimension: str = ""
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    deleted: str = ""
    denied: str = ""
    reservation: str = ""
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What an earlier harvest holds, so that upstream can be asked for changes only.

    ids: upstream ids of every item that is not gone. high_water: the datestamp from which to ask again
    ("" asks for everything). cursor: the id that goes with it where the protocol pages on a pair.
    retrieved: when the last item came (ISO 8601), for an upstream that states no modification dates.
    aliases: the id in upstream's lists -> upstream id, where they differ (Entrez). retry: upstream ids
    that could not be fetched the last time.
    """

    ids: frozenset[str] = frozenset()
    high_water: str = ""
    cursor: str = ""
    retrieved: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    retry: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Payload:
    """What a protocol can read from bytes that have come: more facts, or a reason to refuse them."""

    licence_stated: tuple[str, ...] = ()
    attribution: str = ""
    title: str = ""
    denied: str = ""
    damaged: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def plain_payload(item: Item, path: Path) -> Payload:
    """Nothing to read in the bytes: what the listing said is all there is."""
    return Payload()
