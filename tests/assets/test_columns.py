"""What the columns mean: every column of every table has its description, and none is of a column gone."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pytest

from assets import columns
from assets.documents.schema import DECISIONS, DOCUMENTS
from assets.mixture.plan import PLAN
from assets.sources.schema import ITEMS
from training.shards import index_schema
from training.trace_build import documents_schema


@pytest.mark.parametrize(
    ("schema", "meanings"),
    [
        (ITEMS, columns.ITEM_COLUMNS),
        (DOCUMENTS, columns.DOCUMENT_COLUMNS),
        (DECISIONS, columns.DECISION_COLUMNS),
        (PLAN, columns.PLAN_COLUMNS),
        (index_schema(), columns.WINDOW_COLUMNS),
        (documents_schema(), columns.TRACE_COLUMNS),
    ],
)
def test_every_column_is_described(schema: pa.Schema, meanings: Mapping[str, str]) -> None:
    shown = columns.table_schema(schema, meanings).columns
    assert [column.name for column in shown] == schema.names
    assert all(column.description for column in shown)
    stale = meanings.keys() - set(schema.names) - columns.SHARED.keys()
    assert not stale
    assert [column.constraints.nullable for column in shown] == [field.nullable for field in schema]
