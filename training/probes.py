"""Probes: short questions with one right answer.

recall: the first question of a dialogue that was trained; the answer must come back token for token.
heldout dialogues: the same of dialogues that were not trained; shows what is not learned by heart.
cloze: a held-out text is broken off, and the model must prefer its own continuation to three of other
held-out texts of the same stratum (by mean loss; chance is 1 in 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from training.batches import Ids, Reader, WindowTable
from training.model import IGNORED, TokenLosses

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

CLOZE_CONTEXT = 48
CLOZE_LENGTH = 8
CLOZE_CHOICES = 4


@dataclass(frozen=True)
class Question:
    """A prompt that ends in <|assistant|>, and the answer up to and with <|end_of_turn|>."""

    window: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def questions(
    reader: Reader, windows: Sequence[int], control: Mapping[str, int], room: int
) -> list[Question]:
    """The first question of each dialogue window; left out where the answer is cut or exceeds `room`."""
    found = []
    for window, ids in zip(windows, np.asarray(reader.windows(list(windows))).astype(np.int64), strict=True):
        starts = np.flatnonzero(ids == control["<|assistant|>"])
        ends = np.flatnonzero(ids == control["<|end_of_turn|>"])
        if starts.size and (after := ends[ends > starts[0]]).size:
            answer = tuple(ids[starts[0] + 1 : after[0] + 1].tolist())
            if 1 < len(answer) <= room:
                found.append(Question(int(window), tuple(ids[: starts[0] + 1].tolist()), answer))
    return found


def greedy_answers(
    model: LlamaForCausalLM,
    asked: Sequence[Question],
    control: Mapping[str, int],
    max_new_tokens: int,
    batch: int,
    on_answers: Callable[[int], None] = lambda _: None,
) -> list[tuple[int, ...]]:
    """Greedy continuations, each up to and with <|end_of_turn|> or `max_new_tokens` long."""
    end, pad = control["<|end_of_turn|>"], control["<|pad|>"]
    by_length = sorted(range(len(asked)), key=lambda i: (len(asked[i].answer), len(asked[i].prompt), i))
    answers: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(by_length), batch):
        part = by_length[start : start + batch]
        width = max(len(asked[i].prompt) for i in part)
        ids = torch.full((len(part), width), pad, dtype=torch.int64)
        for row, i in enumerate(part):
            ids[row, width - len(asked[i].prompt) :] = torch.tensor(asked[i].prompt)
        # A right answer is never longer than the longest of the batch; what runs on past it is wrong already.
        room = min(max_new_tokens, max(len(asked[i].answer) for i in part) + 4)
        with torch.no_grad():
            whole = cast(Any, model).generate(
                ids, attention_mask=(ids != pad).long(), do_sample=False, max_new_tokens=room,
                eos_token_id=end, pad_token_id=pad,
            )  # fmt: skip
        for row, i in enumerate(part):
            said = whole[row, width:].tolist()
            answers[i] = tuple(said[: said.index(end) + 1] if end in said else said)
        on_answers(len(part))
    return [answers[i] for i in range(len(asked))]


def token_f1(answer: Sequence[int], expected: Sequence[int]) -> float:
    """Harmonic mean of precision and recall over the two bags of tokens, as SQuAD's F1 over words."""
    common = sum((Counter(answer) & Counter(expected)).values())
    return 0.0 if common == 0 else 2 * common / (len(answer) + len(expected))


def share_interval(values: Sequence[float], draws: int, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap of the mean."""
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng([seed, len(data)]).integers(0, len(data), (draws, len(data)))
    low, high = np.quantile(data[picks].mean(1), [0.025, 0.975])
    return float(low), float(high)


def answer_figures(
    asked: Sequence[Question], answers: Sequence[Sequence[int]], draws: int, seed: int
) -> dict[str, Any]:
    """Exact match and token F1 with intervals; None for every figure if nothing was asked."""
    exact = [float(tuple(a) == q.answer) for q, a in zip(asked, answers, strict=True)]
    overlap = [token_f1(a, q.answer) for q, a in zip(asked, answers, strict=True)]
    return {"asked": len(asked), **_mean("exact", exact, draws, seed), **_mean("f1", overlap, draws, seed)}


def _mean(name: str, values: Sequence[float], draws: int, seed: int) -> dict[str, float | None]:
    if not values:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = share_interval(values, draws, seed)
    return {
        name: round(float(np.mean(values)), 6),
        f"{name}_low": round(low, 6),
        f"{name}_high": round(high, 6),
    }


@dataclass(frozen=True)
class Cloze:
    """A broken-off text and its possible continuations; `choices[right]` is its own."""

    context: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    right: int


def clozes(
    reader: Reader, table: WindowTable, sample: Mapping[str, Sequence[int]], count: int, seed: int
) -> list[Cloze]:
    """At most `count` clozes out of held-out text windows; none where a stratum has too few windows."""
    found: list[Cloze] = []
    length_of = dict(zip(table.window.tolist(), table.length.tolist(), strict=True))
    for stratum in sorted(s for s in sample if s.startswith("text/")):
        long = [w for w in sample[stratum] if length_of[w] >= CLOZE_CONTEXT + CLOZE_LENGTH]
        if len(long) < CLOZE_CHOICES:
            continue
        ids: Ids = np.asarray(reader.windows(long)).astype(np.int64)
        ends = [ids[i, CLOZE_CONTEXT : CLOZE_CONTEXT + CLOZE_LENGTH] for i in range(len(long))]
        for i in range(len(long)):
            rng = np.random.default_rng([seed, long[i]])
            others = [j for j in range(len(long)) if not np.array_equal(ends[j], ends[i])]
            if len(others) < CLOZE_CHOICES - 1:
                continue
            wrong = [others[int(j)] for j in rng.permutation(len(others))[: CLOZE_CHOICES - 1]]
            right = int(rng.integers(CLOZE_CHOICES))
            choices = tuple(tuple(ends[j].tolist()) for j in [*wrong[:right], i, *wrong[right:]])
            found.append(Cloze(tuple(ids[i, :CLOZE_CONTEXT].tolist()), choices, right))
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    return [found[int(i)] for i in sorted(order)]


def cloze_figures(model: LlamaForCausalLM, asked: Sequence[Cloze], draws: int, seed: int) -> dict[str, Any]:
    """Share of clozes whose own continuation has the lowest loss, with its interval; chance is given."""
    losses_of = TokenLosses(model).eval()
    right = []
    with torch.no_grad():
        for cloze in asked:
            ids = torch.tensor([cloze.context + choice for choice in cloze.choices])
            targets = torch.full_like(ids, IGNORED)
            targets[:, CLOZE_CONTEXT - 1 : -1] = ids[:, CLOZE_CONTEXT:]
            right.append(float(int(losses_of(ids, targets).sum(1).argmin()) == cloze.right))
    return {"asked": len(asked), "chance": 1 / CLOZE_CHOICES, **_mean("accuracy", right, draws, seed)}
