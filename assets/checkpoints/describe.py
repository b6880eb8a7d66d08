"""Checkpoints: what their page shows, and what must hold before anything may depend on them."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.columns import STEP_COLUMNS, plain_schema
from assets.materialize import Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

LAYOUT = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "state/state.json",
)


def describe(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Losses before and after, tokens, sizes and the loss curve, from the artifact alone."""
    from training.figures import first_and_last, read_figures

    records = read_figures(store.read_file(manifest, "figures.jsonl"))
    before, after = first_and_last(records)
    config = json.loads(store.read_file(manifest, "config.json"))
    curve = base64.b64encode(store.read_file(manifest, "loss.png")).decode()
    metadata: dict[str, Any] = {
        # Its table is figures.jsonl, a row a step.
        "dagster/row_count": len(records),
        "dagster/column_schema": plain_schema(STEP_COLUMNS),
        "loss_before": before,
        "loss_after": after,
        "steps": len(records),
        "skipped_steps": sum(bool(r.get("skipped")) for r in records),
        "tokens_learned": sum(r["targets"] for r in records),
        "vocabulary_size": config["vocab_size"],
        "weights_bytes": manifest.file("model.safetensors").bytes,
        "state_bytes": sum(f.bytes for f in manifest.files if f.name.startswith("state/")),
        "loss_curve": dg.MetadataValue.md(f"![loss by step](data:image/png;base64,{curve})"),
        "last_steps": dg.MetadataValue.md(_last_steps(records)),
    }
    if "parameters" in manifest.figures:
        metadata["parameters"] = int(manifest.figures["parameters"])
    return metadata


def _last_steps(records: list[dict[str, Any]]) -> str:
    rows = ["| step | loss | gradient norm | learning rate |", "|---|---|---|---|"]
    for r in records[-5:]:
        loss = "not finite" if r["loss"] is None else f"{r['loss']:.4f}"
        norm = "–" if r["grad_norm"] is None else f"{r['grad_norm']:.3f}"
        rows.append(f"| {r['step']} | {loss} | {norm} | {r['learning_rate']:.2e} |")
    return "\n".join(rows)


def loss_fell(store: Store, manifest: Manifest) -> Verdict:
    """The loss is finite and ended below where it began."""
    from training.figures import first_and_last, losses, read_figures

    records = read_figures(store.read_file(manifest, "figures.jsonl"))
    if not losses(records):
        return Verdict(False, "no step has a finite loss")
    before, after = first_and_last(records)
    skipped = sum(bool(r.get("skipped")) for r in records)
    passed = math.isfinite(after) and after < before and skipped * 10 <= len(records)
    return Verdict(
        passed,
        f"loss {before:.3f} to {after:.3f} nats a token; {skipped} of {len(records)} steps skipped",
        {"loss_before": before, "loss_after": after, "skipped_steps": skipped},
    )


def weights_load(store: Store, manifest: Manifest) -> Verdict:
    """The files that serving needs are there, and their shapes fit the configuration and the vocabulary."""
    names = {file.name for file in manifest.files}
    missing = [name for name in LAYOUT if name not in names]
    if missing:
        return Verdict(False, f"missing files: {', '.join(missing)}")
    config = json.loads(store.read_file(manifest, "config.json"))
    size = _vocabulary_size(json.loads(store.read_file(manifest, "tokenizer.json")))
    shapes = tensor_shapes(store, manifest)
    embedding = shapes.get("model.embed_tokens.weight")
    faults = []
    if config.get("architectures") != ["LlamaForCausalLM"]:
        faults.append(f"config.json: architectures is {config.get('architectures')}")
    if config["vocab_size"] != size:
        faults.append(f"config.json: vocab_size is {config['vocab_size']}, tokenizer.json has {size} ids")
    if embedding != [config["vocab_size"], config["hidden_size"]]:
        faults.append(f"model.safetensors: model.embed_tokens.weight is {embedding}")
    if not config.get("tie_word_embeddings") and "lm_head.weight" not in shapes:
        faults.append("model.safetensors: lm_head.weight is missing though embeddings are not tied")
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    if len(layers) != config["num_hidden_layers"]:
        faults.append(
            f"model.safetensors: {len(layers)} layers, config.json says {config['num_hidden_layers']}"
        )
    description = "; ".join(faults) or f"{len(shapes)} tensors, {size:,} ids"
    return Verdict(not faults, description, {"tensors": len(shapes), "vocabulary_size": size})


def tensor_shapes(store: Store, manifest: Manifest) -> dict[str, list[int]]:
    """Shapes in model.safetensors, read from its header (8 bytes of length, then JSON)."""
    with store.open_file(manifest, "model.safetensors") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _vocabulary_size(tokenizer: dict[str, Any]) -> int:
    ids = set(tokenizer["model"]["vocab"].values()) | {token["id"] for token in tokenizer["added_tokens"]}
    return len(ids)


CHECKS = {"loss_fell": loss_fell, "weights_load": weights_load}
