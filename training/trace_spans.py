"""Which passages of a text stand verbatim in the trained text (the idea of OLMoTrace).

A span is maximal: it cannot be extended on either side and still stand there. Spans are trimmed to whole
words, unless the whole of one is inside a word (a sequence) or the script has no spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from training.suffix_array import SuffixArray

# Scripts that are written without spaces: each character is a word. Thai to Khmer, then CJK and kana.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class Passage(NamedTuple):
    """Characters start … end - 1 of the query."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Its length in characters."""
        return self.end - self.start


def verbatim_passages(array: SuffixArray, query: str, least: int) -> list[Passage]:
    """The maximal passages of at least `least` characters, trimmed to words, none inside another."""
    kept: list[Passage] = []
    for passage in maximal(array, query):
        if passage.size < least:
            continue
        trimmed = trim(query, passage)
        if trimmed.size < least:
            if trimmed.size:
                continue  # what is left over of words at its edges made it long enough
            trimmed = passage
        if kept and trimmed.end <= kept[-1].end:
            continue
        while kept and kept[-1].start >= trimmed.start:
            kept.pop()
        kept.append(trimmed)
    return kept


def maximal(array: SuffixArray, query: str) -> Iterator[Passage]:
    """Maximal passages of any length, by start; their ends ascend too."""
    data = query.encode()
    starts = [place for place, byte in enumerate(data) if byte & 0xC0 != 0x80]
    character = dict(zip([*starts, len(data)], range(len(starts) + 1), strict=True))

    def end_of(number: int) -> int:
        """Where the longest match from this character ends; it never falls from one character to the next."""
        end = starts[number] + array.longest(data[starts[number] :])
        while end not in character:  # the match ends inside a character
            end -= 1
        return end

    reach = number = 0
    while number < len(starts):
        end = end_of(number)
        if end > starts[number]:
            yield Passage(number, character[end])
        reach = end
        if reach == len(data):
            return
        number = first_beyond(end_of, number, len(starts), reach)


def first_beyond(end_of: Callable[[int], int], low: int, count: int, reach: int) -> int:
    """The first number after `low`, or `count`, whose end lies beyond `reach`: by strides, then halves."""
    stride = 1
    while low + stride < count and end_of(low + stride) <= reach:
        low, stride = low + stride, 2 * stride
    high = min(low + stride, count)
    while low + 1 < high:
        middle = (low + high) // 2
        if end_of(middle) <= reach:
            low = middle
        else:
            high = middle
    return high


def trim(query: str, passage: Passage) -> Passage:
    """To whole words, without white space at the edges; empty if it lies inside one word."""
    start, end = passage
    while start < end and inside_word(query, start):
        start += 1
    while end > start and inside_word(query, end):
        end -= 1
    while start < end and query[start].isspace():
        start += 1
    while end > start and query[end - 1].isspace():
        end -= 1
    return Passage(start, end)


def inside_word(query: str, place: int) -> bool:
    """Whether the boundary before character `place` parts a word."""
    if not 0 < place < len(query):
        return False
    left, right = query[place - 1], query[place]
    return left.isalnum() and right.isalnum() and not (unspaced(left) or unspaced(right))


def unspaced(character: str) -> bool:
    """Whether the character's script is written without spaces."""
    code = ord(character)
    return code >= UNSPACED[0][0] and any(low <= code <= high for low, high in UNSPACED)
