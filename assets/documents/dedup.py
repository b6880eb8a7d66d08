"""Duplicates across all sources: exact by content, near by MinHash with every candidate verified.

MinHash (Broder 1997) in bands finds candidates; the true Jaccard similarity of the two texts decides.
Pairs make clusters (union-find); within a cluster, documents are taken in order of tier, then id, and one
is dropped only if it is itself similar enough to one that is kept: chains of small changes do not wipe out
their far end. A cluster never stands on both sides of the held-out split.

Sequences, images and sounds are compared exactly only: homologous genes are no duplicates. Dialogues are
compared with dialogues, by their messages. Memory: 0.5 kB a document, and 8 bytes a shingle of candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from assets.documents.shingles import MIN_SHINGLES, hashed, jaccard, shingles

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 128
# 16 bands of 8 rows: a pair at 0.8 is found with probability 0.95, at 0.9 with 0.9998, at 0.5 with 0.06.
BANDS = 16
ROWS = 8
THRESHOLD = 0.8
SEED = 1
# How many unlike documents of one bucket are compared with a new one before it is left alone.
MAX_BUCKET = 64

Rows = Callable[[], Iterable[Mapping[str, Any]]]


@dataclass
class _Known:
    """What is kept of each document: priority (tier, id), identity and, for texts, its signature."""

    document_id: str
    source: str
    tier: int
    content: str
    group: str


@dataclass
class Duplicates:
    """Outcome: a dropped document's (reason, duplicate_of, similarity), cluster leads, pairs compared."""

    dropped: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    cluster: dict[str, str] = field(default_factory=dict)
    documents: list[tuple[str, str]] = field(default_factory=list)
    candidates: int = 0
    verified: int = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of decisions.parquet, sorted by document_id."""
        for document_id, source in sorted(self.documents):
            reason, other, similarity = self.dropped.get(document_id, (None, None, None))
            yield {
                "document_id": document_id,
                "source": source,
                "keep": reason is None,
                "reason": reason,
                "duplicate_of": other,
                "similarity": similarity,
                "cluster": self.cluster.get(document_id, document_id),
            }


class UnionFind:
    """Disjoint sets; the lead of a set is its smallest member."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, member: int) -> int:
        root = member
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(member, member)) != root:
            self._parent[member] = root
            member = parent
        return root

    def union(self, left: int, right: int) -> None:
        low, high = sorted((self.find(left), self.find(right)))
        if low != high:
            self._parent[high] = low


def find_duplicates(
    rows: Rows, tiers: Mapping[str, int], note: Callable[[str], None] = lambda _: None
) -> Duplicates:
    """Decide about every document. `rows()` streams all documents (document_id, source, kind, modality,
    text, content_sha256) and is called twice; `tiers` ranks sources, lower first."""
    known, signatures = _first_pass(rows(), tiers)
    # Documents are numbered in order of priority, so that a smaller number is always the better one.
    order = sorted(range(len(known)), key=lambda i: (known[i].tier, known[i].document_id))
    ranked = [known[i] for i in order]
    rank_of = {old: new for new, old in enumerate(order)}
    result = Duplicates(documents=[(k.document_id, k.source) for k in known])
    sets = UnionFind()
    first_with: dict[tuple[str, str], int] = {}
    exact: dict[int, int] = {}
    for number, document in enumerate(ranked):
        lead = first_with.setdefault((document.group, document.content), number)
        if lead != number:
            exact[number] = lead
            sets.union(lead, number)
    note(f"{len(known):,} documents, {len(exact):,} exact duplicates, {len(signatures):,} to compare")

    buckets = _buckets({rank_of[i]: s for i, s in signatures.items() if rank_of[i] not in exact}, ranked)
    wanted = {ranked[i].document_id for bucket in buckets for i in bucket}
    texts = {
        row["document_id"]: hashed(shingles(row["text"])) for row in rows() if row["document_id"] in wanted
    }
    pairs = _verified_pairs(buckets, ranked, texts, result)
    for left, right in pairs:
        sets.union(left, right)
    note(f"{result.candidates:,} candidate pairs, {result.verified:,} verified at {THRESHOLD} or more")
    _decide(ranked, exact, pairs, sets, texts, result)
    return result


