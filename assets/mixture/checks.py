"""Blocking checks of mixture/plan: pure functions of the published artifact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from assets.materialize import Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

TOLERANCE = 1e-9


def weights_sum_to_one(store: Store, manifest: Manifest) -> Verdict:
    """The strata's weights sum to 1, and every stratum of the plan has one."""
    from assets.tables import read_rows

    with store.open_file(manifest, "strata.parquet") as file:
        weights = {row["stratum"]: row["weight"] for row in read_rows(file)}
    with store.open_file(manifest, "plan.parquet") as file:
        planned = {row["stratum"] for row in read_rows(file, ["stratum"])}
    total = math.fsum(weights.values())
    if abs(total - 1) > TOLERANCE or min(weights.values(), default=-1.0) < 0:
        return Verdict(False, f"the weights sum to {total!r}: {weights}")
    if planned != weights.keys():
        return Verdict(
            False, f"strata without a weight, or without documents: {sorted(planned ^ weights.keys())}"
        )
    return Verdict(True, f"{len(weights)} weights sum to {total:.12f}")


def every_kept_document_once(store: Store, manifest: Manifest) -> Verdict:
    """Every document that documents/unique keeps is in the plan exactly once, and no other."""
    from assets.tables import read_rows

    unique = store.get("documents/unique", manifest.inputs["documents/unique"])
    if unique is None:
        return Verdict(False, "documents/unique of this plan is no longer in the store")
    with store.open_file(unique, "decisions.parquet") as file:
        kept = sorted(r["document_id"] for r in read_rows(file, ["document_id", "keep"]) if r["keep"])
    with store.open_file(manifest, "plan.parquet") as file:
        planned = [row["document_id"] for row in read_rows(file, ["document_id"])]
    if planned == kept and len(set(planned)) == len(planned) and planned:
        return Verdict(True, f"{len(planned):,} kept documents, each planned once")
    missing, extra = sorted(set(kept) - set(planned)), sorted(set(planned) - set(kept))
    return Verdict(
        False, f"{len(missing)} missing {missing[:3]}, {len(extra)} too many {extra[:3]}, or repeated"
    )


def no_cluster_on_both_sides(store: Store, manifest: Manifest) -> Verdict:
    """No cluster of near-duplicates is both trained on and held out; something is left to train on."""
    from assets.tables import read_rows

    sides: dict[str, set[str]] = {}
    with store.open_file(manifest, "plan.parquet") as file:
        for row in read_rows(file, ["cluster", "split"]):
            sides.setdefault(row["cluster"], set()).add(row["split"])
    torn = sorted(cluster for cluster, found in sides.items() if len(found) > 1)
    unknown = set().union(*sides.values()) - {"train", "heldout"}
    if torn or unknown or not any("train" in found for found in sides.values()):
        return Verdict(
            False, f"{len(torn)} clusters on both sides: {torn[:5]}; unknown splits: {sorted(unknown)}"
        )
    held = sum("heldout" in found for found in sides.values())
    return Verdict(True, f"{len(sides):,} clusters, {held:,} of them held out")


CHECKS = {
    "weights_sum_to_one": weights_sum_to_one,
    "every_kept_document_once": every_kept_document_once,
    "no_cluster_on_both_sides": no_cluster_on_both_sides,
}
