"""What a source item reached: documents, windows, shards, checkpoints, evaluations, releases.

From the store alone: the tables say in which documents and windows the item stands, the manifests what was
built from those. Every version is searched, not only the current ones. Tables stream; memory holds the
matches and one row group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.store import Manifest, Store

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
ITEM_COLUMNS = ("item_id", "title", "url", "sha256", "licence", "status")
DOCUMENT_COLUMNS = ("document_id", "item_id", "title", "url", "raw_sha256", "characters")
BATCH = 4096


class ItemUnknown(LookupError):
    """Neither a source nor a document of that name, URL or digest is in the store."""


@dataclass(frozen=True)
class Item:
    """A row of a source's manifest; `artifacts` are the versions that list it."""

    item_id: str
    title: str | None
    url: str | None
    sha256: str | None
    licence: str | None
    status: str
    artifacts: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A document made of the item; `artifacts` are the versions that hold it."""

    document_id: str
    title: str | None
    characters: int
    artifacts: tuple[str, ...]


@dataclass(frozen=True)
class Duplicate:
    """A document that was dropped for another one; one of the two is made of the item."""

    document_id: str
    duplicate_of: str
    similarity: float | None
    artifacts: tuple[str, ...]


@dataclass(frozen=True)
class Windows:
    """Windows of a token artifact that hold tokens of the item's documents."""

    artifact: str
    version: str
    current: bool
    windows: tuple[int, ...]
    shards: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Reached:
    """An artifact built from something that holds the item; `through` names the first links of the chain."""

    artifact: str
    version: str
    current: bool
    published_at: str
    through: tuple[str, ...]


@dataclass
class Takedown:
    """All that an item reached. `gaps`: inputs that are no longer in the store, where lineage ends."""

    asked: str
    items: list[Item] = field(default_factory=list)
    same_bytes: list[Item] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    merged_into_it: list[Duplicate] = field(default_factory=list)
    kept_elsewhere: list[Duplicate] = field(default_factory=list)
    mixtures: list[Reached] = field(default_factory=list)
    vocabularies: list[Reached] = field(default_factory=list)
    tokens: list[Windows] = field(default_factory=list)
    trace_indexes: list[Reached] = field(default_factory=list)
    checkpoints: list[Reached] = field(default_factory=list)
    evaluations: list[Reached] = field(default_factory=list)
    releases: list[Reached] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def plan_takedown(store: Store, item: str) -> Takedown:
    """Everything that the item (its id, URL or SHA-256) reached, in every version that the store holds.

    Raises ItemUnknown, naming items that look alike.
    """
    manifests = [
        m for name in store.names() for v in store.versions(name) if (m := store.get(name, v)) is not None
    ]
    heads = {m.name: m.version for m in filter(None, map(store.head, {m.name for m in manifests}))}
    lineage = _Lineage(manifests, heads)
    plan = Takedown(asked=item)
    plan.items = _items(_item_rows(store, manifests, item))
    ids = {i.item_id for i in plan.items}
    digests = {i.sha256 for i in plan.items if i.sha256}
    plan.documents = _documents(store, manifests, item, ids)
    if not plan.items and not plan.documents:
        raise ItemUnknown(_unknown(store, manifests, item))
    plan.same_bytes = _same_bytes(store, manifests, ids, digests)
    documents = {d.document_id for d in plan.documents}
    plan.merged_into_it, plan.kept_elsewhere = _duplicates(store, manifests, documents)
    holding = {label for d in plan.documents for label in d.artifacts}

    plans = _holders(store, manifests, "mixture/plan", "plan.parquet", documents)
    plan.mixtures = [lineage.reached(m, holding) for m in plans]
    # The vocabulary learns from texts of the plan: it holds statistics of them, not windows.
    learned = lineage.downstream({_label(m) for m in plans})
    plan.vocabularies = [
        lineage.reached(m, learned[_label(m)]) for m in _staged(manifests, "tokens/vocabulary", learned)
    ]
    plan.tokens = [
        w
        for m in manifests
        if m.name in ("tokens/shards", "tokens/heldout") and (w := _windows(store, m, heads, documents))
    ]
    trained = lineage.downstream(
        {f"{w.artifact}@{w.version}" for w in plan.tokens if w.artifact == "tokens/shards"}
    )
    measured = lineage.downstream({f"{w.artifact}@{w.version}" for w in plan.tokens})
    for stage, where, reach in (
        ("tokens/trace_index", plan.trace_indexes, trained),
        ("checkpoints/", plan.checkpoints, trained),
        ("evaluations/", plan.evaluations, measured),
        ("endpoint/", plan.releases, trained),
    ):
        where.extend(lineage.reached(m, reach[_label(m)]) for m in _staged(manifests, stage, reach))
    plan.gaps = lineage.gaps()
    return plan


