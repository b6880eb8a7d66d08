"""Seekable reading of a remote object by ranges."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

SMALLEST, LARGEST = 64 << 10, 8 << 20


class S3Reader(io.RawIOBase):
    """Reads through `fetch(start, end) -> bytes`, one block in memory.

    A block is 64 KiB after a jump, and doubles up to 8 MiB while the reading goes straight on: a window
    somewhere in a shard costs one small request, a whole file few large ones.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], length: int) -> None:
        super().__init__()
        self._fetch, self._length = fetch, length
        self._position = 0
        self._block, self._start, self._size = b"", 0, SMALLEST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._position >= self._length or not len(view):
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            straight = bool(self._block) and self._position == self._start + len(self._block)
            self._size = min(self._size * 2, LARGEST) if straight else SMALLEST
            end = min(self._position + max(self._size, min(len(view), LARGEST)), self._length)
            block = self._fetch(self._position, end)
            if len(block) != end - self._position:
                raise OSError(f"asked for {end - self._position} bytes at {self._position}, got {len(block)}")
            self._block, self._start = block, self._position
        offset = self._position - self._start
        count = min(len(view), len(self._block) - offset)
        view[:count] = self._block[offset : offset + count]
        self._position += count
        return count
