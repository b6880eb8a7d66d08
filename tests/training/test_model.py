"""The model: shape from the recipe, losses per token, what Hugging Face reads back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from training.export import write_model
from training.model import (
    IGNORED,
    TokenLosses,
    build_model,
    load_model,
    model_config,
    parameter_groups,
    shifted_targets,
)

SMALL = {
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "intermediate_size": 64,
    "max_positions": 64,
    "rope_theta": 5000.0,
    "tie_embeddings": True,
}
CONTROL = {"<|pad|>": 99, "<|end_of_turn|>": 98}


def small(**changes: Any) -> Any:
    return build_model(model_config({**SMALL, **changes}, 100, CONTROL), seed=4)


def test_the_recipe_reaches_the_model() -> None:
    model = small()
    assert model.config.rope_parameters["rope_theta"] == 5000.0
    assert model.config._attn_implementation == "sdpa"
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert small(tie_embeddings=False).lm_head.weight is not small().model.embed_tokens.weight


def test_the_seed_decides_the_weights() -> None:
    one, two = small().state_dict(), small().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_losses_equal_cross_entropy_and_ignored_targets_cost_nothing() -> None:
    model = small()
    ids = torch.tensor([[1, 2, 3, 4, 99, 99], [5, 6, 7, 8, 9, 10]])
    targets = shifted_targets(ids, 99)
    assert targets.tolist() == [[2, 3, 4, IGNORED, IGNORED, IGNORED], [6, 7, 8, 9, 10, IGNORED]]
    losses = TokenLosses(model)(ids, targets)
    logits = model(ids).logits.transpose(1, 2)
    expected = functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
    torch.testing.assert_close(losses, expected)
    assert losses.dtype == torch.float32


def test_a_batch_without_targets_has_a_zero_loss_and_gradients() -> None:
    model = small()
    losses = TokenLosses(model)(torch.tensor([[1, 2]]), torch.full((1, 2), IGNORED))
    losses.sum().backward()
    assert losses.sum() == 0


def test_norms_do_not_decay() -> None:
    decayed, kept = parameter_groups(small(), 0.1)
    assert all(p.dim() == 2 for p in decayed["params"]) and decayed["weight_decay"] == 0.1
    assert all(p.dim() == 1 for p in kept["params"]) and kept["weight_decay"] == 0.0


@pytest.mark.parametrize("tied", [True, False])
def test_export_is_what_hugging_face_loads(tmp_path: Path, tied: bool) -> None:
    model = small(tie_embeddings=tied).to(torch.bfloat16)
    write_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is tied and config["dtype"] == "bfloat16"
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 98
    again = load_model(tmp_path, torch.bfloat16)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model(ids).logits, again(ids).logits)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write_model(model, tmp_path)
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