def _first_pass(
    rows: Iterable[Mapping[str, Any]], tiers: Mapping[str, int]
) -> tuple[list[_Known], dict[int, np.ndarray]]:
    known: list[_Known] = []
    signatures: dict[int, np.ndarray] = {}
    for row in rows:
        group = f"{row['kind']}/{row['modality']}"
        known.append(
            _Known(
                row["document_id"], row["source"], tiers.get(row["source"], 1), row["content_sha256"], group
            )
        )
        if row["modality"] == "text" and row["text"]:
            signature = minhash(shingles(row["text"]))
            if signature is not None:
                signatures[len(known) - 1] = signature
    return known, signatures


def minhash(found: set[str]) -> np.ndarray | None:
    """uint32[128], the MinHash signature (datasketch) of a set of shingles; None for too few of them."""
    if len(found) < MIN_SHINGLES:
        return None
    import numpy as np
    from datasketch import MinHash

    # CRC-32 is a weak hash, but candidates are verified, and it takes a fifth of SHA-1's time.
    sketch = MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=crc32)
    sketch.update_batch([s.encode() for s in found])
    return np.asarray(sketch.hashvalues, dtype=np.uint32)


def _buckets(signatures: Mapping[int, np.ndarray], ranked: list[_Known]) -> list[list[int]]:
    """Documents of the same group that agree in a whole band, two or more together, in order."""
    buckets: list[list[int]] = []
    for band in range(BANDS):
        found: dict[tuple[str, bytes], list[int]] = defaultdict(list)
        for number in sorted(signatures):
            rows = signatures[number][band * ROWS : (band + 1) * ROWS]
            found[ranked[number].group, rows.tobytes()].append(number)
        buckets += [members for members in found.values() if len(members) > 1]
    return buckets


def _verified_pairs(
    buckets: list[list[int]], ranked: list[_Known], texts: Mapping[str, np.ndarray], result: Duplicates
) -> dict[tuple[int, int], float]:
    """(better, worse) -> true similarity, of the candidate pairs that reach the threshold."""
    compared: dict[tuple[int, int], float] = {}
    for bucket in buckets:
        leads: list[int] = []
        for number in bucket:
            alike = False
            for lead in leads:
                pair = (lead, number)
                if pair not in compared:
                    compared[pair] = jaccard(
                        texts[ranked[lead].document_id], texts[ranked[number].document_id]
                    )
                if compared[pair] >= THRESHOLD:
                    alike = True
                    break
            if not alike and len(leads) < MAX_BUCKET:
                leads.append(number)
    result.candidates = len(compared)
    pairs = {pair: similarity for pair, similarity in compared.items() if similarity >= THRESHOLD}
    result.verified = len(pairs)
    return pairs


def _decide(
    ranked: list[_Known],
    exact: Mapping[int, int],
    pairs: Mapping[tuple[int, int], float],
    sets: UnionFind,
    texts: Mapping[str, np.ndarray],
    result: Duplicates,
) -> None:
    clusters: dict[int, list[int]] = defaultdict(list)
    for number in sorted({*exact, *exact.values(), *(i for pair in pairs for i in pair)}):
        clusters[sets.find(number)].append(number)
    for lead, members in sorted(clusters.items()):
        kept: list[int] = []
        for number in members:
            result.cluster[ranked[number].document_id] = ranked[lead].document_id
            if number in exact:
                continue
            best = _most_similar(number, kept, ranked, texts)
            if best is not None and best[1] >= THRESHOLD:
                other = ranked[best[0]].document_id
                result.dropped[ranked[number].document_id] = ("near_duplicate", other, round(best[1], 6))
            else:
                kept.append(number)
        for number in members:
            if number in exact:
                original = ranked[exact[number]].document_id
                # A copy of a text that was itself dropped shares its fate: the one that is kept is named.
                copy = ("exact_duplicate", original, 1.0)
                result.dropped[ranked[number].document_id] = result.dropped.get(original, copy)


def _most_similar(
    number: int, kept: list[int], ranked: list[_Known], texts: Mapping[str, np.ndarray]
) -> tuple[int, float] | None:
    mine = texts.get(ranked[number].document_id)
    others = [k for k in kept if ranked[k].document_id in texts]
    if mine is None or not others:
        return None
    scored = [(jaccard(texts[ranked[k].document_id], mine), -k) for k in others]
    similarity, negative = max(scored)
    return -negative, similarity
