"""What a source's page shows, from the published artifact alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.columns import ITEM_COLUMNS, table_schema

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

PREVIEW_ROWS = 12
SET_ASIDE_ROWS = 60
CELL = 90


def describe(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Counts by status and licence, the schema, a preview, and every item set aside with its reason."""
    from assets.sources.schema import ITEMS, items_of

    statuses: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    item_bytes = 0
    rows = 0
    preview: list[dict[str, Any]] = []
    set_aside: list[dict[str, Any]] = []
    for row in items_of(store, manifest):
        rows += 1
        statuses[row["status"]] += 1
        licences[f"{row['licence'] or 'unknown'}{'' if row['may_train'] else ' (no training)'}"] += 1
        item_bytes += row["bytes"] or 0
        if row["status"] == "live" and len(preview) < PREVIEW_ROWS:
            preview.append(row)
        if row["status"] != "live" and len(set_aside) < SET_ASIDE_ROWS:
            set_aside.append(row)
    figures = manifest.figures
    return {
        "dagster/row_count": rows,
        "dagster/column_schema": table_schema(ITEMS, ITEM_COLUMNS),
        "live": statuses["live"],
        "item_bytes": item_bytes,
        "statuses": dg.MetadataValue.md(counts_table("Status", statuses)),
        "licences": dg.MetadataValue.md(counts_table("Licence", licences)),
        "items": dg.MetadataValue.md(
            table(
                ("Item", "Title", "Licence", "Bytes", "Media type", "Address"),
                (
                    (r["item_id"], r["title"], r["licence"], f"{r['bytes']:,}", r["media_type"], r["url"])
                    for r in preview
                ),
                statuses["live"],
            )
        ),
        "set_aside": dg.MetadataValue.md(
            table(
                ("Item", "Status", "Reason", "Licence as stated"),
                ((r["item_id"], r["status"], r["reason"], r["licence_stated"]) for r in set_aside),
                rows - statuses["live"],
            )
        ),
        "harvest": dg.MetadataValue.json(
            {k: figures[k] for k in ("outcomes", "requests", "bytes_transferred", "left_out") if k in figures}
        ),
    }


def counts_table(head: str, counts: Counter[str]) -> str:
    """A Markdown table, the most frequent first."""
    rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return table((head, "Items"), ((name, f"{number:,}") for name, number in rows), len(rows))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], total: int) -> str:
    """A Markdown table; says how many rows are not shown. Text from upstream cannot break out of a cell."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    shown = 0
    for row in rows:
        lines.append("| " + " | ".join(cell(value) for value in row) + " |")
        shown += 1
    if not shown:
        return "None."
    if total > shown:
        lines.append(f"\n{total - shown:,} more.")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """One line, no markup, bounded."""
    text = " ".join(str("" if value is None else value).split())
    text = text if len(text) <= CELL else text[: CELL - 1] + "…"
    for character in "\\|<>`[]*_":
        text = text.replace(character, f"&#{ord(character)};")
    return text
