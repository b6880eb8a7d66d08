"""Build the index that `trace` searches: the text of every trained document, and where its windows are.

Files: `text.bin` (UTF-8 texts, each followed by byte 0xFF, which no UTF-8 holds), `suffixes.npy` (int32),
`documents.parquet` (a row a document: where it is in text.bin, and its source), `spans.npy` (int64[n, 5]:
document row, window, shard, and the bytes start … end of the document's text in that window), `trace.json`.
Building holds the text and its suffix array: about 5 bytes (10 at the peak) a byte of text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.alphabets import without_lifted
from training.encode import encode_document
from training.shards import INDEX_FILE, ShardReader
from training.suffix_array import build_suffixes
from training.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.store import ArtifactWriter

SEPARATOR = b"\xff"
TEXT_FILE, SUFFIXES_FILE, SPANS_FILE = "text.bin", "suffixes.npy", "spans.npy"
DOCUMENTS_FILE, SUMMARY_FILE = "documents.parquet", "trace.json"
FACTS = ("document_id", "item_id", "source", "title", "url", "licence", "attribution", "kind", "modality")
SPAN_COLUMNS = 5


def documents_schema() -> pa.Schema:
    """Columns of documents.parquet, in the order of text.bin."""
    import pyarrow as pa

    facts = [(name, pa.string()) for name in FACTS]
    return pa.schema([*facts, ("start", pa.int64()), ("end", pa.int64())])


@dataclass(frozen=True)
class DocumentWindows:
    """For each document id: rows (window, shard, first token, tokens), int64[n, 4]."""

    rows: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, reader: ShardReader) -> DocumentWindows:
        """Turn the index of windows around; holds a row a (window, document) pair."""
        import pyarrow.parquet as pq

        columns = ["window", "shard", "document_ids", "starts", "ends", "document_offsets"]
        with reader.store.open_file(reader.manifest, INDEX_FILE) as file:
            table = pq.read_table(file, columns=columns, use_threads=False, pre_buffer=False)
        number = {name: place for place, name in enumerate(reader.shards)}
        gathered: dict[str, list[tuple[int, int, int, int]]] = {}
        for batch in table.to_batches(4096):
            for row in batch.to_pylist():
                shard = number[row["shard"]]
                parts = zip(
                    row["document_ids"], row["starts"], row["ends"], row["document_offsets"], strict=True
                )
                for document_id, start, end, offset in parts:
                    entry = (row["window"], shard, offset, end - start)
                    gathered.setdefault(document_id, []).append(entry)
        return cls({name: np.array(rows, np.int64) for name, rows in gathered.items()})


def build_trace_index(
    writer: ArtifactWriter,
    documents: Iterable[Mapping[str, Any]],
    vocabulary: Vocabulary,
    reader: ShardReader,
) -> None:
    """Index the documents (rows of documents.parquet) that have a text and stand in the shards."""
    windows = DocumentWindows.of(reader)
    text = bytearray()
    facts: list[dict[str, Any]] = []
    spans: list[NDArray[np.int64]] = [np.zeros((0, SPAN_COLUMNS), np.int64)]
    for row in documents:
        places = windows.rows.get(row["document_id"])
        if places is None or not row["text"]:
            continue
        content = without_lifted(row["text"]).encode()
        spans.append(byte_spans(len(facts), row, content, places, vocabulary))
        start = len(text)
        text += content + SEPARATOR
        facts.append({**{name: row[name] for name in FACTS}, "start": start, "end": len(text) - 1})
    suffixes = build_suffixes(text)
    writer.add(TEXT_FILE, text)
    add_array(writer, SUFFIXES_FILE, suffixes)
    add_array(writer, SPANS_FILE, np.concatenate(spans))
    write_documents(writer, facts)
    summary = {"documents": len(facts), "bytes": len(text), "shards": reader.shards}
    writer.add(SUMMARY_FILE, (json.dumps(summary, indent=1) + "\n").encode())
    writer.figures["documents"] = len(facts)


def byte_spans(
    document: int, row: Mapping[str, Any], content: bytes, places: NDArray[np.int64], vocabulary: Vocabulary
) -> NDArray[np.int64]:
    """int64[n, 5]: which bytes of the document's text stand in each of its windows."""
    out = np.empty((len(places), SPAN_COLUMNS), np.int64)
    out[:, 0], out[:, 1:3] = document, places[:, :2]
    if row["kind"] == "dialogue":  # its text is a rendering of what its one window holds
        out[:, 3], out[:, 4] = 0, len(content)
        return out
    ids = encode_document(vocabulary, row, payload=no_payload)
    # <|end_of_document|> closes the ids in the shards and stands for no text: clip to the last place.
    ends = np.concatenate([[0], np.cumsum(vocabulary.text_bytes[ids])])
    if ends[-1] != len(content):
        raise ValueError(f"{row['document_id']}: its tokens stand for {ends[-1]} bytes of {len(content)}")
    last = len(ends) - 1
    out[:, 3] = ends[np.minimum(places[:, 2], last)]
    out[:, 4] = ends[np.minimum(places[:, 2] + places[:, 3], last)]
    return out


def no_payload(sha256: str) -> bytes:
    """Documents with a text have no payload to read."""
    raise ValueError(f"payload {sha256} asked for in a text index")


def add_array(writer: ArtifactWriter, name: str, array: NDArray[Any]) -> None:
    """An .npy file, streamed."""
    header = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, fields)  # type: ignore[no-untyped-call]
    with writer.open(name) as sink:
        sink.write(header.getvalue())
        sink.write(np.ascontiguousarray(array).data.cast("B"))


def write_documents(writer: ArtifactWriter, facts: Sequence[Mapping[str, Any]]) -> None:
    """documents.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = documents_schema()
    with (
        writer.open(DOCUMENTS_FILE) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", version="2.6") as parquet,
    ):
        for start in range(0, len(facts), 4096):
            parquet.write_table(pa.Table.from_pylist(list(facts[start : start + 4096]), schema=schema))
