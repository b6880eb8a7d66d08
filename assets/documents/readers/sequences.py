"""Letters of DNA and protein: alphabets, validation with position, parts of bounded length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from assets.documents.parts import Part, Rejection

# IUPAC-IUB codes (Cornish-Bowden 1985; IUPAC-IUBMB 1984, with U and O added 1999 and 2009).
DNA = "ACGTRYSWKMBDHVN"
PROTEIN = "ACDEFGHIKLMNPQRSTVWYBXZJUO"
# A hundred thousand letters: about a hundred bacterial genes, so that a genome gives enough documents
# to hold some out, and no document is large in memory.
PART_LETTERS = 100_000

_NOT = {"dna": re.compile(f"[^{DNA}]"), "protein": re.compile(f"[^{PROTEIN}]")}
_GAPS = str.maketrans("", "", "-.")


@dataclass
class Record:
    """One sequence as read from a file: its name, its description, its letters and their first lines."""

    name: str
    description: str
    line: int
    modality: str | None = None
    declared_length: int | None = None
    lines: list[tuple[int, str]] = field(default_factory=list)
    complete: bool = True


def guess_modality(letters: str) -> str:
    """``dna`` if nine letters in ten of the first ten thousand are A, C, G, T, U or N, else ``protein``."""
    sample = letters[:10_000].upper()
    common = sum(sample.count(c) for c in "ACGTUN")
    return "dna" if common >= 0.9 * max(1, len(sample)) else "protein"


def record_parts(record: Record, stated: str, reader: str) -> Iterator[Part | Rejection]:
    """A record's parts, or one rejection that says what is wrong with it and where.

    `stated` is the modality that the source states; other values than dna and protein leave it to the
    record or to its letters. Lower case (masked) letters are raised, gaps and a final stop removed, U of
    RNA written as T.
    """
    name = record.name or f"line {record.line}"
    letters = "".join(line for _, line in record.lines)
    if not letters:
        yield Rejection(name, "empty_sequence", f"line {record.line}: no letter follows the heading")
        return
    modality = record.modality or (stated if stated in _NOT else guess_modality(letters))
    quality: dict[str, Any] = {"reader": reader, "record": record.name}
    normal = _normalise(letters, modality)
    wrong = _NOT[modality].search(normal)
    if wrong:
        yield Rejection(name, "invalid_letter", _position(record, modality))
        return
    if not record.complete:
        yield Rejection(name, "truncated", "the file ends inside this record")
        return
    if record.declared_length is not None and record.declared_length != len(normal):
        detail = f"{record.declared_length} letters are declared, {len(normal)} stand there"
        yield Rejection(name, "truncated" if len(normal) < record.declared_length else "wrong_length", detail)
        return
    if not normal.strip("NX"):
        yield Rejection(name, "empty_sequence", "nothing but unknown letters")
        return
    if modality == "dna" and "U" in letters.upper():
        quality["rna"] = True
    title = f"{record.name} {record.description}".strip()
    for offset in range(0, len(normal), PART_LETTERS):
        chunk = normal[offset : offset + PART_LETTERS]
        unknown = chunk.count("N" if modality == "dna" else "X")
        figures = {
            "offset": offset,
            "record_letters": len(normal),
            "unknown_share": round(unknown / len(chunk), 4),
        }
        yield Part(modality=modality, text=chunk, title=title, clean=False, quality={**quality, **figures})


def _normalise(letters: str, modality: str) -> str:
    letters = letters.upper().translate(_GAPS)
    return letters.replace("U", "T") if modality == "dna" else letters.removesuffix("*")


def _position(record: Record, modality: str) -> str:
    """Line and column of the first letter outside the alphabet, as they stand in the file."""
    allowed = set(DNA + "U" if modality == "dna" else PROTEIN) | set("-.")
    last = record.lines[-1][0]
    for number, line in record.lines:
        for column, letter in enumerate(line.upper(), 1):
            final_stop = letter == "*" and modality == "protein" and number == last and column == len(line)
            if letter not in allowed and not final_stop:
                return f"line {number}, letter {column}: {letter!r} is no {modality} letter"
    return f"a letter that is no {modality} letter"
