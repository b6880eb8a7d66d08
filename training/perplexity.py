"""Held-out loss of a model by stratum: perplexity, bits per byte, and a bootstrap interval of the loss.

The interval is the percentile bootstrap over windows (Efron 1979): windows are drawn with replacement,
and the loss of a draw is the ratio of its summed loss to its summed targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.batches import Reader, WindowTable, trimmed
from training.model import IGNORED, TokenLosses, shifted_targets

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

Floats = np.ndarray[Any, np.dtype[np.float64]]


def window_losses(
    model: LlamaForCausalLM,
    reader: Reader,
    windows: Sequence[int],
    pad: int,
    text_bytes: Any,
    batch: int,
    on_window: Callable[[int], None] = lambda _: None,
) -> Floats:
    """float64[n, 3]: of each window the summed loss in nats, the targets, and the targets' bytes of text."""
    rows = []
    losses_of = TokenLosses(model).eval()
    with torch.no_grad():
        for start in range(0, len(windows), batch):
            ids = torch.from_numpy(trimmed(reader.windows(list(windows[start : start + batch])), pad))
            targets = shifted_targets(ids, pad)
            losses = losses_of(ids, targets).double().sum(1).numpy()
            counted = (targets != IGNORED).numpy()
            lengths = np.asarray(text_bytes)[np.where(counted, targets.numpy(), 0)] * counted
            rows.append(np.stack([losses, counted.sum(1), lengths.sum(1)], axis=1))
            on_window(len(ids))
    return np.concatenate(rows) if rows else np.zeros((0, 3))


def ratio_interval(sums: Floats, counts: Floats, draws: int, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap of sum(sums) / sum(counts) over their rows."""
    if len(sums) == 0:
        return math.nan, math.nan
    picks = np.random.default_rng([seed, len(sums)]).integers(0, len(sums), (draws, len(sums)))
    ratios = sums[picks].sum(1) / np.maximum(counts[picks].sum(1), 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def summary(name: str, rows: Floats, vocabulary_size: int, draws: int, seed: int) -> dict[str, Any]:
    """Figures of one stratum, or of all: loss with its interval, perplexity, bits per byte, uniform loss."""
    loss_sum, targets, text = rows.sum(0)
    loss = loss_sum / max(targets, 1)
    low, high = ratio_interval(rows[:, 0], rows[:, 1], draws, seed)
    return {
        "stratum": name,
        "windows": len(rows),
        "targets": int(targets),
        "loss": round(float(loss), 6),
        "loss_low": round(low, 6),
        "loss_high": round(high, 6),
        "perplexity": round(math.exp(min(loss, 700.0)), 4),
        "bits_per_byte": round(float(loss_sum / math.log(2) / text), 6) if text else None,
        "uniform_loss": round(math.log(vocabulary_size), 6),
    }


def heldout_sample(table: WindowTable, per_stratum: int, seed: int) -> dict[str, list[int]]:
    """Stratum to at most `per_stratum` of its windows, drawn from the seed, sorted."""
    sample = {}
    for number, stratum in enumerate(table.strata):
        windows = table.windows_of(stratum)
        order = np.random.default_rng([seed, number]).permutation(len(windows))[:per_stratum]
        sample[stratum] = sorted(windows[int(i)] for i in order)
    return sample


def heldout_figures(
    rows: Mapping[str, Floats], vocabulary_size: int, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Figures of every stratum, then of all documents together (stratum "all", dialogues left out)."""
    figures = [
        summary(name, rows[name], vocabulary_size, draws, seed) for name in sorted(rows) if len(rows[name])
    ]
    documents = [rows[name] for name in sorted(rows) if not name.startswith("dialogue/")]
    together = np.concatenate(documents or list(rows.values()))
    return [*figures, summary("all", together, vocabulary_size, draws, seed)]
