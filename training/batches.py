"""Training batches out of token shards: the stream's for pre-training, dialogues for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from training.loop import Batch
from training.model import IGNORED, shifted_targets

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

Ids = np.ndarray[Any, np.dtype[np.int64]]
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
DIALOGUE = "dialogue/"


class Reader(Protocol):
    """What is needed of `training.shards.ShardReader`."""

    def windows(self, ids: Any) -> Any:
        """Windows by id, integers [n, length]."""


class Positions(Protocol):
    """What is needed of `training.stream.Stream`."""

    def windows_at(self, start: int, count: int) -> Any:
        """A tuple whose `windows` are int64[count]."""


@dataclass(frozen=True)
class WindowTable:
    """The index of a token artifact, as far as training needs it: entry i describes window `window[i]`."""

    window: Ids
    length: Ids
    stratum: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, store: Store, manifest: Manifest) -> WindowTable:
        """Read `index.parquet`."""
        import pyarrow.parquet as pq

        with store.open_file(manifest, "index.parquet") as file:
            names = ["window", "length", "stratum", "document_ids"]
            table = pq.read_table(file, columns=names, use_threads=False, pre_buffer=False)
        return cls(
            window=table["window"].to_numpy().astype(np.int64),
            length=table["length"].to_numpy().astype(np.int64),
            stratum=tuple(table["stratum"].to_pylist()),
            documents=tuple(tuple(ids) for ids in table["document_ids"].to_pylist()),
        )

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata, sorted."""
        return tuple(sorted(set(self.stratum)))

    def stratum_numbers(self) -> dict[int, int]:
        """Window id to the index of its stratum in `strata`."""
        order = {name: i for i, name in enumerate(self.strata)}
        return {int(w): order[s] for w, s in zip(self.window, self.stratum, strict=True)}

    def windows_of(self, stratum: str) -> list[int]:
        """Window ids of one stratum, sorted."""
        return sorted(int(w) for w, s in zip(self.window, self.stratum, strict=True) if s == stratum)


class StreamSource:
    """Windows in the stream's order, every next token a target."""

    def __init__(self, reader: Reader, stream: Positions, table: WindowTable, pad: int) -> None:
        self.reader, self.stream, self.pad = reader, stream, pad
        self.strata: Sequence[str] = table.strata
        self._stratum = table.stratum_numbers()

    def batch(self, start: int, count: int) -> Batch:
        """The stream's windows at `count` positions from `start` on."""
        windows = [int(w) for w in self.stream.windows_at(start, count).windows]
        ids = torch.from_numpy(trimmed(self.reader.windows(windows), self.pad))
        return Batch(ids, shifted_targets(ids, self.pad), windows, [self._stratum[w] for w in windows])


class DialogueSource:
    """Dialogue windows, shuffled anew each epoch, with loss on the assistant's tokens only."""

    def __init__(
        self, reader: Reader, table: WindowTable, chosen: Sequence[int], control: Mapping[str, int], seed: int
    ) -> None:
        self.reader, self.control, self.seed = reader, control, seed
        self.chosen = list(chosen)
        self.strata: Sequence[str] = table.strata
        self._stratum = table.stratum_numbers()

    def window_at(self, position: int) -> int:
        """The window at a global position: epoch by epoch, each in a permutation of its own."""
        epoch, offset = divmod(position, len(self.chosen))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.chosen))
        return self.chosen[int(order[offset])]

    def batch(self, start: int, count: int) -> Batch:
        """The dialogues at `count` positions from `start` on."""
        windows = [self.window_at(start + i) for i in range(count)]
        ids = trimmed(self.reader.windows(windows), self.control["<|pad|>"])
        tensor = torch.from_numpy(ids)
        spoken = torch.from_numpy(assistant_mask(ids, self.control))
        targets = torch.full_like(tensor, IGNORED)
        targets[:, :-1] = tensor[:, 1:].masked_fill(~spoken[:, 1:], IGNORED)
        return Batch(tensor, targets, windows, [self._stratum[w] for w in windows])


def trimmed(windows: Any, pad: int) -> Ids:
    """Windows as int64[n, longest]: columns that are padding in every row are cut off."""
    ids: Ids = np.asarray(windows).astype(np.int64)
    used = np.flatnonzero((ids != pad).any(axis=0))
    return np.ascontiguousarray(ids[:, : int(used[-1]) + 1 if used.size else 1])


def assistant_mask(ids: Ids, control: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """bool[n, length]: the tokens that the assistant says, its `<|end_of_turn|>` included.

    A turn is opened by a role's control token and closed by `<|end_of_turn|>`; text cannot forge either.
    """
    position = np.arange(ids.shape[1])[None, :]
    roles = [control[role] for role in ROLES if role in control]
    opened = np.maximum.accumulate(np.where(np.isin(ids, roles), position, -1), axis=1)
    ends = np.where(ids == control["<|end_of_turn|>"], position, -1)
    closed = np.concatenate([np.full((len(ids), 1), -1), np.maximum.accumulate(ends, axis=1)[:, :-1]], axis=1)
    role = np.take_along_axis(ids, np.maximum(opened, 0), axis=1)
    inside = (opened >= 0) & (opened > closed) & (position > opened)
    spoken = inside & (role == control["<|assistant|>"]) & (ids != control["<|pad|>"])
    return np.asarray(spoken, dtype=np.bool_)


def stratum_weights(store: Store, plan: Manifest) -> dict[str, float]:
    """Target weight of each stratum, from the mixture plan's `strata.parquet`."""
    import pyarrow.parquet as pq

    with store.open_file(plan, "strata.parquet") as file:
        table = pq.read_table(file, columns=["stratum", "weight"], use_threads=False, pre_buffer=False)
    return dict(zip(table["stratum"].to_pylist(), map(float, table["weight"].to_pylist()), strict=True))


def choose_dialogues(table: WindowTable, cap: int | None, seed: int) -> list[int]:
    """Window ids of the dialogues to learn, sorted: all, or `cap` of them, taken from each domain in turn."""
    queues: list[list[int]] = []
    for number, stratum in enumerate(s for s in table.strata if s.startswith(DIALOGUE)):
        mine = table.windows_of(stratum)
        order = np.random.default_rng([seed, number]).permutation(len(mine))
        queues.append([mine[int(i)] for i in order])
    every = sum(map(len, queues))
    wanted = every if cap is None else min(cap, every)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < wanted:
        chosen += [queue[depth] for queue in queues if depth < len(queue)]
        depth += 1
    return sorted(chosen[:wanted])
