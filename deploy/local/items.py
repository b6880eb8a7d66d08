"""What the local upstream serves: a list of items, and the bytes behind each.

An item is one thing that an upstream would hand out: an article, a genome, a picture, a recording.
The list comes from ``items.jsonl`` beside the files, or from a Python mapping over another folder.
Files stay on disk and are read in pieces; only changed content (a test's wish) is held in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Protocol = Literal["entrez", "oai_pmh", "pds", "xeno_canto", "web"]

CHUNK = 1 << 16


class Item(BaseModel):
    """One item of an upstream. ``licence`` is what the upstream states, word for word, or null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    protocol: Protocol
    set: str = Field(min_length=1)
    """Entrez database, OAI set, PDS collection, Xeno-canto group, or web list."""
    path: str | None = None
    """File below the root; null for a record that has only metadata."""
    media_type: str = "application/octet-stream"
    title: str = ""
    creator: str = ""
    description: str = ""
    licence: str | None = None
    attribution: str | None = None
    language: str | None = None
    region: str | None = None
    tradition: str | None = None
    domain: str | None = None
    modality: str | None = None
    dimension: str | None = None
    created: str = "2024-01-01T00:00:00Z"
    datestamp: str = "2024-01-01T00:00:00Z"
    """Last change, UTC, to the second."""
    deleted: bool = False
    stated_sha256: str | None = None
    """A checksum that upstream states instead of the true one: a troublemaker."""
    stated_md5: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    """What only one protocol knows: uid, accession, lid, label, Xeno-canto fields."""


def load_items(folder: Path) -> list[Item]:
    """Read ``folder/items.jsonl``; raises ValueError naming the file, line, item and field."""
    source = folder / "items.jsonl"
    items = []
    with source.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                items.append(Item.model_validate(json.loads(line)))
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"{source}, line {number}: field {field!r}: {first['msg']}") from None
            except json.JSONDecodeError as error:
                raise ValueError(f"{source}, line {number}: not JSON: {error}") from None
    return items


class Library:
    """The items in their order, with the few changes that a test asks for.

    Raises ValueError if two items share an id within a protocol, or a file is missing.
    """

    def __init__(self, items: Iterable[Item], root: Path, origin: str) -> None:
        self.root = root.resolve()
        self.origin = origin.rstrip("/")
        self._items: dict[tuple[str, str], Item] = {}
        self._content: dict[str, bytes] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        for item in items:
            key = (item.protocol, item.id)
            if key in self._items:
                raise ValueError(f"two {item.protocol} items have the id {item.id!r}: rename one")
            if item.path is not None and not self._file(item.path).is_file():
                raise ValueError(f"item {item.id!r}, field 'path': no file {self.root / item.path}")
            self._items[key] = item

    def items(self, protocol: str, set_: str | None = None) -> list[Item]:
        """Items of a protocol (and set), in the list's order, deleted ones included."""
        return [
            item
            for item in self._items.values()
            if item.protocol == protocol and (set_ is None or item.set == set_)
        ]

    def item(self, protocol: str, identifier: str) -> Item | None:
        return self._items.get((protocol, identifier))

    def by_path(self, path: str) -> Item | None:
        """The first item that has the file, or a label, at ``path``; living ones first."""
        found = [i for i in self._items.values() if path in (i.path, i.fields.get("label"))]
        return min(found, key=lambda item: item.deleted, default=None)

    def url(self, item: Item) -> str:
        """Where the item's file is, on the public origin."""
        if item.path is None:
            raise ValueError(f"item {item.id!r} has no file")
        return f"{self.origin}/files/{item.path}"

    def size(self, path: str) -> int:
        changed = self._content.get(path)
        return len(changed) if changed is not None else self._file(path).stat().st_size

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from ``start``, in pieces of at most 64 KiB."""
        left = self.size(path) - start if length is None else length
        changed = self._content.get(path)
        if changed is not None:
            yield changed[start : start + left]
            return
        with self._file(path).open("rb") as file:
            file.seek(start)
            while left > 0 and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece

    def digests(self, path: str) -> tuple[str, str]:
        """SHA-256 and MD5 of a file, in hex; computed once."""
        if path not in self._digests:
            sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
            for piece in self.read(path):
                sha256.update(piece)
                md5.update(piece)
            self._digests[path] = sha256.hexdigest(), md5.hexdigest()
        return self._digests[path]

    def delete(self, identifier: str, date: str) -> list[Item]:
        """Mark the items with this id deleted on ``date``; raises KeyError if there is none."""
        return self._update(identifier, {"deleted": True, "datestamp": date})

    def change(self, identifier: str, date: str, content: bytes | None) -> list[Item]:
        """Give the items with this id new bytes (or a later date only); raises KeyError if there is none.

        New letters raise the version of an accession (LN_1.1 to LN_1.2), as at GenBank.
        """
        changed = self._update(identifier, {"datestamp": date})
        for item in changed:
            if item.path is not None and content is not None:
                self._content[item.path] = content
                self._digests.pop(item.path, None)
            name, _, version = str(item.fields.get("accession", "")).partition(".")
            if content is not None and version.isdigit():
                fields = item.fields | {"accession": f"{name}.{int(version) + 1}"}
                self._items[(item.protocol, item.id)] = item.model_copy(update={"fields": fields})
        return [self._items[(item.protocol, item.id)] for item in changed]

    def _update(self, identifier: str, values: dict[str, Any]) -> list[Item]:
        found = [key for key in self._items if key[1] == identifier]
        if not found:
            raise KeyError(identifier)
        for key in found:
            self._items[key] = self._items[key].model_copy(update=values)
        return [self._items[key] for key in found]

    def _file(self, path: str) -> Path:
        file = (self.root / path).resolve()
        if not file.is_relative_to(self.root):
            raise ValueError(f"path {path!r} leaves the folder of the items")
        return file
