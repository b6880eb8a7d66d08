"""The plan: a weight for each stratum, and for each kept document its stratum and its side of the split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets.mixture.config import MixtureConfig
from assets.mixture.statistics import Count, Statistics
from assets.mixture.weights import Bounds, ImpossibleBounds, fill

PLAN = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stratum", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),
    ]
)

STRATA = pa.schema(
    [
        pa.field("stratum", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Weighed:
    """A stratum's counts, its natural share of tokens, its weight, and the reason in words."""

    stratum: str
    count: Count
    natural: float
    weight: float
    reason: str

    @property
    def factor(self) -> float:
        """How often a token of it is seen for each time that it would be in natural proportion."""
        return self.weight / self.natural if self.natural else 0.0


def weigh(statistics: Statistics, config: MixtureConfig) -> list[Weighed]:
    """Weights for all strata, sorted by name. Raises MixtureError or ImpossibleBounds."""
    total = statistics.total.tokens
    natural = {name: c.tokens / total for name, c in statistics.strata.items()}
    targets = _targets(statistics, config)
    bounds: dict[str, Bounds] = {}
    notes: dict[str, list[str]] = defaultdict(list)
    for name in sorted(natural):
        rule = config.stratum_rule(name)
        most = config.max_repetitions * natural[name]
        cap = min(rule.cap, most)
        floor = min(rule.floor, cap)
        if floor < rule.floor:
            notes[name].append(f"floor {rule.floor:.1%} lowered to {floor:.1%} by the repetition limit")
        bounds[name] = Bounds(targets[name], floor, cap)
    try:
        weights = fill(bounds)
    except ImpossibleBounds as error:
        limit = f"a stratum may weigh at most {config.max_repetitions:g} times its natural share"
        raise ImpossibleBounds(
            f"mixture.yaml, field 'strata': {error} ({limit}: field 'max_repetitions')"
        ) from None
    return [
        _weighed(
            name, statistics.strata[name], natural[name], weights[name], bounds[name], notes[name], config
        )
        for name in sorted(natural)
    ]


def _targets(statistics: Statistics, config: MixtureConfig) -> dict[str, float]:
    """Each pattern's weight shared out among its strata by tokens to the configured power."""
    by_pattern: dict[str, list[str]] = defaultdict(list)
    for name in sorted(statistics.strata):
        by_pattern[config.stratum_rule(name).pattern].append(name)
    targets: dict[str, float] = {}
    for names in by_pattern.values():
        sizes = {name: statistics.strata[name].tokens ** config.exponent for name in names}
        for name in names:
            targets[name] = config.stratum_rule(name).weight * sizes[name] / sum(sizes.values())
    return targets


def _weighed(
    name: str,
    counted: Count,
    natural: float,
    weight: float,
    bound: Bounds,
    notes: list[str],
    config: MixtureConfig,
) -> Weighed:
    rule = config.stratum_rule(name)
    change = weight / natural
    verb = "boosted" if change > 1.05 else "trimmed" if change < 0.95 else "left as it is"
    words = [f"{natural:.1%} of the tokens, {weight:.1%} of the weight: {verb} (x{change:.2f})"]
    at_cap, at_floor = abs(weight - bound.cap) < 1e-12, abs(weight - bound.floor) < 1e-12
    if at_cap and bound.cap < rule.cap:
        words.append(f"held by the limit of {config.max_repetitions:g} repetitions")
    elif at_cap:
        words.append(f"held by its cap of {rule.cap:.1%}")
    elif at_floor and bound.floor > 0:
        words.append(f"lifted to its floor of {bound.floor:.1%}")
    return Weighed(name, counted, natural, weight, "; ".join([*words, *notes, rule.reason.strip()]))


@dataclass(frozen=True)
class Member:
    """A kept document, as the split needs it."""

    document_id: str
    source: str
    stratum: str
    cluster: str


def draw(cluster: str, seed: int) -> float:
    """A number in [0, 1) that depends on the cluster's lead and the seed alone: more documents, or other
    weights, never move a cluster to the other side."""
    digest = hashlib.sha256(f"{seed}\n{cluster}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def heldout_clusters(members: Iterable[Member], config: MixtureConfig) -> set[str]:
    """Leads of the clusters that training never sees.

    A cluster belongs to the stratum of its lead (of its first member where the lead is not kept). A stratum
    with fewer clusters than its minimum gives none; one with enough of them, of which chance would take
    none, gives the one with the lowest draw.
    """
    stratum_of: dict[str, str] = {}
    for member in sorted(members, key=lambda m: (m.cluster, m.document_id != m.cluster, m.document_id)):
        stratum_of.setdefault(member.cluster, member.stratum)
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for cluster, stratum in stratum_of.items():
        by_stratum[stratum].append(cluster)
    held: set[str] = set()
    for stratum, clusters in sorted(by_stratum.items()):
        rule = config.heldout_rule(stratum)
        if rule.share == 0 or len(clusters) < rule.minimum_documents:
            continue
        drawn = sorted((draw(cluster, config.seed), cluster) for cluster in clusters)
        chosen = [cluster for value, cluster in drawn if value < rule.share] or [drawn[0][1]]
        held |= set(chosen)
    return held


def plan_rows(members: Iterable[Member], held: set[str]) -> Iterator[dict[str, Any]]:
    """Rows of plan.parquet, sorted by document_id."""
    for member in sorted(members, key=lambda m: m.document_id):
        yield {
            "document_id": member.document_id,
            "source": member.source,
            "stratum": member.stratum,
            "split": "heldout" if member.cluster in held else "train",
            "cluster": member.cluster,
        }


def strata_rows(weighed: Iterable[Weighed]) -> Iterator[dict[str, Any]]:
    """Rows of strata.parquet."""
    for w in weighed:
        yield {
            "stratum": w.stratum,
            "documents": w.count.documents,
            "characters": w.count.characters,
            "weight": w.weight,
            "reason": w.reason,
        }


def kept_members(decisions: Iterable[Mapping[str, Any]], strata: Mapping[str, str]) -> list[Member]:
    """Kept documents of decisions.parquet with their strata (document_id -> stratum)."""
    return [
        Member(d["document_id"], d["source"], strata[d["document_id"]], d["cluster"])
        for d in decisions
        if d["keep"]
    ]
