"""Encode the planned documents of a split, pack them into windows and write the shards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from assets.tables import TableWriter
from assets.tokens.config import WindowsConfig
from assets.tokens.planned import DIALOGUE, PlannedDocuments
from training.encode import Unencodable, encode_document
from training.shards import STRATA_FILE, Layout, write_shards
from training.vocabulary import Vocabulary
from training.windows import Window, alone, pack

if TYPE_CHECKING:
    from resources.store import ArtifactWriter

DOCUMENTS_SCHEMA = pa.schema([("document_id", pa.string()), ("stratum", pa.string()), ("tokens", pa.int64())])
REJECTED_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("stratum", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)
PROGRESS_SECONDS = 5.0
Log = Callable[[str], object]


@dataclass
class StratumFigures:
    """Of a stratum: what went in and what came out. `text_bytes`: of texts and letters; payloads have 0."""

    documents: int = 0
    rejected: int = 0
    tokens: int = 0
    text_bytes: int = 0
    windows: int = 0
    window_tokens: int = 0


@dataclass
class ShardBuild:
    """One build: streams every stratum once, and notes documents, rejects and figures on the way."""

    documents: PlannedDocuments
    vocabulary: Vocabulary
    config: WindowsConfig
    log: Log
    figures: dict[str, StratumFigures] = field(default_factory=dict)
    _spoken: float = field(default_factory=time.monotonic)

    def write(self, writer: ArtifactWriter) -> None:
        """All files of the artifact."""
        layout = Layout(self.config.length, np.dtype(self.vocabulary.dtype), self.config.shard_bytes)
        with (
            writer.open("documents.parquet") as documents,
            writer.open("rejected.parquet") as rejected,
            TableWriter(documents, DOCUMENTS_SCHEMA) as kept,
            TableWriter(rejected, REJECTED_SCHEMA) as refused,
        ):
            windows = write_shards(writer, self.windows(kept, refused), layout)
        summary = {
            "split": self.documents.split,
            "windows": windows,
            "length": self.config.length,
            "overlap": self.config.overlap,
            "dtype": layout.dtype.name,
            "vocabulary_size": self.vocabulary.size,
            "pad": self.vocabulary.control["<|pad|>"],
            "strata": {name: asdict(figures) for name, figures in self.figures.items()},
        }
        writer.add(STRATA_FILE, (json.dumps(summary, indent=1) + "\n").encode())
        writer.figures.update(windows=windows, documents=sum(f.documents for f in self.figures.values()))

    def windows(self, kept: TableWriter, refused: TableWriter) -> Iterator[tuple[str, Window]]:
        """(stratum, window), stratum after stratum."""
        pad = self.vocabulary.control["<|pad|>"]
        for stratum in self.documents.strata:
            figures = self.figures[stratum] = StratumFigures()
            encoded = self.encoded(stratum, figures, kept, refused)
            if stratum.startswith(DIALOGUE):
                windows: Iterator[Window] = (
                    window
                    for name, ids in encoded
                    if (window := alone(name, ids, self.config.length, pad=pad)) is not None
                )
            else:
                windows = pack(encoded, self.config.length, self.config.overlap, pad=pad)
            for window in windows:
                figures.windows += 1
                figures.window_tokens += window.used
                yield stratum, window

    def encoded(
        self, stratum: str, figures: StratumFigures, kept: TableWriter, refused: TableWriter
    ) -> Iterator[tuple[str, list[int]]]:
        """(document id, ids) of the documents that can be encoded; the others go to `refused`."""
        dialogue = stratum.startswith(DIALOGUE)
        close = self.vocabulary.control["<|end_of_document|>"]
        for row in self.documents.rows(stratum, ENCODED_COLUMNS):
            self.speak(stratum, figures)
            name = row["document_id"]
            try:
                ids = encode_document(self.vocabulary, row, self.documents.store.read_object)
                if dialogue and len(ids) > self.config.length:
                    raise Unencodable(
                        "dialogue_too_long", f"{len(ids)} tokens, a window holds {self.config.length}"
                    )
            except Unencodable as error:
                figures.rejected += 1
                refused.write(
                    {"document_id": name, "stratum": stratum, "reason": error.reason, "detail": str(error)}
                )
                continue
            if not dialogue:
                ids.append(close)
            figures.documents += 1
            figures.tokens += len(ids)
            figures.text_bytes += int(self.vocabulary.text_bytes[ids].sum())
            kept.write({"document_id": name, "stratum": stratum, "tokens": len(ids)})
            yield name, ids

    def speak(self, stratum: str, figures: StratumFigures) -> None:
        """Progress, a line every few seconds."""
        now = time.monotonic()
        if now - self._spoken >= PROGRESS_SECONDS:
            self._spoken = now
            total = sum(map(len, self.documents.ids[stratum].values()))
            self.log(f"{stratum}: {figures.documents + figures.rejected:,} of {total:,} documents encoded")


ENCODED_COLUMNS: list[Any] = ["kind", "modality", "text", "messages", "payload_sha256"]
