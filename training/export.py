"""The final checkpoint artifact: Hugging Face's layout to serve from, and the state to go on from.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json
    figures.jsonl  loss.png  loss.svg  state/state.json  state/rank-NNNNN.safetensors
    timings.jsonl  tensorboard/…          (volatile: times and host names)

Equal inputs on the same number of ranks of the same machine give equal bytes, and so the same version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from training import checkpoint, figures
from training.loop import Training

if TYPE_CHECKING:
    from resources.manifest import Manifest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def publish_checkpoint(
    training: Training, vocabulary: Manifest, title: str, extra: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Publish the finished training under its job's key, with `extra` files by name, then delete its
    partials. Collective."""
    spec, store, rank = training.spec, training.store, training.rank
    folder = spec.folder / "final"
    if rank.first:
        shutil.rmtree(folder, ignore_errors=True)
    dist.barrier()
    state = training.state(training.steps)
    checkpoint.write_state(training.engine, state, rank.index, folder)
    dist.barrier()
    if rank.first:
        training.progress("publishing", 0, 1, "checkpoint", "writing weights, figures and state")
        write_model(training.engine.module.model, folder)
        records = figures.read_figures(training.figures_path.read_bytes())
        figures.draw_losses(records, title, folder)
        shutil.copyfile(training.figures_path, folder / "figures.jsonl")
        timings = (
            figures.read_figures(training.timings_path.read_bytes()) if training.timings_path.exists() else []
        )
        with spec.writer(store) as writer:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                writer.add(path.relative_to(folder).as_posix(), path)
            for name in TOKENIZER_FILES:
                with store.open_file(vocabulary, name) as file:
                    writer.add(name, file)
            for name, content in sorted(extra.items()):
                writer.add(name, content)
            if timings:
                writer.add("timings.jsonl", training.timings_path, volatile=True)
            for path in figures.write_tensorboard(records, timings, spec.folder / "tensorboard"):
                writer.add(f"tensorboard/{path.name}", path, volatile=True)
            before, after = figures.first_and_last(records)
            writer.figures.update(
                {
                    "steps": training.steps,
                    "loss_before": before,
                    "loss_after": after,
                    "targets": sum(r["targets"] for r in records),
                    "skipped_steps": sum(bool(r.get("skipped")) for r in records),
                    "parameters": sum(state.sizes),
                    "training_seconds": round(sum(t["seconds"] for t in timings), 3),
                }
            )
        checkpoint.delete_partials(store, spec)
        shutil.rmtree(folder)
        training.progress("published", 1, 1, "checkpoint", f"{spec.artifact} {writer.manifest.version}")
    dist.barrier()


def write_model(model: torch.nn.Module, folder: Path) -> None:
    """Write bf16 weights, `config.json` and `generation_config.json` as Hugging Face loads them."""
    from transformers import GenerationConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    assert isinstance(model, LlamaForCausalLM)
    config = model.config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=None, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, do_sample=False
    )
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    # The library's own version would make the artifact's depend on it.
    for name in ("config.json", "generation_config.json"):
        raw = json.loads((folder / name).read_text(encoding="utf-8"))
        raw.pop("transformers_version", None)
        (folder / name).write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n", encoding="utf-8")
