"""The model: a Llama-family decoder from its recipe, in Hugging Face's classes; vLLM serves it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

IGNORED = -100
"""Target id of a position that carries no loss."""


def model_config(model: Mapping[str, Any], vocabulary_size: int, control: Mapping[str, int]) -> LlamaConfig:
    """`LlamaConfig` of a recipe's model section; `control` gives the ids of pad and of the two ends."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=model["hidden_size"],
        intermediate_size=model["intermediate_size"],
        num_hidden_layers=model["layers"],
        num_attention_heads=model["heads"],
        num_key_value_heads=model["kv_heads"],
        max_position_embeddings=model["max_positions"],
        rope_parameters={"rope_type": "default", "rope_theta": model["rope_theta"]},
        tie_word_embeddings=model["tie_embeddings"],
        attention_dropout=0.0,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=control["<|end_of_turn|>"],
        pad_token_id=control["<|pad|>"],
        architectures=["LlamaForCausalLM"],
        use_cache=True,
    )


def build_model(config: LlamaConfig, seed: int) -> LlamaForCausalLM:
    """A new model with weights drawn from the seed alone; float32."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """The model of a checkpoint folder (config.json, model.safetensors); never asks a hub."""
    from transformers import LlamaForCausalLM

    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(
        str(folder), attn_implementation="sdpa", dtype=dtype, local_files_only=True
    )
    return model


class TokenLosses(nn.Module):
    """Wraps a decoder: ids and targets in, the loss of every position out, in float32.

    The vocabulary projection runs only where a target stands: padding and prompts cost nothing there.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """ids, targets: int64[n, length], targets shifted by one and IGNORED where no loss counts.

        Returns float32[n, length], in nats, zero at ignored positions.
        """
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        counted = targets != IGNORED
        logits = self.model.lm_head(hidden[counted]).float()
        losses = functional.cross_entropy(logits, targets[counted], reduction="none")
        return torch.zeros(targets.shape, dtype=torch.float32, device=losses.device).masked_scatter(
            counted, losses
        )


def shifted_targets(ids: torch.Tensor, pad: int) -> torch.Tensor:
    """Targets of next-token prediction, int64[n, length]: the next id, IGNORED at the end and at padding."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    return targets.masked_fill(targets == pad, IGNORED)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay, vectors (norms) do not; an empty group is left out."""
    named = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in named if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in named if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def parameter_count(model: nn.Module) -> int:
    """Trained numbers, shared ones counted once."""
    return sum(p.numel() for p in model.parameters())
