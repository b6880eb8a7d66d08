"""Blocking checks of documents tables: pure functions of the published artifact."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from assets.materialize import Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

_SHOWN = 5
# Near-duplicate pairs whose texts are compared again; all of them in small collections.
_RECHECKED_PAIRS = 200


def well_formed(store: Store, manifest: Manifest) -> Verdict:
    """The table has the schema, rows, unique ids, and no control or private-use code point in its text."""
    import pyarrow.parquet as pq

    from assets.documents.clean import has_forbidden
    from assets.documents.schema import DOCUMENTS, KINDS, MODALITIES
    from assets.tables import read_rows

    with store.open_file(manifest, "documents.parquet") as file:
        found = pq.ParquetFile(file)
        if not found.schema_arrow.equals(DOCUMENTS):
            return Verdict(False, f"the schema is not the documents schema: {found.schema_arrow.names}")
        if not found.metadata.num_rows:
            return Verdict(False, "the table is empty: see rejected.parquet for the reasons")
    problems: list[str] = []
    last = ""
    count = 0
    with store.open_file(manifest, "documents.parquet") as file:
        for row in read_rows(file):
            count += 1
            name = row["document_id"]
            if name <= last:
                problems.append(f"{name}: not after {last}")
            last = name
            if row["kind"] not in KINDS or row["modality"] not in MODALITIES:
                problems.append(f"{name}: kind {row['kind']!r}, modality {row['modality']!r}")
            if problem := _content_problem(store, row):
                problems.append(f"{name}: {problem}")
            for text in (row["text"], row["title"], *(m["content"] for m in row["messages"] or ())):
                if text and (code_point := has_forbidden(text)):
                    problems.append(f"{name}: {code_point} in the text")
    return _verdict(problems, f"{count:,} rows are well formed")


def _content_problem(store: Store, row: Mapping[str, Any]) -> str | None:
    from assets.documents.readers.sequences import DNA, PROTEIN

    if row["modality"] in {"image", "audio"}:
        sha256 = row["payload_sha256"]
        return None if sha256 and store.has_object(sha256) else "its payload is not in the store"
    if not row["text"] or row["characters"] != len(row["text"]):
        return "no text, or another length than stated"
    if row["kind"] == "dialogue" and not row["messages"]:
        return "a dialogue without messages"
    alphabet = {"dna": DNA, "protein": PROTEIN}.get(row["modality"])
    if alphabet and re.search(f"[^{alphabet}]", row["text"]):
        return f"letters outside the {row['modality']} alphabet"
    return None


def traceable(store: Store, manifest: Manifest) -> Verdict:
    """Every row comes from an item of the source that is live, may be trained on, and has this licence."""
    from assets.documents.build import is_trainable
    from assets.tables import read_rows

    (source_name, version), *_ = manifest.inputs.items()
    source = store.get(source_name, version)
    if source is None:
        return Verdict(False, f"{source_name} {version} is no longer in the store")
    with store.open_file(source, "manifest.parquet") as file:
        items = {row["item_id"]: row for row in read_rows(file)}
    problems: list[str] = []
    count = 0
    columns = ["document_id", "item_id", "licence", "attribution", "url", "raw_sha256"]
    with store.open_file(manifest, "documents.parquet") as file:
        for row in read_rows(file, columns):
            count += 1
            item = items.get(row["item_id"])
            if item is None:
                problems.append(f"{row['document_id']}: item {row['item_id']} is not in {source_name}")
            elif not is_trainable(item):
                problems.append(
                    f"{row['document_id']}: its item is {item['status']}, may_train {item['may_train']}"
                )
            elif (item["sha256"], item["licence"]) != (row["raw_sha256"], row["licence"]):
                problems.append(f"{row['document_id']}: other bytes or another licence than its item")
    return _verdict(problems, f"{count:,} rows are traced to {len(items):,} items of {source_name} {version}")


def all_decided(store: Store, manifest: Manifest) -> Verdict:
    """Every document of every input is decided about exactly once, and no other."""
    from assets.tables import read_rows

    expected: list[str] = []
    for name, version in sorted(manifest.inputs.items()):
        source = store.get(name, version)
        if source is None:
            return Verdict(False, f"{name} {version} is no longer in the store")
        with store.open_file(source, "documents.parquet") as file:
            expected += [row["document_id"] for row in read_rows(file, ["document_id"])]
    decided = [row["document_id"] for row in decisions(store, manifest)]
    if sorted(expected) == decided and len(set(decided)) == len(decided) and decided:
        return Verdict(True, f"{len(decided):,} documents of {len(manifest.inputs)} tables are decided about")
    missing, extra = sorted(set(expected) - set(decided)), sorted(set(decided) - set(expected))
    return Verdict(
        False, f"{len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, or repeated"
    )


def duplicates_verified(store: Store, manifest: Manifest) -> Verdict:
    """Each dropped document is a true duplicate of a kept one of its cluster; a cluster has one lead."""
    from assets.documents.dedup import THRESHOLD
    from assets.documents.shingles import hashed, jaccard, shingles

    rows = {row["document_id"]: row for row in decisions(store, manifest)}
    problems: list[str] = []
    near: list[tuple[str, str]] = []
    for name, row in rows.items():
        lead = rows.get(row["cluster"])
        if lead is None or lead["cluster"] != row["cluster"] or not lead["keep"]:
            problems.append(f"{name}: its cluster's lead {row['cluster']} does not lead it, or is dropped")
        if row["keep"]:
            continue
        other = rows.get(row["duplicate_of"])
        if other is None or not other["keep"] or other["cluster"] != row["cluster"]:
            problems.append(f"{name}: duplicate of {row['duplicate_of']}, which is not kept in its cluster")
        elif row["similarity"] < THRESHOLD:
            problems.append(f"{name}: similarity {row['similarity']} is below {THRESHOLD}")
        elif row["reason"] == "near_duplicate":
            near.append((name, row["duplicate_of"]))
    again = near[:_RECHECKED_PAIRS]
    texts = _texts(store, manifest, {name for pair in again for name in pair})
    for left, right in again:
        if jaccard(hashed(shingles(texts[left])), hashed(shingles(texts[right]))) < THRESHOLD:
            problems.append(f"{left}: its text is not similar to that of {right}")
    return _verdict(problems, f"{len(near):,} near-duplicates, {len(again):,} compared again")


def decisions(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Rows of decisions.parquet."""
    from assets.tables import read_rows

    with store.open_file(manifest, "decisions.parquet") as file:
        yield from read_rows(file)


def _texts(store: Store, manifest: Manifest, wanted: set[str]) -> dict[str, str]:
    from assets.tables import read_rows

    texts: dict[str, str] = {}
    for name, version in sorted(manifest.inputs.items()) if wanted else ():
        source = store.get(name, version)
        if source is None:
            continue
        with store.open_file(source, "documents.parquet") as file:
            for row in read_rows(file, ["document_id", "text"]):
                if row["document_id"] in wanted:
                    texts[row["document_id"]] = row["text"] or ""
    return texts


def _verdict(problems: list[str], good: str) -> Verdict:
    if not problems:
        return Verdict(True, good)
    shown = "; ".join(problems[:_SHOWN])
    return Verdict(False, f"{len(problems)} problems: {shown}", {"problems": len(problems)})


DOCUMENT_CHECKS = {"well_formed": well_formed, "traceable": traceable}
UNIQUE_CHECKS = {"all_decided": all_decided, "duplicates_verified": duplicates_verified}
