"""Where a text was learnt: its verbatim passages, and for each the windows, documents, items and licences.

    found = trace(store, "the text of an answer")
    found.spans[0].places[0].url

Reads the artifact `tokens/trace_index` (built by trace_build.py) and nothing else; all big files are mapped.
"""

from __future__ import annotations

import json
import mmap
import threading
import unicodedata
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.alphabets import without_lifted
from training.suffix_array import SuffixArray
from training.trace_build import (
    DOCUMENTS_FILE,
    FACTS,
    SPANS_FILE,
    SUFFIXES_FILE,
    SUMMARY_FILE,
    TEXT_FILE,
)
from training.trace_spans import Passage, verbatim_passages

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from resources.manifest import Manifest
    from resources.store import Store

ARTIFACT = "tokens/trace_index"
LEAST_CHARACTERS = 20  # shorter passages are mostly common phrases
MOST_SPANS = 20
MOST_PLACES = 5
MOST_CHARACTERS = 16_384  # of a query; the rest is left out and `truncated` says so
MOST_SORTED = 10_000  # occurrences of a passage that are looked at to choose its places


class NoTraceIndex(LookupError):
    """The store holds no trace index yet."""


@dataclass(frozen=True)
class WindowPlace:
    """A window that holds the passage, or a part of it, and the shard it is in."""

    window: int
    shard: str


@dataclass(frozen=True)
class Place:
    """A passage in a document: characters start … end - 1 of its text, and the windows they stand in."""

    document_id: str
    item_id: str
    source: str
    title: str | None
    url: str | None
    licence: str | None
    attribution: str | None
    kind: str
    modality: str
    start: int
    end: int
    windows: tuple[WindowPlace, ...]


@dataclass(frozen=True)
class TracedSpan:
    """Characters start … end - 1 of the query, found `count` times; `places` in distinct documents."""

    start: int
    end: int
    text: str
    count: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Trace:
    """The spans of a query, longest first, and the versions of the artifacts that answered."""

    text: str
    spans: tuple[TracedSpan, ...]
    covered: float
    truncated: bool
    trace_index: str
    shards: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def trace(
    store: Store,
    text: str,
    *,
    manifest: Manifest | None = None,
    least: int = LEAST_CHARACTERS,
    most_spans: int = MOST_SPANS,
    most_places: int = MOST_PLACES,
) -> Trace:
    """Trace a text to what was trained on, in the current trace index or the one of `manifest`.

    `least`: characters of the shortest passage worth naming. Raises NoTraceIndex.
    """
    manifest = manifest or store.head(ARTIFACT)
    if manifest is None:
        raise NoTraceIndex(f"{store.uri} holds no {ARTIFACT}: materialize it (group tokens)")
    return open_index(store, manifest).trace(text, least, most_spans, most_places)


class TraceIndex:
    """An opened trace index; searching it is safe from several threads."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.manifest = manifest
        summary = json.loads(store.read_file(manifest, SUMMARY_FILE))
        self.shards: list[str] = summary["shards"]
        suffixes = map_array(store.file_path(manifest, SUFFIXES_FILE))
        self.array = SuffixArray(map_bytes(store.file_path(manifest, TEXT_FILE)), memoryview(suffixes))  # type: ignore[arg-type]
        self.spans: NDArray[np.int64] = map_array(store.file_path(manifest, SPANS_FILE))
        self.documents = read_documents(store, manifest)
        self.starts: NDArray[np.int64] = self.documents["start"].to_numpy()

    def trace(self, text: str, least: int, most_spans: int, most_places: int) -> Trace:
        """See `trace`."""
        query = without_lifted(unicodedata.normalize("NFC", text[:MOST_CHARACTERS]))
        passages = verbatim_passages(self.array, query, least)
        longest = sorted(passages, key=lambda passage: (-passage.size, passage.start))[:most_spans]
        return Trace(
            text=query,
            spans=tuple(self.resolve(query, passage, most_places) for passage in longest),
            covered=covered(passages) / len(query) if query else 0.0,
            truncated=len(text) > MOST_CHARACTERS,
            trace_index=self.manifest.version,
            shards=self.manifest.inputs.get("tokens/shards", ""),
        )

    def resolve(self, query: str, passage: Passage, most_places: int) -> TracedSpan:
        """The passage with its places: one in each document, in the order of the index."""
        content = query[passage.start : passage.end]
        data = content.encode()
        found = self.array.occurrences(data)
        positions = sorted(self.array.suffixes[place] for place in found[:MOST_SORTED])
        places: list[Place] = []
        last = -1
        for position in positions:
            document = int(np.searchsorted(self.starts, position, "right")) - 1
            if document != last:
                places.append(self.place(document, position, len(data)))
                last = document
            if len(places) == most_places:
                break
        return TracedSpan(passage.start, passage.end, content, len(found), tuple(places))

    def place(self, document: int, position: int, size: int) -> Place:
        """The passage of `size` bytes at `position` of text.bin, in this document."""
        facts = self.documents.slice(document, 1).to_pylist()[0]
        begin = position - facts["start"]
        before = self.array.text[facts["start"] : position].decode()
        inside = self.array.text[position : position + size].decode()
        low, high = np.searchsorted(self.spans[:, 0], [document, document + 1])
        rows = self.spans[low:high]
        rows = rows[(rows[:, 3] < begin + size) & (rows[:, 4] > begin)]
        return Place(
            **{name: facts[name] for name in FACTS},
            start=len(before),
            end=len(before) + len(inside),
            windows=tuple(WindowPlace(int(row[1]), self.shards[int(row[2])]) for row in rows),
        )


_OPENED: OrderedDict[tuple[str, str], TraceIndex] = OrderedDict()
_OPENED_AT_MOST = 4
_OPENING = threading.Lock()


def open_index(store: Store, manifest: Manifest) -> TraceIndex:
    """The opened index of an artifact; the last few stay open."""
    key = (store.uri, manifest.version)
    with _OPENING:
        if key not in _OPENED:
            _OPENED[key] = TraceIndex(store, manifest)
        _OPENED.move_to_end(key)
        while len(_OPENED) > _OPENED_AT_MOST:
            _OPENED.popitem(last=False)
        return _OPENED[key]


def covered(passages: list[Passage]) -> int:
    """Characters of the query inside any passage (they come in order and may overlap)."""
    total = reach = 0
    for passage in passages:
        total += max(0, passage.end - max(passage.start, reach))
        reach = max(reach, passage.end)
    return total


def map_bytes(path: Path) -> bytes | mmap.mmap:
    """A file mapped for reading; an empty file cannot be mapped."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_array(path: Path) -> NDArray[Any]:
    """An .npy file mapped for reading, or read when it has no rows."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_documents(store: Store, manifest: Manifest) -> pa.Table:
    """documents.parquet."""
    import pyarrow.parquet as pq

    with store.open_file(manifest, DOCUMENTS_FILE) as file:
        # Threads of Arrow that still hold a Python file abort a program that ends (apache/arrow issue 34314).
        return pq.read_table(file, use_threads=False, pre_buffer=False)