class _Lineage:
    """Which artifact was built from which, by the manifests."""

    def __init__(self, manifests: list[Manifest], heads: dict[str, str]) -> None:
        self._manifests = {_label(m): m for m in manifests}
        self._heads = heads

    def _inputs(self, manifest: Manifest) -> list[str]:
        return [f"{name}@{version}" for name, version in sorted(manifest.inputs.items())]

    def downstream(self, roots: set[str]) -> dict[str, set[str]]:
        """Every artifact that was built, at any remove, from a root -> the direct inputs through which."""
        users: dict[str, list[str]] = {}
        for label, manifest in self._manifests.items():
            for source in self._inputs(manifest):
                users.setdefault(source, []).append(label)
        found: dict[str, set[str]] = {}
        stack = sorted(roots)
        seen = set(stack)
        while stack:
            source = stack.pop()
            for user in users.get(source, []):
                found.setdefault(user, set()).add(source)
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
        return found

    def reached(self, manifest: Manifest, through: Iterable[str]) -> Reached:
        named = sorted(set(through) & set(self._inputs(manifest)))
        current = self._heads.get(manifest.name) == manifest.version
        return Reached(manifest.name, manifest.version, current, manifest.published_at, tuple(named))

    def gaps(self) -> list[str]:
        """``<artifact> was built from <input>``, for inputs of tokens and what follows that are gone."""
        stages = ("tokens/", "checkpoints/", "evaluations/", "endpoint/")
        return sorted(
            f"{label} was built from {source}"
            for label, manifest in self._manifests.items()
            if manifest.name.startswith(stages)
            for source in self._inputs(manifest)
            if source not in self._manifests
        )


