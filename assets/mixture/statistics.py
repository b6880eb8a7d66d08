"""Counts of documents and estimated tokens by stratum and by every label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.mixture.config import TokensPer

LABELS = ("domain", "modality", "language", "region", "tradition", "licence", "dimension", "source")
# The columns that `count` reads, none of them large.
COLUMNS = (
    "document_id", "source", "kind", "modality", "domain", "dimension", "language", "region", "tradition",
    "licence", "characters", "quality",
)  # fmt: skip


@dataclass
class Count:
    """Documents, characters and estimated tokens."""

    documents: int = 0
    characters: int = 0
    tokens: float = 0.0

    def add(self, characters: int, tokens: float) -> None:
        self.documents += 1
        self.characters += characters
        self.tokens += tokens


@dataclass
class Statistics:
    """Counts by stratum, and by value of each label."""

    strata: dict[str, Count] = field(default_factory=dict)
    labels: dict[str, dict[str, Count]] = field(default_factory=lambda: {name: {} for name in LABELS})

    @property
    def total(self) -> Count:
        counts = self.strata.values()
        return Count(
            sum(c.documents for c in counts), sum(c.characters for c in counts), sum(c.tokens for c in counts)
        )


def stratum_of(row: Mapping[str, Any]) -> str:
    """``<modality>/<domain>``, or ``dialogue/<domain>`` for dialogues."""
    return f"{'dialogue' if row['kind'] == 'dialogue' else row['modality']}/{row['domain']}"


def estimate_tokens(row: Mapping[str, Any], per: TokensPer) -> float:
    """Estimated tokens of a document; at least one."""
    modality, characters = row["modality"], row["characters"]
    if modality == "image":
        return per.image
    if modality == "audio":
        return max(1.0, per.audio_second * float(json.loads(row["quality"]).get("seconds", 1.0)))
    rate = {"dna": per.dna_letter, "protein": per.protein_letter}.get(modality, per.text_character)
    return max(1.0, float(rate * characters))


def count(rows: Iterable[Mapping[str, Any]], per: TokensPer) -> Statistics:
    """Statistics of documents rows (COLUMNS)."""
    statistics = Statistics()
    for row in rows:
        tokens = estimate_tokens(row, per)
        statistics.strata.setdefault(stratum_of(row), Count()).add(row["characters"], tokens)
        for label in LABELS:
            value = row[label] or "none"
            statistics.labels[label].setdefault(value, Count()).add(row["characters"], tokens)
    return statistics
