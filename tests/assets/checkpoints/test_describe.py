"""The checks of a checkpoint: each fault is found, and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assets.checkpoints.describe import describe, loss_fell, weights_load
from resources.manifest import Manifest
from resources.store import Store
from training.export import write_model
from training.figures import draw_losses
from training.model import build_model, model_config

SHAPE = {
    "hidden_size": 16, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 32,
    "max_positions": 32, "rope_theta": 10000.0, "tie_embeddings": False,
}  # fmt: skip
TOKENIZER = {
    "model": {"vocab": {f"t{i}": i for i in range(38)}},
    "added_tokens": [{"id": 38}, {"id": 39}],
}


def record(step: int, loss: float | None, **more: Any) -> dict[str, Any]:
    return {
        "step": step, "loss": loss, "strata": {"text/a": loss}, "grad_norm": 1.0, "learning_rate": 0.1,
        "targets": 10, **more,
    }  # fmt: skip


def checkpoint(
    tmp_path: Path, losses: list[float | None], leave_out: str = "", **config: Any
) -> tuple[Store, Manifest]:
    store = Store.open((tmp_path / "store").as_uri())
    folder = tmp_path / "files"
    write_model(build_model(model_config(SHAPE, 40, {"<|pad|>": 39, "<|end_of_turn|>": 38}), 0), folder)
    raw = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(raw))
    records = [
        record(i + 1, loss, **({"skipped": True} if loss is None else {})) for i, loss in enumerate(losses)
    ]
    draw_losses(records, "test", folder)
    with store.writer("checkpoints/pretrained/t") as writer:
        for path in sorted(folder.iterdir()):
            if path.name != leave_out:
                writer.add(path.name, path)
        writer.add("tokenizer.json", json.dumps(TOKENIZER).encode())
        writer.add("tokenizer_config.json", b"{}")
        writer.add("state/state.json", b"{}")
        writer.add("figures.jsonl", "".join(json.dumps(r) + "\n" for r in records).encode())
    return store, writer.manifest


def test_a_sound_checkpoint_passes_and_is_described(tmp_path: Path) -> None:
    store, manifest = checkpoint(tmp_path, [5.0, 4.0, 3.0])
    assert loss_fell(store, manifest).passed
    assert weights_load(store, manifest).passed, weights_load(store, manifest).description
    page = describe(store, manifest)
    assert page["dagster/row_count"] == 3
    assert record(1, 1.0).keys() <= {column.name for column in page["dagster/column_schema"].columns}
    assert page["loss_before"] == 5.0 and page["loss_after"] == 3.0 and page["tokens_learned"] == 30
    assert page["loss_curve"].value.startswith("![loss by step](data:image/png;base64,")


@pytest.mark.parametrize("losses", [[3.0, 4.0], [None, None], [5.0, None, None, 3.0]])
def test_a_loss_that_did_not_fall_or_was_skipped_too_often(
    tmp_path: Path, losses: list[float | None]
) -> None:
    assert not loss_fell(*checkpoint(tmp_path, losses)).passed


@pytest.mark.parametrize(
    ("leave_out", "config", "words"),
    [
        ("model.safetensors", {}, "missing files: model.safetensors"),
        ("", {"vocab_size": 41}, "vocab_size is 41, tokenizer.json has 40 ids"),
        ("", {"num_hidden_layers": 3}, "2 layers, config.json says 3"),
        ("", {"architectures": None}, "architectures"),
    ],
)
def test_a_layout_that_cannot_be_served(
    tmp_path: Path, leave_out: str, config: dict[str, Any], words: str
) -> None:
    verdict = weights_load(*checkpoint(tmp_path, [5.0, 3.0], leave_out, **config))
    assert not verdict.passed and words in verdict.description


def test_the_curve_is_drawn_to_the_same_bytes(tmp_path: Path) -> None:
    records = [record(i + 1, 5.0 / (i + 1)) for i in range(5)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = [p.read_bytes() for p in draw_losses(records, "t", tmp_path / "a")]
    assert one == [p.read_bytes() for p in draw_losses(records, "t", tmp_path / "b")]
