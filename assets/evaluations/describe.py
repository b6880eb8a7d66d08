"""The evaluation card: what its page shows, and what must hold of it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.columns import PERPLEXITY_COLUMNS, plain_schema
from assets.materialize import Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

THRESHOLDS = ("max_perplexity_ratio", "min_probe_accuracy")


def read_card(store: Store, manifest: Manifest) -> dict[str, Any]:
    """card.json."""
    card: dict[str, Any] = json.loads(store.read_file(manifest, "card.json"))
    return card


def describe(store: Store, manifest: Manifest) -> dict[str, Any]:
    """The gate, the main figures and the card itself as a preview."""
    card = read_card(store, manifest)
    overall = {stage: rows[-1] for stage, rows in card["perplexity"].items()}
    metadata: dict[str, Any] = {
        # Its table is the perplexity of the instructed model, a row a stratum.
        "dagster/row_count": len(card["perplexity"]["instructed"]),
        "dagster/column_schema": plain_schema(PERPLEXITY_COLUMNS),
        "gate_passed": bool(card["passed"]),
        "perplexity_pretrained": overall["pretrained"]["perplexity"],
        "perplexity_instructed": overall["instructed"]["perplexity"],
        "heldout_documents": card["heldout"]["documents"],
        "learned_dialogues": card["learned_dialogues"],
        "card": dg.MetadataValue.md(store.read_file(manifest, "card.md").decode()),
        "page": manifest.uri + "/card.html",
    }
    for stage, figures in card["probes"]["recall"].items():
        if figures["exact"] is not None:
            metadata[f"recall_{stage}"] = figures["exact"]
    return metadata


def thresholds_stated(store: Store, manifest: Manifest) -> Verdict:
    """Every threshold of the gate stands on the card, with a measured, finite value."""
    stated = {t["name"]: t for t in read_card(store, manifest)["thresholds"]}
    faults = [name for name in THRESHOLDS if name not in stated or not _finite(stated[name]["value"])]
    said = "; ".join(
        f"{t['name']} {t['value']} {t['comparison']} {t['limit']}{'' if t['passed'] else ': not passed'}"
        for t in stated.values()
    )
    return Verdict(not faults, f"not measured: {', '.join(faults)}" if faults else said)


def heldout_unseen(store: Store, manifest: Manifest) -> Verdict:
    """The figures were computed on held-out documents, and none of those stands in a training shard."""
    from training.batches import WindowTable
    from training.evaluate import heldout_proof

    shards = store.get("tokens/shards", manifest.inputs["tokens/shards"])
    heldout = store.get("tokens/heldout", manifest.inputs["tokens/heldout"])
    if shards is None or heldout is None:
        return Verdict(False, "the card's token artifacts are no longer in the store")
    proof = heldout_proof(store, shards, heldout, WindowTable.read(store, heldout).documents)
    card = read_card(store, manifest)["heldout"]
    passed = proof["documents"] > 0 and proof["in_shards"] == 0 and card == proof
    return Verdict(
        passed,
        f"{proof['documents']} held-out documents, {proof['in_shards']} of them in a shard",
        {"documents": proof["documents"], "in_shards": proof["in_shards"]},
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


CHECKS = {"thresholds_stated": thresholds_stated, "heldout_unseen": heldout_unseen}
