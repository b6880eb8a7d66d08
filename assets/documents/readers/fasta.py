"""FASTA: records of DNA or protein, read line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.sequences import Record, record_parts


def read_fasta(item: RawItem) -> Iterator[Part | Rejection]:
    """Every record's parts, in order; letters before the first heading are set aside."""
    if item.path.stat().st_size == 0:
        raise Unreadable("empty", "the file holds no byte")
    found = False
    with item.path.open(encoding="utf-8", errors="replace") as lines:
        for record in parse_fasta(lines):
            found = True
            yield from record_parts(record, item.modality, "fasta")
    if not found:
        raise Unreadable("no_record", "no line starts with '>'")


def parse_fasta(lines: Iterable[str]) -> Iterator[Record]:
    """Records of a FASTA text; one record in memory at a time. ``;`` lines are comments."""
    record: Record | None = None
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n").lstrip("\ufeff") if number == 1 else line.rstrip("\r\n")
        if line.startswith(">"):
            if record is not None:
                yield record
            name, _, description = line[1:].strip().partition(" ")
            record = Record(name=name, description=description.strip(), line=number)
        elif line.startswith(";") or not line.strip():
            continue
        elif record is not None:
            record.lines.append((number, "".join(line.split())))
    if record is not None:
        yield record
