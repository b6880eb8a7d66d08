"""What two texts are compared by: their sets of word 5-grams, or character 5-grams without spaces."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WORDS = 5
CHARACTERS = 5
# Below this many shingles a single changed sentence decides, and templates look alike: exact only.
MIN_SHINGLES = 40

_WORD = re.compile(r"\w+")
# Han, kana, Thai, Lao, Myanmar, Khmer: scripts that write words without spaces between them.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)


def shingles(text: str) -> set[str]:
    """The text's shingles: case folded, punctuation and spacing ignored. Few words give few shingles."""
    folded = text.casefold()
    letters = sum(c.isalpha() for c in folded)
    if len(_UNSPACED.findall(folded)) > 0.3 * max(1, letters):
        dense = "".join(_WORD.findall(folded))
        return {dense[i : i + CHARACTERS] for i in range(len(dense) - CHARACTERS + 1)}
    words = _WORD.findall(folded)
    return {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}


def hashed(found: set[str]) -> np.ndarray:
    """uint64[n], sorted: 64-bit digests of shingles. Two sets' true Jaccard similarity is that of their
    digests unless two of some thousand shingles collide, one chance in 10^12."""
    import numpy as np

    digests = (hashlib.blake2b(s.encode(), digest_size=8).digest() for s in found)
    return np.sort(np.frombuffer(b"".join(digests), dtype="<u8"))


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """|left and right| / |left or right| of two sorted arrays without repeats; 0 for two empty ones."""
    import numpy as np

    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / max(1, len(left) + len(right) - shared)
