"""Batches: assistant masks, trimming, the order of dialogues, the choice under a cap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import DialogueSource, WindowTable, assistant_mask, choose_dialogues, trimmed
from training.model import IGNORED

CONTROL = {
    "<|pad|>": 90,
    "<|end_of_turn|>": 91,
    "<|user|>": 92,
    "<|assistant|>": 93,
    "<|system|>": 94,
    "<|end_of_document|>": 95,
}
PAD, END, USER, ASSISTANT, SYSTEM = 90, 91, 92, 93, 94
words = st.lists(st.integers(0, 89), max_size=6)
turns = st.lists(st.tuples(st.sampled_from([SYSTEM, USER, ASSISTANT]), words), min_size=1, max_size=6)


@given(turns, st.integers(0, 5))
def test_mask_is_what_the_assistant_says(dialogue: list[tuple[int, list[int]]], padding: int) -> None:
    ids: list[int] = []
    expected: list[bool] = []
    for role, content in dialogue:
        ids += [role, *content, END]
        expected += [False, *[role == ASSISTANT] * (len(content) + 1)]
    ids += [PAD] * padding
    expected += [False] * padding
    assert assistant_mask(np.array([ids]), CONTROL)[0].tolist() == expected


def test_a_cut_answer_counts_and_an_unopened_turn_does_not() -> None:
    ids = np.array([[5, END, ASSISTANT, 1, 2], [ASSISTANT, 1, END, 7, PAD]])
    assert assistant_mask(ids, CONTROL).tolist() == [
        [False, False, False, True, True],
        [False, True, True, False, False],
    ]


def test_trimmed_to_the_longest() -> None:
    assert trimmed([[1, PAD, PAD, PAD], [1, 2, 3, PAD]], PAD).tolist() == [[1, PAD, PAD], [1, 2, 3]]
    assert trimmed([[PAD, PAD]], PAD).shape == (1, 1)


class Rows:
    """Windows in memory."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = np.array(rows)

    def windows(self, ids: Any) -> Any:
        return self.rows[list(ids)]


def table(strata: list[str]) -> WindowTable:
    count = len(strata)
    return WindowTable(
        np.arange(count), np.full(count, 8), tuple(strata), tuple((f"d{i}",) for i in range(count))
    )


def test_targets_are_neither_empty_nor_full() -> None:
    rows = [[USER, 1, 2, END, ASSISTANT, 3, END, PAD], [USER, 1, END, ASSISTANT, 4, 5, END, PAD]]
    source = DialogueSource(Rows(rows), table(["dialogue/biology"] * 2), [0, 1], CONTROL, seed=3)
    batch = source.batch(0, 2)
    assert sorted(batch.windows) == [0, 1]
    counted = batch.targets != IGNORED
    assert counted.any(1).all() and not counted.all(1).any()
    for row, window in zip(batch.targets, batch.windows, strict=True):
        assert [t for t in row.tolist() if t != IGNORED] == {0: [3, END], 1: [4, 5, END]}[window]


def test_every_epoch_shows_every_dialogue_once_in_an_order_of_its_own() -> None:
    source = DialogueSource(Rows([[1]] * 9), table(["dialogue/a"] * 9), range(9), CONTROL, seed=3)
    epochs = [[source.window_at(9 * e + i) for i in range(9)] for e in range(3)]
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("cap", [None, 1, 5, 100])
def test_choice_takes_domains_in_turn(cap: int | None) -> None:
    strata = ["dialogue/biology"] * 10 + ["text/biology"] * 5 + ["dialogue/philosophy"] * 3
    chosen = choose_dialogues(table(strata), cap, seed=1)
    assert chosen == choose_dialogues(table(strata), cap, seed=1) == sorted(set(chosen))
    assert len(chosen) == min(13, 13 if cap is None else cap)
    assert all(strata[w].startswith("dialogue/") for w in chosen)
    if cap == 5:
        assert sum(strata[w].endswith("philosophy") for w in chosen) == 2
