"""The planned documents, read in one order from the tables that the plan was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

PLAN, UNIQUE, DOCUMENTS = "mixture/plan", "documents/unique", "documents/"
BATCH_ROWS = 64  # documents in memory at a time
DIALOGUE = "dialogue/"


@dataclass(frozen=True)
class PlannedDocuments:
    """One split of a plan. `ids`: stratum -> source -> ids; `tables`: source -> its documents artifact."""

    store: Store
    plan: Manifest
    split: str
    ids: Mapping[str, Mapping[str, frozenset[str]]]
    tables: Mapping[str, Manifest]

    @classmethod
    def of(cls, store: Store, plan: Manifest, split: str) -> PlannedDocuments:
        """Read plan.parquet; ValueError names a source whose table the plan's inputs do not name."""
        gathered: dict[str, dict[str, set[str]]] = {}
        for row in read_rows(store, plan, "plan.parquet", ["document_id", "source", "stratum", "split"]):
            if row["split"] == split:
                gathered.setdefault(row["stratum"], {}).setdefault(row["source"], set()).add(
                    row["document_id"]
                )
        ids = {
            stratum: {source: frozenset(found) for source, found in sorted(sources.items())}
            for stratum, sources in sorted(gathered.items())
        }
        needed = {source for sources in ids.values() for source in sources}
        return cls(store, plan, split, ids, table_manifests(store, plan, needed))

    @property
    def strata(self) -> list[str]:
        """Names of the strata with a document in this split, sorted."""
        return list(self.ids)

    def rows(self, stratum: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Rows of a stratum's documents by source, then document id; a batch in memory at a time.

        ValueError names a planned document that its source's table lacks.
        """
        for source, ids in self.ids[stratum].items():
            missing = set(ids)
            wanted = None if columns is None else ["document_id", *(c for c in columns if c != "document_id")]
            for row in read_rows(self.store, self.tables[source], "documents.parquet", wanted):
                if row["document_id"] in ids:
                    missing.discard(row["document_id"])
                    yield row
            if missing:
                raise ValueError(
                    f"{PLAN} names {min(missing)} and {len(missing) - 1} more that are not in "
                    f"{DOCUMENTS}{source}: materialize {PLAN} again"
                )

    def all_rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Rows of every stratum, in the order of the strata."""
        for stratum in self.strata:
            yield from self.rows(stratum, columns)


def read_rows(
    store: Store, manifest: Manifest, name: str, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file of an artifact, as dicts."""
    import pyarrow.parquet as pq

    with store.open_file(manifest, name) as file:
        parquet = pq.ParquetFile(file)
        wanted = None if columns is None else list(columns)
        for batch in parquet.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
            yield from batch.to_pylist()


def table_manifests(store: Store, plan: Manifest, sources: set[str]) -> dict[str, Manifest]:
    """The documents/<source> artifacts that the plan, or the documents/unique before it, was made from."""
    versions = dict(plan.inputs)
    if UNIQUE in versions:
        unique = store.get(UNIQUE, versions[UNIQUE])
        versions = {**(unique.inputs if unique else {}), **versions}
    found: dict[str, Manifest] = {}
    for source in sorted(sources):
        name = DOCUMENTS + source
        version = versions.get(name)
        manifest = store.get(name, version) if version else None
        if manifest is None:
            raise ValueError(
                f"{PLAN} {plan.version} draws on source {source!r}, but {name} {version or 'of no version'} "
                f"is not in {store.uri}: materialize {UNIQUE} and {PLAN} again"
            )
        found[source] = manifest
    return found
