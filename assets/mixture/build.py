"""From the documents tables and the decisions to the plan's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from assets.mixture.config import MixtureConfig
from assets.mixture.plan import PLAN, STRATA, heldout_clusters, kept_members, plan_rows, strata_rows, weigh
from assets.mixture.report import plot, readme
from assets.mixture.statistics import COLUMNS, count, stratum_of
from assets.tables import read_rows, write_table

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store


def build_plan(
    store: Store,
    unique: Manifest,
    tables: Mapping[str, Manifest],
    config: MixtureConfig,
    writer: ArtifactWriter,
) -> None:
    """Write plan.parquet, strata.parquet, README.md, mixture.svg and mixture.png.

    Texts are never read: only the narrow columns, a document's stratum and cluster stay in memory.
    """
    with store.open_file(unique, "decisions.parquet") as file:
        decisions = list(read_rows(file))
    kept = {d["document_id"] for d in decisions if d["keep"]}
    strata: dict[str, str] = {}

    def rows() -> Iterator[dict[str, Any]]:
        for _, table in sorted(tables.items()):
            with store.open_file(table, "documents.parquet") as file:
                for row in read_rows(file, COLUMNS, batch_rows=4096):
                    if row["document_id"] in kept:
                        strata[row["document_id"]] = stratum_of(row)
                        yield row

    statistics = count(rows(), config.tokens_per)
    weighed = weigh(statistics, config)
    members = kept_members(decisions, strata)
    planned = list(plan_rows(members, heldout_clusters(members, config)))
    splits: dict[str, Counter[str]] = {w.stratum: Counter() for w in weighed}
    for row in planned:
        splits[row["stratum"]][row["split"]] += 1
    dropped = Counter(d["reason"] for d in decisions if not d["keep"])
    with writer.open("plan.parquet") as sink:
        write_table(sink, PLAN, planned, ("document_id",))
    with writer.open("strata.parquet") as sink:
        write_table(sink, STRATA, strata_rows(weighed), ("stratum",))
    writer.add("README.md", readme(weighed, statistics, splits, dropped, config).encode())
    svg, png = plot(weighed)
    writer.add("mixture.svg", svg)
    writer.add("mixture.png", png)
    writer.figures["documents"] = len(planned)
    writer.figures["heldout"] = sum(c["heldout"] for c in splits.values())
