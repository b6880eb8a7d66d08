"""What the UI shows of documents tables, made from the published artifact alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.columns import DECISION_COLUMNS, DOCUMENT_COLUMNS, table_schema

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

_PREVIEW_ROWS = 6
_REJECTED_ROWS = 50


def describe_documents(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Row counts, schema, a preview, and everything that was set aside with its reason."""
    from assets.documents.schema import DOCUMENTS
    from assets.tables import read_rows

    counts: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    preview: list[dict[str, Any]] = []
    characters = rows = 0
    columns = [
        "document_id",
        "kind",
        "modality",
        "domain",
        "language",
        "title",
        "text",
        "characters",
        "quality",
    ]
    with store.open_file(manifest, "documents.parquet") as file:
        for row in read_rows(file, columns):
            rows += 1
            characters += row["characters"]
            counts["dialogue" if row["kind"] == "dialogue" else row["modality"]] += 1
            languages[row["language"] or "none"] += 1
            if len(preview) < _PREVIEW_ROWS:
                preview.append(row)
    with store.open_file(manifest, "rejected.parquet") as file:
        rejected = list(read_rows(file))
    reasons = Counter(row["reason"] for row in rejected)
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "dagster/column_schema": table_schema(DOCUMENTS, DOCUMENT_COLUMNS),
        "characters": characters,
        "documents_by_kind": dg.MetadataValue.json(dict(sorted(counts.items()))),
        "languages": dg.MetadataValue.json(dict(sorted(languages.items()))),
        "rejected_rows": len(rejected),
        "rejected_by_reason": dg.MetadataValue.json(dict(sorted(reasons.items()))),
        "preview": dg.MetadataValue.md(
            markdown_table(
                ["document", "title", "kind", "language", "characters", "text", "quality"],
                [
                    [
                        r["document_id"],
                        r["title"] or "",
                        r["kind"] if r["kind"] == "dialogue" else r["modality"],
                        r["language"] or "",
                        f"{r['characters']:,}",
                        shorten(r["text"] or ""),
                        shorten(_quality(r["quality"]), 120),
                    ]
                    for r in preview
                ],
            )
        ),
    }
    if rejected:
        metadata["rejected"] = dg.MetadataValue.md(rejected_table(rejected))
    return metadata


def describe_unique(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Counts by reason and source, and the pairs themselves for a person to judge."""
    from assets.documents.checks import decisions
    from assets.documents.schema import DECISIONS

    by_source: dict[str, Counter[str]] = {}
    dropped: list[dict[str, Any]] = []
    rows = 0
    for row in decisions(store, manifest):
        rows += 1
        by_source.setdefault(row["source"], Counter())[row["reason"] or "kept"] += 1
        if not row["keep"] and len(dropped) < _REJECTED_ROWS:
            dropped.append(row)
    total = sum(by_source.values(), Counter())
    names = ["kept", "exact_duplicate", "near_duplicate"]
    return {
        "dagster/row_count": rows,
        "dagster/column_schema": table_schema(DECISIONS, DECISION_COLUMNS),
        "documents_kept": total["kept"],
        "exact_duplicates": total["exact_duplicate"],
        "near_duplicates": total["near_duplicate"],
        "by_source": dg.MetadataValue.md(
            markdown_table(
                ["source", *names], [[s, *(str(c[n]) for n in names)] for s, c in sorted(by_source.items())]
            )
        ),
        "preview": dg.MetadataValue.md(
            markdown_table(
                ["dropped", "reason", "duplicate of", "similarity"],
                [
                    [r["document_id"], r["reason"], r["duplicate_of"], f"{r['similarity']:.3f}"]
                    for r in dropped
                ],
            )
            if dropped
            else "No duplicate was found."
        ),
    }


def rejected_table(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a count per reason, then the rows, as many as a page bears."""
    reasons = Counter(row["reason"] for row in rejected)
    counts = markdown_table(["reason", "rows"], [[r, str(n)] for r, n in sorted(reasons.items())])
    shown = [
        [r["item_id"], r["part"], r["reason"], shorten(r["detail"] or "", 160)]
        for r in rejected[:_REJECTED_ROWS]
    ]
    more = len(rejected) - len(shown)
    rest = f"\n\nand {more} more in rejected.parquet" if more > 0 else ""
    return f"{counts}\n\n{markdown_table(['item', 'part', 'reason', 'detail'], shown)}{rest}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped and kept on one line."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(_cell(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def shorten(text: str, limit: int = 90) -> str:
    """The start of a text on one line."""
    line = " ".join(text[: limit * 2].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _cell(text: str) -> str:
    escaped = " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
    return escaped or " "


def _quality(text: str) -> str:
    return ", ".join(f"{k} {v}" for k, v in json.loads(text).items())
