"""Pack documents into overlapping windows of one length.

The documents of a stratum, each closed by <|end_of_document|>, are one stream of tokens; a window begins
every `length - overlap` tokens of it. So a token near a window's edge is seen with context on both sides,
and every token of every document stands in some window. A dialogue is different: one dialogue, one window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """A document's part of a window: ids[start:end] are the document's tokens from `offset` on."""

    document_id: str
    start: int
    end: int
    offset: int


@dataclass(frozen=True)
class Window:
    """int64[length] ids, of which `used` come before the padding, and the documents in them, in order."""

    ids: Ids
    used: int
    spans: tuple[Span, ...]


def check_lengths(length: int, overlap: int) -> None:
    """ValueError unless 2 <= length and 0 <= overlap <= length / 2."""
    if length < 2:
        raise ValueError(f"window length must be at least 2, it is {length}")
    if not 0 <= overlap <= length // 2:
        raise ValueError(f"window overlap must be from 0 to half of the length {length}, it is {overlap}")


def pack(
    documents: Iterable[tuple[str, Sequence[int]]], length: int, overlap: int, *, pad: int
) -> Iterator[Window]:
    """Windows over the documents (id, ids with <|end_of_document|> last) in order; the last is padded.

    Holds one document and one window at a time. Documents without tokens are an error.
    """
    check_lengths(length, overlap)
    buffer = np.zeros(0, np.int64)
    spans: deque[Span] = deque()  # starts and ends within the buffer
    fresh = 0  # tokens at the buffer's end that no window holds yet
    for document_id, ids in documents:
        if not len(ids):
            raise ValueError(f"{document_id} has no tokens")
        first = len(buffer)
        buffer = np.concatenate([buffer, np.asarray(ids, np.int64)])
        spans.append(Span(document_id, first, len(buffer), 0))
        fresh += len(ids)
        taken = 0
        while len(buffer) - taken >= length:
            yield cut(buffer, spans, taken, length, pad)
            fresh = len(buffer) - taken - length
            taken += length - overlap
        if taken:
            buffer = buffer[taken:]
            spans = shift(spans, taken)
    if fresh:
        yield cut(buffer, spans, 0, length, pad)


def cut(buffer: Ids, spans: Iterable[Span], start: int, length: int, pad: int) -> Window:
    """The window of the buffer at `start`, padded to `length`."""
    stop = min(start + length, len(buffer))
    ids = np.full(length, pad, np.int64)
    ids[: stop - start] = buffer[start:stop]
    inside = tuple(
        Span(
            s.document_id,
            max(s.start, start) - start,
            min(s.end, stop) - start,
            s.offset + max(0, start - s.start),
        )
        for s in spans
        if s.end > start and s.start < stop
    )
    return Window(ids, stop - start, inside)


def shift(spans: Iterable[Span], taken: int) -> deque[Span]:
    """The spans after the first `taken` tokens left the buffer."""
    return deque(
        Span(s.document_id, max(0, s.start - taken), s.end - taken, s.offset + max(0, taken - s.start))
        for s in spans
        if s.end > taken
    )


def alone(document_id: str, ids: Sequence[int], length: int, *, pad: int) -> Window | None:
    """A dialogue in a window of its own, padded; None if it is longer than the window."""
    if not 0 < len(ids) <= length:
        return None
    row = np.full(length, pad, np.int64)
    row[: len(ids)] = ids
    return Window(row, len(ids), (Span(document_id, 0, len(ids), 0),))