def _label(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"


def _staged(manifests: list[Manifest], prefix: str, reach: dict[str, set[str]]) -> list[Manifest]:
    return [m for m in manifests if m.name.startswith(prefix) and _label(m) in reach]


def _batches(store: Store, manifest: Manifest, name: str, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """A table's batches; none if the artifact has no such file. Raises ValueError naming a missing column."""
    if not any(entry.name == name for entry in manifest.files):
        return
    with store.open_file(manifest, name) as file:
        table = pq.ParquetFile(file)
        missing = sorted(set(columns) - set(table.schema_arrow.names))
        if missing:
            raise ValueError(f"{_label(manifest)} {name}: column {missing[0]!r} is missing; build it again")
        # Threads of Arrow that still hold a Python file abort a program that ends (apache/arrow issue 34314).
        yield from table.iter_batches(batch_size=BATCH, columns=list(columns), use_threads=False)


def _of(prefix: str, manifests: list[Manifest]) -> list[Manifest]:
    return [m for m in manifests if m.name.startswith(prefix)]


def _matching(batch: pa.RecordBatch, **wanted: Iterable[str]) -> list[dict[str, Any]]:
    """Rows in which any of the named columns holds one of its values."""
    mask: Any = None
    for column, values in wanted.items():
        hit = pc.is_in(batch.column(column), value_set=pa.array(sorted(values), pa.string()))
        mask = hit if mask is None else pc.or_(mask, hit)
    rows: list[dict[str, Any]] = batch.filter(mask).to_pylist()
    return rows


def _item_rows(
    store: Store, manifests: list[Manifest], item: str
) -> Iterator[tuple[dict[str, Any], Manifest]]:
    for manifest in _of("sources/", manifests):
        for batch in _batches(store, manifest, "manifest.parquet", ITEM_COLUMNS):
            for row in _matching(batch, item_id=[item], url=[item], sha256=[item]):
                yield row, manifest


def _items(rows: Iterable[tuple[dict[str, Any], Manifest]]) -> list[Item]:
    """One Item for each id and digest: an item that changed upstream reached things in both states."""
    found: dict[tuple[str, str | None], tuple[dict[str, Any], set[str]]] = {}
    for row, manifest in rows:
        found.setdefault((row["item_id"], row["sha256"]), (row, set()))[1].add(_label(manifest))
    ordered = sorted(found.items(), key=lambda pair: (pair[0][0], pair[0][1] or ""))
    return [
        Item(**{name: row[name] for name in ITEM_COLUMNS}, artifacts=tuple(sorted(labels)))
        for _, (row, labels) in ordered
    ]


def _same_bytes(store: Store, manifests: list[Manifest], ids: set[str], digests: set[str]) -> list[Item]:
    rows = (
        (row, manifest)
        for manifest in _of("sources/", manifests)
        for batch in _batches(store, manifest, "manifest.parquet", ITEM_COLUMNS)
        for row in _matching(batch, sha256=digests)
        if row["item_id"] not in ids
    )
    return _items(rows) if digests else []


def _documents(store: Store, manifests: list[Manifest], item: str, ids: set[str]) -> list[Document]:
    found: dict[str, tuple[dict[str, Any], set[str]]] = {}
    wanted = {"item_id": ids | {item}, "url": [item], "raw_sha256": [item]}
    for manifest in _of("documents/", manifests):
        for batch in _batches(store, manifest, "documents.parquet", DOCUMENT_COLUMNS):
            for row in _matching(batch, **wanted):
                found.setdefault(row["document_id"], (row, set()))[1].add(_label(manifest))
    return [
        Document(name, row["title"], row["characters"], tuple(sorted(labels)))
        for name, (row, labels) in sorted(found.items())
    ]


def _duplicates(
    store: Store, manifests: list[Manifest], documents: set[str]
) -> tuple[list[Duplicate], list[Duplicate]]:
    """Documents dropped in favour of these, and those of these that were dropped in favour of others."""
    columns = ("document_id", "keep", "duplicate_of", "similarity")
    found: dict[tuple[str, str, float | None], set[str]] = {}
    for manifest in _of("documents/unique", manifests):
        for batch in _batches(store, manifest, "decisions.parquet", columns):
            for row in _matching(batch, document_id=documents, duplicate_of=documents):
                if not row["keep"] and row["duplicate_of"] is not None:
                    key = (row["document_id"], row["duplicate_of"], row["similarity"])
                    found.setdefault(key, set()).add(_label(manifest))
    every = [
        Duplicate(*key, tuple(sorted(labels)))
        for key, labels in sorted(found.items(), key=lambda p: p[0][:2])
    ]
    merged = [d for d in every if d.document_id not in documents]
    return merged, [d for d in every if d.document_id in documents and d.duplicate_of not in documents]


def _holders(
    store: Store, manifests: list[Manifest], name: str, file: str, documents: set[str]
) -> list[Manifest]:
    """The versions of `name` whose table names one of the documents."""
    return [
        manifest
        for manifest in manifests
        if manifest.name == name
        and any(
            _matching(batch, document_id=documents)
            for batch in _batches(store, manifest, file, ["document_id"])
        )
    ]


def _windows(store: Store, manifest: Manifest, heads: dict[str, str], documents: set[str]) -> Windows | None:
    """The windows that hold tokens of the documents, or None."""
    windows: set[int] = set()
    shards: set[str] = set()
    present: set[str] = set()
    wanted = pa.array(sorted(documents), pa.string())
    for batch in _batches(store, manifest, "index.parquet", ("window", "shard", "document_ids")):
        lists = batch.column("document_ids")
        hit = pc.is_in(pc.list_flatten(lists), value_set=wanted)
        for row in batch.take(pc.unique(pc.list_parent_indices(lists).filter(hit))).to_pylist():
            windows.add(int(row["window"]))
            shards.add(str(row["shard"]))
            present.update(documents.intersection(row["document_ids"]))
    if not windows:
        return None
    current = heads.get(manifest.name) == manifest.version
    ordered = tuple(sorted(windows)), tuple(sorted(shards)), tuple(sorted(present))
    return Windows(manifest.name, manifest.version, current, *ordered)


def _unknown(store: Store, manifests: list[Manifest], item: str) -> str:
    tail = item.rstrip("/").rpartition("/")[2].lower()
    alike: set[str] = set()
    for manifest in _of("sources/", manifests):
        for batch in _batches(store, manifest, "manifest.parquet", ("item_id", "url")):
            for row in batch.to_pylist():
                if len(tail) > 2 and tail in f"{row['item_id']} {row['url']}".lower():
                    alike.add(row["item_id"])
    what = "digest" if DIGEST.match(item) else "item"
    hint = (
        f"alike: {', '.join(sorted(alike)[:5])}"
        if alike
        else "give an item id (<entry>/<upstream id>), its URL or its SHA-256"
    )
    return f"no {what} {item!r} in {store.uri}; {hint}"
