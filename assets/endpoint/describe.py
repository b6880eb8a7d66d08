"""What the release's page shows, from release.json alone; and its blocking checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialize import Check, Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

FILE = "release.json"


def read_release(store: Store, manifest: Manifest) -> dict[str, Any]:
    """release.json of a release."""
    release: dict[str, Any] = json.loads(store.read_file(manifest, FILE))
    return release


def describe_release(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Metadata of the asset's page."""
    release = read_release(store, manifest)
    smoke = release["smoke"]
    return {
        "alias": release["alias"],
        "release": f"{manifest.name}@{release['key']}",
        "question": smoke["question"],
        "answer": dg.MetadataValue.md(f"> {quote(smoke['answer'])}"),
        "trace": dg.MetadataValue.md(trace_table(smoke["trace"]["spans"])),
        "traced_share": float(smoke["trace"]["covered"]),
        "gate": dg.MetadataValue.md(gate_table(release["gate"])),
        "checkpoint": release["inputs"][f"checkpoints/instructed/{release['recipe']}"],
        "card": release["inputs"][f"evaluations/card/{release['recipe']}"],
        "vocabulary": release["inputs"]["tokens/vocabulary"],
        "serving": dg.MetadataValue.json(release["serving"]),
    }


def quote(text: str) -> str:
    """Text as one Markdown quotation."""
    return text.strip().replace("\n", "\n> ") or "(nothing)"


def cell(value: object) -> str:
    """A value that cannot break a Markdown table."""
    return " ".join(str("" if value is None else value).split()).replace("|", "\\|")


def trace_table(spans: Sequence[Mapping[str, Any]]) -> str:
    """Passages of the answer, where they stand, and under which licence."""
    if not spans:
        return "No passage of the answer stands verbatim in the training data."
    lines = ["| passage | document | item | window | licence | URL |", "|---|---|---|---|---|---|"]
    for span in spans:
        for place in span["places"]:
            windows = ", ".join(f"{w['window']} in {w['shard']}" for w in place["windows"][:2])
            cells = (
                span["text"],
                place["document_id"],
                place["item_id"],
                windows,
                place["licence"],
                place["url"],
            )
            lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines)


def gate_table(criteria: Sequence[Mapping[str, Any]]) -> str:
    """The gate's criteria, as they were when it opened."""
    lines = ["| criterion | value | wanted | passed |", "|---|---|---|---|"]
    for row in criteria:
        cells = (row["name"], row["value"], f"{row['comparison']} {row['threshold']:g}", row["passed"])
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines)


def smoke_answered(store: Store, manifest: Manifest) -> Verdict:
    """The smoke question got an answer that is not empty and ended by itself."""
    smoke = read_release(store, manifest)["smoke"]
    passed = bool(smoke["answer"].strip()) and smoke["finish_reason"] == "stop"
    return Verdict(
        passed,
        f"{smoke['completion_tokens']} tokens, ended by {smoke['finish_reason']}",
        {"question": smoke["question"], "answer": smoke["answer"]},
    )


def gate_passed(store: Store, manifest: Manifest) -> Verdict:
    """Every criterion of the evaluation card holds for the released checkpoint."""
    criteria = read_release(store, manifest)["gate"]
    failed = [row["name"] for row in criteria if not row["passed"]]
    return Verdict(bool(criteria) and not failed, ", ".join(failed) or f"{len(criteria)} criteria hold")


CHECKS: Mapping[str, Check] = {"gate_passed": gate_passed, "smoke_answered": smoke_answered}
