"""What the UI shows of each tokens artifact, from the artifact alone."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from assets.columns import TOKEN_COLUMNS, TRACE_COLUMNS, WINDOW_COLUMNS, plain_schema, table_schema
from assets.tokens.planned import read_rows
from training.shards import ShardReader, index_schema
from training.trace_build import documents_schema
from training.vocabulary import Vocabulary

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

PREVIEW_WINDOWS = 6
PREVIEW_CHARACTERS = 240
PREVIEW_REJECTED = 20


def describe_vocabulary(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Ranges of ids, the longest text tokens, the control tokens."""
    vocabulary = Vocabulary.from_store(store, manifest)
    rows = []
    for name, ids in vocabulary.ranges.items():
        longest = sorted(ids, key=lambda i: -len(vocabulary.token_bytes(i)))[:5]
        sample = ids[:5] if name in ("byte", "glue", "control") else longest
        rows.append([name, ids.start, ids.stop - 1, len(ids), " ".join(shown(vocabulary, i) for i in sample)])
    return {
        "dagster/row_count": vocabulary.size,
        "dagster/column_schema": plain_schema(TOKEN_COLUMNS),
        "tokens": vocabulary.size,
        "modalities": md(table(["range", "first id", "last id", "ids", "some of them"], rows)),
        **{f"ids/{name}": len(ids) for name, ids in vocabulary.ranges.items()},
    }


def shown(vocabulary: Vocabulary, token: int) -> str:
    """A token for a table cell."""
    body = vocabulary.token_bytes(token)
    try:
        printable = body.decode().isprintable() or token not in vocabulary.ranges["byte"]
    except UnicodeDecodeError:
        printable = False
    return code(vocabulary.decode([token]) if printable else body.hex(" "))


def describe_shards(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Tokens per modality and stratum, compression, windows decoded, rejected documents, shards."""
    reader = ShardReader(store, manifest)
    strata: dict[str, dict[str, int]] = reader.strata["strata"]
    shards = [file for file in manifest.files if file.name.endswith(".tar")]
    modalities: dict[str, int] = {}
    for name, figures in strata.items():
        modality = name.split("/", 1)[0]
        modalities[modality] = modalities.get(modality, 0) + figures["tokens"]
    return {
        "dagster/row_count": len(reader),
        "windows": len(reader),
        "tokens": sum(modalities.values()),
        "documents": sum(f["documents"] for f in strata.values()),
        "rejected": sum(f["rejected"] for f in strata.values()),
        "shards": len(shards),
        "shard_bytes": sum(file.bytes for file in shards),
        **{f"tokens/{name}": count for name, count in sorted(modalities.items())},
        "strata": md(strata_table(strata, reader.length)),
        "preview": md(window_table(store, manifest, reader)),
        "rejected_documents": md(rejected_table(store, manifest)),
        "dagster/column_schema": table_schema(index_schema(), WINDOW_COLUMNS),
    }


def strata_table(strata: dict[str, dict[str, int]], length: int) -> str:
    """A row a stratum. Bytes a token: of the text or letters; a dash where there is no text."""
    heads = ["stratum", "documents", "rejected", "tokens", "bytes a token", "windows", "filled"]
    rows = [
        [
            name,
            f"{f['documents']:,}",
            f"{f['rejected']:,}",
            f"{f['tokens']:,}",
            f"{f['text_bytes'] / f['tokens']:.2f}" if f["text_bytes"] else "–",
            f"{f['windows']:,}",
            f"{f['window_tokens'] / (f['windows'] * length):.0%}" if f["windows"] else "–",
        ]
        for name, f in strata.items()
    ]
    return table(heads, rows)


def window_table(store: Store, manifest: Manifest, reader: ShardReader) -> str:
    """The beginnings of a few windows, decoded, of different strata."""
    vocabulary_manifest = store.get("tokens/vocabulary", manifest.inputs["tokens/vocabulary"])
    if vocabulary_manifest is None or not len(reader):
        return "No windows."
    vocabulary = Vocabulary.from_store(store, vocabulary_manifest)
    _, firsts = np.unique(reader.index["stratum"].astype(str), return_index=True)
    rows = []
    for number in firsts[:PREVIEW_WINDOWS].tolist():
        ids = reader.windows([number])[0][: reader.index["length"][number]]
        text = vocabulary.decode(ids.tolist())
        documents = ", ".join(span.document_id for span in reader.spans(number)[:3])
        beginning = text[:PREVIEW_CHARACTERS] + ("…" if len(text) > PREVIEW_CHARACTERS else "")
        rows.append([number, reader.index["stratum"][number], cell(documents), code(beginning)])
    return table(["window", "stratum", "documents", "begins"], rows)


def rejected_table(store: Store, manifest: Manifest) -> str:
    """The documents that gave no tokens, with the reason."""
    rows = [
        [cell(row["document_id"]), row["stratum"], row["reason"], cell(row["detail"] or "")]
        for row in islice(read_rows(store, manifest, "rejected.parquet"), PREVIEW_REJECTED)
    ]
    return table(["document", "stratum", "reason", "detail"], rows) if rows else "None."


def describe_trace_index(store: Store, manifest: Manifest) -> dict[str, Any]:
    """How much text is traced, and a few of the documents."""
    summary = json.loads(store.read_file(manifest, "trace.json"))
    columns = ["document_id", "title", "licence", "url"]
    rows = [
        [cell(str(row[name] or "")) for name in columns]
        for row in islice(read_rows(store, manifest, "documents.parquet", columns), PREVIEW_WINDOWS)
    ]
    return {
        "dagster/row_count": summary["documents"],
        "documents": summary["documents"],
        "text_bytes": summary["bytes"],
        "dagster/column_schema": table_schema(documents_schema(), TRACE_COLUMNS),
        "preview": md(table(columns, rows)),
    }


def md(text: str) -> dg.MarkdownMetadataValue:
    """Markdown for the UI."""
    return dg.MetadataValue.md(text)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Text that breaks no table."""
    return html.escape(text).replace("|", "&#124;").replace("\n", " ")


def code(text: str) -> str:
    """Text shown as it is, in a cell: white space and bars survive."""
    visible = cell(text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍"))
    return f"<code>{visible}</code>"
