"""A suffix array over bytes: where a string stands, and how far one can be followed.

Building takes four bytes of memory a byte of text besides the text (int32, libdivsufsort); searching
takes none to speak of: text and array are mapped and a search touches some twenty places of each.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 2**31 - 1
SHORT = 128


def build_suffixes(text: bytes | bytearray | memoryview) -> NDArray[np.int32]:
    """int32[n]: the starts of the text's suffixes in byte order; ValueError above 2**31 - 1 bytes."""
    if len(text) > MOST_BYTES:
        raise ValueError(
            f"the trained text is {len(text):,} bytes, one trace index holds {MOST_BYTES:,}: "
            "split the mixture or trace fewer strata"
        )
    if not len(text):
        return np.zeros(0, np.int32)
    from pydivsufsort import divsufsort

    letters = np.frombuffer(text, np.uint8)
    return np.asarray(divsufsort(letters if letters.flags.writeable else letters.copy()), np.int32)


@dataclass(frozen=True)
class SuffixArray:
    """`text` and the starts of its suffixes in byte order."""

    text: bytes | mmap.mmap
    suffixes: Sequence[int] | memoryview | NDArray[Any]

    def first(self, query: bytes, low: int = 0, high: int | None = None, *, after: bool = False) -> int:
        """Place of the first suffix that is >= the query (`after`: that is above all that start with it)."""
        text, suffixes, size = self.text, self.suffixes, len(query)
        high = len(suffixes) if high is None else high
        while low < high:
            middle = (low + high) // 2
            start = suffixes[middle]
            found = text[start : start + size]
            if found < query or (after and found == query):
                low = middle + 1
            else:
                high = middle
        return low

    def longest(self, query: bytes) -> int:
        """Length of the longest prefix of the query that stands in the text."""
        # Most matches are short, and short comparisons cost less: the whole query only when it is needed.
        for part in (query[:SHORT], query):
            place = self.first(part)
            neighbours = (self.suffixes[p] for p in (place - 1, place) if 0 <= p < len(self.suffixes))
            size = max((common(part, self.text[p : p + len(part)]) for p in neighbours), default=0)
            if size < len(part):
                break
        return size

    def occurrences(self, query: bytes) -> range:
        """Places in `suffixes` of all suffixes that start with the query."""
        low = self.first(query)
        return range(low, self.first(query, low, after=True))


def common(left: bytes, right: bytes) -> int:
    """Length of the common prefix; compares by halves, so long matches cost few steps."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
