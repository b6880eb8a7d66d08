"""GenBank, EMBL and Swiss-Prot flat files: the sequence of each record, with its name and description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.sequences import Record, record_parts

_NOT_LETTERS = re.compile(r"[\s\d]+")
_LOCUS_LENGTH = re.compile(r"\s(\d+)\s+(bp|aa|rc)\b", re.IGNORECASE)
_ID_LENGTH = re.compile(r"(\d+)\s+(BP|AA)\.?\s*$", re.IGNORECASE)


def read_genbank(item: RawItem) -> Iterator[Part | Rejection]:
    """GenBank and GenPept: LOCUS to ``//``."""
    yield from _read(item, "genbank")


def read_embl(item: RawItem) -> Iterator[Part | Rejection]:
    """EMBL, IMGT and Swiss-Prot: ID to ``//``."""
    yield from _read(item, "embl")


def _read(item: RawItem, reader: str) -> Iterator[Part | Rejection]:
    if item.path.stat().st_size == 0:
        raise Unreadable("empty", "the file holds no byte")
    parse = parse_genbank if reader == "genbank" else parse_embl
    found = False
    with item.path.open(encoding="utf-8", errors="replace") as lines:
        for record in parse(lines):
            found = True
            if not record.lines and record.complete:
                detail = "annotation alone (a CONTIG or WGS record, or an empty ORIGIN)"
                yield Rejection(record.name or f"line {record.line}", "no_sequence", detail)
                continue
            yield from record_parts(record, item.modality, reader)
    if not found:
        raise Unreadable("no_record", f"no {'LOCUS' if reader == 'genbank' else 'ID'} line")


def parse_genbank(lines: Iterable[str]) -> Iterator[Record]:
    """Records of a GenBank text. A record that ends without ``//`` is not `complete`, unless it already
    holds the letters that its LOCUS line declares."""
    record: Record | None = None
    section = ""
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if line.startswith("LOCUS"):
            if record is not None:
                yield _ended(record)
            fields = line.split()
            record = Record(name=fields[1] if len(fields) > 1 else "", description="", line=number)
            if found := _LOCUS_LENGTH.search(line):
                record.declared_length = int(found.group(1))
                record.modality = {"bp": "dna", "aa": "protein"}.get(found.group(2).lower())
            section = "LOCUS"
        elif record is None:
            continue
        elif line.startswith("//"):
            yield record
            record, section = None, ""
        else:
            if line[:1].strip():
                section = line.split()[0]
            if section == "DEFINITION":
                record.description = f"{record.description} {line[12:].strip()}".strip()
            elif section == "VERSION" and len(line.split()) > 1 and line.startswith("VERSION"):
                record.name = line.split()[1]
            elif section == "ORIGIN" and not line.startswith("ORIGIN"):
                _add(record, number, line)
    if record is not None:
        yield _ended(record)


def parse_embl(lines: Iterable[str]) -> Iterator[Record]:
    """Records of an EMBL-like text, two-letter line codes; as parse_genbank for torn ends."""
    record: Record | None = None
    in_sequence = False
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        code, rest = line[:2], line[5:].strip()
        if code == "ID" and not in_sequence:
            if record is not None:
                yield _ended(record)
            record = Record(name=rest.split()[0].rstrip(";") if rest else "", description="", line=number)
            if found := _ID_LENGTH.search(rest):
                record.declared_length = int(found.group(1))
                record.modality = "protein" if found.group(2).upper() == "AA" else "dna"
        elif record is None:
            continue
        elif code == "//":
            yield record
            record, in_sequence = None, False
        elif in_sequence:
            _add(record, number, line)
        elif code == "DE":
            text = re.sub(r"^(?:RecName|SubName|AltName):\s*(?:Full=)?", "", rest)
            if len(record.description) < 200:
                record.description = f"{record.description} {text.rstrip(';')}".strip()
        elif code == "SQ":
            in_sequence = True
    if record is not None:
        yield _ended(record)


def _add(record: Record, number: int, line: str) -> None:
    letters = _NOT_LETTERS.sub("", line)
    if letters:
        record.lines.append((number, letters))


def _ended(record: Record) -> Record:
    """A record without its ``//``: whole if it holds as many letters as it declares."""
    letters = sum(len(line) for _, line in record.lines)
    record.complete = record.declared_length is not None and letters == record.declared_length
    return record
