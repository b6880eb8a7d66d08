"""The checks of a card: a missing threshold, a leak, a card that says otherwise than the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assets.evaluations.describe import heldout_unseen, thresholds_stated
from resources.manifest import Manifest
from resources.store import Store
from tests.training.corpus import essays, publish_tokens
from training.batches import WindowTable
from training.evaluate import heldout_proof

LIMITS = [
    {"name": "max_perplexity_ratio", "value": 0.5, "comparison": "<=", "limit": 0.9, "passed": True},
    {"name": "min_probe_accuracy", "value": 0.2, "comparison": ">=", "limit": 0.5, "passed": False},
]


def tokens(folder: Path, leak: bool = False) -> tuple[Store, dict[str, Manifest]]:
    store = Store.open((folder / "store").as_uri())
    made = publish_tokens(store, texts={"text/a": essays(3)}, heldout={"text/a": essays(2, 5)}, dialogues=[])
    if leak:
        made["tokens/heldout"] = made["tokens/shards"]
        with store.writer("tokens/heldout") as writer:
            for entry in made["tokens/shards"].files:
                writer.add(entry.name, store.read_file(made["tokens/shards"], entry.name))
        made["tokens/heldout"] = writer.manifest
    return store, made


def card(
    store: Store, made: dict[str, Manifest], thresholds: list[dict[str, Any]], **changes: Any
) -> Manifest:
    shards, heldout = made["tokens/shards"], made["tokens/heldout"]
    proof = heldout_proof(store, shards, heldout, WindowTable.read(store, heldout).documents)
    inputs = {m.name: m.version for m in (shards, heldout)}
    with store.writer("evaluations/card/t", inputs=inputs) as writer:
        writer.add("card.json", json.dumps({"thresholds": thresholds, "heldout": proof | changes}).encode())
    return writer.manifest


def test_a_card_with_every_threshold_measured_passes_even_if_the_gate_does_not(tmp_path: Path) -> None:
    store, made = tokens(tmp_path)
    manifest = card(store, made, LIMITS)
    assert thresholds_stated(store, manifest).passed
    assert heldout_unseen(store, manifest).passed


def test_a_threshold_that_was_not_measured_or_is_missing(tmp_path: Path) -> None:
    store, made = tokens(tmp_path)
    unmeasured = [LIMITS[0], LIMITS[1] | {"value": None}]
    assert "min_probe_accuracy" in thresholds_stated(store, card(store, made, unmeasured)).description
    assert not thresholds_stated(store, card(store, made, LIMITS[1:])).passed


def test_a_leak_blocks(tmp_path: Path) -> None:
    store, made = tokens(tmp_path, leak=True)
    verdict = heldout_unseen(store, card(store, made, LIMITS))
    assert not verdict.passed and verdict.metadata["in_shards"] == 3


def test_a_card_that_says_otherwise_than_the_store(tmp_path: Path) -> None:
    store, made = tokens(tmp_path)
    assert not heldout_unseen(store, card(store, made, LIMITS, documents=99)).passed
