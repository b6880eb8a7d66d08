"""Tables: the same rows, the same bytes; order and columns are checked on the way."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.tables import ROW_GROUP_BYTES, ROW_GROUP_ROWS, TableWriter, read_rows, row_count, write_table

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), ("n", pa.int64()), ("text", pa.string())])


def rows(count: int, text: str = "moss") -> Iterator[dict[str, Any]]:
    return ({"id": f"{i:06d}", "n": i, "text": text} for i in range(count))


def written(what: Iterable[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    write_table(sink, SCHEMA, what, ("id",))
    return sink.getvalue()


def test_rows_come_back_and_the_same_rows_give_the_same_bytes() -> None:
    body = written(rows(5000))
    assert body == written(list(rows(5000)))
    assert list(read_rows(io.BytesIO(body))) == list(rows(5000)) and row_count(io.BytesIO(body)) == 5000
    assert next(read_rows(io.BytesIO(body), ["n"])) == {"n": 0}
    assert pq.ParquetFile(io.BytesIO(body)).metadata.num_row_groups == -(-5000 // ROW_GROUP_ROWS)


def test_long_texts_close_a_row_group_early() -> None:
    body = written(rows(6, "a" * (ROW_GROUP_BYTES // 2)))
    assert pq.ParquetFile(io.BytesIO(body)).metadata.num_row_groups == 3


def test_a_missing_column_is_null_and_an_unknown_one_an_error() -> None:
    assert list(read_rows(io.BytesIO(written([{"id": "a"}])))) == [{"id": "a", "n": None, "text": None}]
    with pytest.raises(ValueError, match=r"unknown columns \['m'\]"):
        written([{"id": "a", "m": 1}])


@pytest.mark.parametrize("second", ["a", "b"])
def test_rows_out_of_order_or_twice_are_refused(second: str) -> None:
    with pytest.raises(ValueError, match="must ascend"), TableWriter(io.BytesIO(), SCHEMA, ("id",)) as table:
        table.write({"id": "b"})
        table.write({"id": second})
