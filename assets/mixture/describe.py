"""What the UI shows of mixture/plan, made from the published artifact alone."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.columns import PLAN_COLUMNS, table_schema

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store


def describe_plan(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Counts by split and stratum, the weights, the plot inline and the README."""
    from assets.mixture.plan import PLAN
    from assets.tables import read_rows

    splits: Counter[str] = Counter()
    strata: Counter[str] = Counter()
    with store.open_file(manifest, "plan.parquet") as file:
        for row in read_rows(file, ["stratum", "split"]):
            splits[row["split"]] += 1
            strata[row["stratum"]] += 1
    with store.open_file(manifest, "strata.parquet") as file:
        weights = {row["stratum"]: round(row["weight"], 6) for row in read_rows(file)}
    picture = base64.b64encode(store.read_file(manifest, "mixture.png")).decode("ascii")
    readme = (
        store.read_file(manifest, "README.md")
        .decode("utf-8")
        .replace("![Natural and planned shares](mixture.svg)\n\n", "")
    )
    return {
        "dagster/row_count": sum(splits.values()),
        "dagster/column_schema": table_schema(PLAN, PLAN_COLUMNS),
        "train_documents": splits["train"],
        "heldout_documents": splits["heldout"],
        "strata": len(strata),
        "weights": dg.MetadataValue.json(weights),
        "plot": dg.MetadataValue.md(f"![Natural and planned shares](data:image/png;base64,{picture})"),
        "preview": dg.MetadataValue.md(readme),
    }
