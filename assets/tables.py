"""Parquet tables whose bytes depend on their rows alone.

Row groups close at a fixed number of rows or of text bytes, whichever comes first, so that a table of
genomes is read in as little memory as a table of sentences, and the same rows give the same file
whatever batches they arrived in. No pandas metadata, no dates; zstd; the sort key is checked on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 16 * 2**20


class TableWriter:
    """Write rows (dicts) of one schema to a binary file object, streaming, in deterministic row groups.

    `sort_key` names columns that must strictly ascend (so they are unique too); a row out of order is a
    ValueError that names both rows. Use as a context manager; on an exception nothing is closed as whole.
    """

    def __init__(self, sink: IO[bytes], schema: pa.Schema, sort_key: Sequence[str] = ()) -> None:
        self.schema = schema
        self.rows = 0
        self._names = schema.names
        self._known = set(schema.names)
        self._sort_key = tuple(sort_key)
        self._last: tuple[Any, ...] | None = None
        self._buffer: list[Mapping[str, Any]] = []
        self._buffered_bytes = 0
        self._writer = pq.ParquetWriter(
            sink, schema, compression="zstd", compression_level=3, version="2.6", write_page_index=False
        )

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row: keys are the schema's columns, a missing one is null, an unknown one an error."""
        if not row.keys() <= self._known:
            raise ValueError(f"unknown columns {sorted(row.keys() - self._known)}; known: {self._names}")
        if self._sort_key:
            key = tuple(row[name] for name in self._sort_key)
            if self._last is not None and key <= self._last:
                raise ValueError(f"rows must ascend by {self._sort_key}: {key} came after {self._last}")
            self._last = key
        self._buffer.append(row)
        self._buffered_bytes += sum(len(v) for v in row.values() if isinstance(v, str | bytes))
        self.rows += 1
        if len(self._buffer) >= ROW_GROUP_ROWS or self._buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            table = pa.Table.from_pylist(self._buffer, schema=self.schema)
            self._writer.write_table(table, row_group_size=len(self._buffer))
            self._buffer = []
            self._buffered_bytes = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def write_table(
    sink: IO[bytes], schema: pa.Schema, rows: Iterable[Mapping[str, Any]], sort_key: Sequence[str] = ()
) -> int:
    """Stream `rows` into `sink` as Parquet; the number of rows. See TableWriter for the guarantees."""
    with TableWriter(sink, schema, sort_key) as writer:
        for row in rows:
            writer.write(row)
    return writer.rows


def read_rows(
    source: IO[bytes], columns: Sequence[str] | None = None, batch_rows: int = 256
) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file as dicts, a row group's slice in memory at a time."""
    file = pq.ParquetFile(source)
    wanted = list(columns) if columns else None
    for batch in file.iter_batches(batch_size=batch_rows, columns=wanted, use_threads=False):
        yield from batch.to_pylist()


def row_count(source: IO[bytes]) -> int:
    """Rows of a Parquet file, from its footer."""
    return int(pq.ParquetFile(source).metadata.num_rows)
