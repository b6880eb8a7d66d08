"""Which window stands at global position i: a pure function of (windows, weights, seed, i).

Two steps, both closed forms, so that any rank starts anywhere in constant time and the whole state of a
training's data is one integer:

1. *Which stratum*, and the how-manieth of it. A balanced binary tree over the strata: at each node, of
   the first n visits floor(n w + phase) go left (a Beatty sequence, in 32-bit fixed point). Each level
   adds less than one to the deviation, so of the first n positions a stratum of weight w holds n w
   within the depth of the tree: ceil(log2(strata)).
2. *Which window* of it: visit r is place r mod m of epoch r div m, through a keyed permutation of the m
   windows (a Feistel network over the next power of four, walked until it falls inside). So an epoch
   holds every window once, in an order of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

FIXED_POINT = 32
MOST_POSITIONS = 2**31  # n * w in 32-bit fixed point then fits 64 bits
ROUNDS = 6
DIALOGUE = "dialogue/"


class Place(NamedTuple):
    """What stands at one position."""

    window: int
    stratum: str
    epoch: int


class Places(NamedTuple):
    """What stands at a run of positions: int64[count] each; strata are numbers into `Stream.strata`."""

    windows: Ints
    strata: Ints
    epochs: Ints


@dataclass(frozen=True)
class Node:
    """Of n visits, (n * share + phase) >> 32 go to `left`, the rest to `right` (a node, or a stratum)."""

    share: int
    phase: int
    left: Node | int
    right: Node | int


class Stream:
    """A weighted, permuted, endless sequence of windows."""

    def __init__(
        self, strata: Mapping[str, Sequence[int] | Ints], weights: Mapping[str, float], seed: int
    ) -> None:
        """`strata`: window ids of each stratum. Strata of weight 0 or absent from `weights` are left out.

        ValueError names a stratum that has a weight but no windows, or a weight that is no number >= 0.
        """
        for name, weight in weights.items():
            if not (np.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of {name} must be a number from 0 up, it is {weight}")
            if weight > 0 and not len(strata.get(name, ())):
                raise ValueError(f"stratum {name} has weight {weight} but no windows")
        self.strata = tuple(sorted(name for name, weight in weights.items() if weight > 0))
        if not self.strata:
            raise ValueError("no stratum with a weight above 0")
        self.seed = seed
        total = sum(weights[name] for name in self.strata)
        self.weights = {name: weights[name] / total for name in self.strata}
        self._windows = [np.asarray(strata[name], np.int64) for name in self.strata]
        self._counts = np.array([len(ids) for ids in self._windows], np.uint64)
        self._keys = np.array([word("permutation", seed, name) for name in self.strata], np.uint64)
        self._tree = plant(list(range(len(self.strata))), [self.weights[n] for n in self.strata], seed)

    @classmethod
    def from_artifact(
        cls,
        index: Mapping[str, Any],
        weights: Mapping[str, float],
        seed: int,
        kinds: Sequence[str] = ("document",),
    ) -> Stream:
        """From `ShardReader.index` and the mixture's weights; `kinds`: "document" (to pretrain), "dialogue".

        Weights of strata of other kinds, and of strata without windows here, are dropped and the rest
        keep their proportions: a small stratum may be held out or rejected as a whole.
        """
        names = np.asarray(index["stratum"])
        windows = np.asarray(index["window"], np.int64)
        wanted = {
            name: windows[names == name]
            for name in sorted(set(names.tolist()))
            if ("dialogue" if name.startswith(DIALOGUE) else "document") in kinds
        }
        return cls(wanted, {name: weights.get(name, 0.0) for name in wanted}, seed)

    @property
    def depth(self) -> int:
        """Levels of the tree: a prefix's counts deviate from weight * n by less than this (at least 1)."""
        return max(1, (len(self.strata) - 1).bit_length())

    @property
    def fingerprint(self) -> str:
        """16 hex digits: equal fingerprints draw equal windows at equal positions."""
        digest = hashlib.sha256(json.dumps([self.seed, self.weights], sort_keys=True).encode())
        for name, ids in zip(self.strata, self._windows, strict=True):
            digest.update(f"{name}:{len(ids)}:".encode() + ids.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def window_at(self, position: int) -> Place:
        """The window, its stratum and that stratum's epoch at a position from 0."""
        places = self.windows_at(position, 1)
        return Place(int(places.windows[0]), self.strata[int(places.strata[0])], int(places.epochs[0]))

    def windows_at(self, start: int, count: int) -> Places:
        """What stands at positions start … start + count - 1; ValueError outside 0 … 2**31 - 1."""
        if start < 0 or count < 0 or start + count > MOST_POSITIONS:
            raise ValueError(f"positions {start} to {start + count} are outside 0 to {MOST_POSITIONS}")
        strata, visits = descend(self._tree, np.arange(start, start + count, dtype=np.uint64))
        sizes = self._counts[strata]
        epochs, places = visits // sizes, visits % sizes
        permuted = permute(places, sizes, mix(self._keys[strata] ^ mix(epochs)))
        windows = np.empty(count, np.int64)
        for number in np.unique(strata):
            chosen = strata == number
            windows[chosen] = self._windows[number][permuted[chosen].astype(np.int64)]
        return Places(windows, strata, epochs.astype(np.int64))


def word(*parts: object) -> int:
    """64 bits from the parts' SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def plant(numbers: list[int], weights: Sequence[float], seed: int) -> Node | int:
    """The balanced tree over stratum numbers; phases come from the seed."""
    if len(numbers) == 1:
        return numbers[0]
    middle = len(numbers) // 2
    left, right = numbers[:middle], numbers[middle:]
    total = sum(weights[n] for n in numbers)
    share = round(sum(weights[n] for n in left) / total * 2**FIXED_POINT)
    return Node(
        share=min(max(share, 1), 2**FIXED_POINT - 1),
        phase=word("phase", seed, numbers) >> (64 - FIXED_POINT),
        left=plant(left, weights, seed),
        right=plant(right, weights, seed),
    )


def descend(node: Node | int, visits: Words) -> tuple[Ints, Words]:
    """For each visit number of a node: the stratum that it reaches, and its visit number there."""
    if isinstance(node, int):
        return np.full(len(visits), node, np.int64), visits
    share, phase, bits = np.uint64(node.share), np.uint64(node.phase), np.uint64(FIXED_POINT)
    lefts = (visits * share + phase) >> bits
    goes_left = ((visits + np.uint64(1)) * share + phase) >> bits > lefts
    strata, inner = np.empty(len(visits), np.int64), np.empty(len(visits), np.uint64)
    for side, child, number in (
        (goes_left, node.left, lefts),
        (~goes_left, node.right, visits - lefts),
    ):
        strata[side], inner[side] = descend(child, number[side])
    return strata, inner


def mix(values: Words) -> Words:
    """A 64-bit finaliser (the constants of splitmix64): every bit of the input moves every bit out."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def permute(places: Words, sizes: Words, keys: Words) -> Words:
    """Each place 0 … size - 1 through the permutation of its key: a Feistel network with cycle walking."""
    out = places.copy()
    half = half_bits(sizes)
    walking = np.arange(len(out))
    values = places
    while len(walking):
        values = feistel(values, half[walking], keys[walking])
        inside = values < sizes[walking]
        out[walking[inside]] = values[inside]
        walking, values = walking[~inside], values[~inside]
    return out


def half_bits(sizes: Words) -> Words:
    """Half the bits of the least power of four that is at least each size (and at least four)."""
    bits = np.zeros(len(sizes), np.uint64)
    for half in range(1, 32):
        bits[(bits == 0) & (sizes <= np.uint64(1) << np.uint64(2 * half))] = half
    return bits


def feistel(values: Words, half: Words, keys: Words) -> Words:
    """Six rounds over 2 * half bits; a bijection for every key."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for number in range(ROUNDS):
        mixed = mix(right ^ mix(keys + np.uint64(number)))
        left, right = right, left ^ (mixed & mask)
    return (left << half) | right
