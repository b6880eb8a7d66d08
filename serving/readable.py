"""Answers as people read them: what the vocabulary lifted to private code points comes back as letters."""

from __future__ import annotations

from training.alphabets import BLOCKS, LOWER


class _Readable(dict[int, str | int]):
    """A str.translate table: lifted letters to letters, lifted codes to ⟨number⟩, the rest unchanged."""

    def __missing__(self, code: int) -> str | int:
        if code in LOWER:
            return LOWER[code]
        for kind in ("image", "audio"):
            place = code - BLOCKS[kind].start
            if 0 <= place < BLOCKS[kind].size:
                return f"⟨{place}⟩"
        return code


_TABLE = _Readable()


def readable(text: str) -> str:
    """The engine's text with lifted characters lowered; costs nothing where there are none."""
    if text.isascii() or max(text) < "\U000f0000":
        return text
    return text.translate(_TABLE)
