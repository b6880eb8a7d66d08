"""How the other modalities enter a byte-level vocabulary of text.

A letter of a sequence, or a code of an image or of audio, is *lifted* to a private-use code point of
plane 15. Each modality has a block of its own, so its tokens share no byte sequence with another's, and
text never holds these code points: `without_lifted` replaces them. A lifted character is four bytes of
UTF-8; glue tokens join the first two and three of them, so that every lifted character is one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CONTROL = (
    "<|pad|>",
    "<|end_of_document|>",
    "<|dna|>",
    "<|/dna|>",
    "<|protein|>",
    "<|/protein|>",
    "<|image|>",
    "<|row|>",
    "<|/image|>",
    "<|audio|>",
    "<|/audio|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end_of_turn|>",
)
ROLES = ("system", "user", "assistant")

DNA_LETTERS = "ACGTUNRYSWKMBDHV*-"  # IUPAC nucleotides, RNA's U, a stop and a gap
PROTEIN_LETTERS = "ACDEFGHIKLMNPQRSTVWYBJOUXZ*-"  # the twenty, the IUPAC others, a stop and a gap
PIECE_LETTERS = 64  # a merge never crosses a multiple of this many letters, so a piece costs little to merge
BLOCK = 64  # code points that share their first three bytes
MOST_CODES = 4096  # of an image or audio codebook: one block of 0x1000 code points each

# GPT-4's idea of a piece of text, without its case-insensitive group (regex engines fold case differently).
TEXT_PATTERN = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}\x{F0000}-\x{FFFFF}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}\x{F0000}-\x{FFFFF}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNLIFTABLE = re.compile("[\U000f0000-\U000fffff\ud800-\udfff]")


@dataclass(frozen=True)
class Block:
    """A run of private-use code points: the `size` characters from `start`."""

    start: int
    size: int

    def character(self, place: int) -> str:
        """The code point that stands for letter or code number `place`."""
        if not 0 <= place < self.size:
            raise ValueError(f"code {place} is outside 0..{self.size - 1}")
        return chr(self.start + place)

    def characters(self) -> list[str]:
        """All of them, in order."""
        return [chr(self.start + place) for place in range(self.size)]

    def range_pattern(self) -> str:
        """As a class of a regular expression, for tiktoken and Hugging Face alike."""
        return rf"[\x{{{self.start:X}}}-\x{{{self.start + self.size - 1:X}}}]"


LETTERS = {"dna": DNA_LETTERS, "protein": PROTEIN_LETTERS}
BLOCKS = {
    "dna": Block(0xF0000, len(DNA_LETTERS)),
    "protein": Block(0xF0040, len(PROTEIN_LETTERS)),
    "image": Block(0xF1000, MOST_CODES),
    "audio": Block(0xF2000, MOST_CODES),
}
PATTERN = "|".join(
    [
        BLOCKS["dna"].range_pattern() + f"{{1,{PIECE_LETTERS}}}",
        BLOCKS["protein"].range_pattern() + f"{{1,{PIECE_LETTERS}}}",
        BLOCKS["image"].range_pattern(),
        BLOCKS["audio"].range_pattern(),
        TEXT_PATTERN,
    ]
)
LIFT = {
    kind: str.maketrans({letter: BLOCKS[kind].character(place) for place, letter in enumerate(letters)})
    for kind, letters in LETTERS.items()
}
LOWER = {
    ord(BLOCKS[kind].character(place)): letter
    for kind, letters in LETTERS.items()
    for place, letter in enumerate(letters)
}
UNKNOWN = {kind: re.compile(f"[^{re.escape(letters)}]") for kind, letters in LETTERS.items()}


def without_lifted(text: str) -> str:
    """The text with plane-15 code points and lone surrogates replaced by U+FFFD: it can forge nothing."""
    return UNLIFTABLE.sub("\ufffd", text)


def lift_sequence(kind: str, letters: str) -> str:
    """Letters of "dna" or "protein", in either case, as lifted characters; ValueError names a foreign one."""
    if kind not in LETTERS:
        raise ValueError(f"{kind!r} is no sequence alphabet: {', '.join(LETTERS)}")
    upper = letters.upper()
    foreign = UNKNOWN[kind].search(upper)
    if foreign:
        raise ValueError(
            f"{kind}: {foreign.group()!r} at letter {foreign.start()} is not one of {LETTERS[kind]}; "
            "clean the sequence"
        )
    return upper.translate(LIFT[kind])


def glue_tokens(sizes: dict[str, int]) -> list[bytes]:
    """The two-byte and then the three-byte prefixes of the lifted characters in use, sorted."""
    encoded = [
        chr(BLOCKS[kind].start + place).encode()
        for kind, size in sizes.items()
        for place in range(0, size, BLOCK)
    ]
    return sorted({e[:2] for e in encoded}) + sorted({e[:3] for e in encoded})


class _Shown(dict[int, str | int]):
    """str.translate table: lifted letters to letters, lifted codes to ⟨number⟩, the rest unchanged."""

    def __missing__(self, code: int) -> str | int:
        if code in LOWER:
            return LOWER[code]
        for kind in ("image", "audio"):
            place = code - BLOCKS[kind].start
            if 0 <= place < BLOCKS[kind].size:
                return f"⟨{place}⟩"
        return code


_SHOWN = _Shown()


def lowered(text: str) -> str:
    """For people: lifted letters as letters, lifted codes as ⟨number⟩; costs nothing where there are none."""
    if text.isascii() or max(text) < "\U000f0000":
        return text
    return text.translate(_SHOWN)
