"""FASTA and GenBank flat files, as efetch converts between them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import datetime

from deploy.local.items import Item, Library


def as_fasta(library: Library, item: Item) -> Iterator[bytes]:
    """The item's sequence as FASTA, in pieces; a FASTA file is passed on as it is, faults and all."""
    if item.media_type == "text/x-genbank":
        for record in re.split(r"^//", _whole(library, item).decode("utf-8", "replace"), flags=re.MULTILINE):
            if "LOCUS" in record:
                yield _fasta_of_record(item, record)
    elif (item.path or "").endswith(".gz"):
        yield _whole(library, item)
    else:
        assert item.path is not None
        yield from library.read(item.path)


def _fasta_of_record(item: Item, record: str) -> bytes:
    version = re.search(r"^VERSION +(\S+)", record, re.MULTILINE)
    title = re.search(r"^DEFINITION +(.+)", record, re.MULTILINE)
    letters = "".join(re.findall(r"[a-zA-Z]+", record.partition("\nORIGIN")[2]))
    name = version[1] if version else accession(item)
    return f">{name} {title[1] if title else item.title}\n{_wrapped(letters.upper(), 70)}\n".encode()


def as_genbank(library: Library, item: Item) -> Iterator[bytes]:
    """The item as a GenBank (or, for proteins, GenPept) flat file."""
    if item.media_type == "text/x-genbank":
        yield _whole(library, item)
        return
    lines = _whole(library, item).decode("utf-8", "replace").splitlines()
    letters = "".join(line.strip() for line in lines if not line.startswith(">")).lower()
    unit, molecule = ("aa", "") if item.set == "protein" else ("bp", "DNA")
    name = accession(item).partition(".")[0]
    organism = str(item.fields.get("organism", "synthetic construct"))
    origin = "\n".join(
        f"{start + 1:>9} "
        + " ".join(letters[at : at + 10] for at in range(start, min(start + 60, len(letters)), 10))
        for start in range(0, len(letters), 60)
    )
    yield (
        f"LOCUS       {name:<16} {len(letters):>11} {unit}    {molecule:<6}  "
        f"linear   SYN {_day(item)}\n"
        f"DEFINITION  {item.title}.\nACCESSION   {name}\nVERSION     {accession(item)}\n"
        f"SOURCE      {organism}\n  ORGANISM  {organism}\nORIGIN\n{origin}\n//\n"
    ).encode()


def accession(item: Item) -> str:
    return str(item.fields.get("accession", item.id))


def length(library: Library, item: Item) -> int:
    """Letters of a sequence item; 0 where the item is not a sequence."""
    if item.set not in ("nuccore", "protein"):
        return 0
    text = b"".join(as_fasta(library, item))
    return sum(len(line.strip()) for line in text.splitlines() if not line.startswith(b">"))


def _day(item: Item) -> str:
    return datetime.fromisoformat(item.datestamp).strftime("%d-%b-%Y").upper()


def _whole(library: Library, item: Item) -> bytes:
    assert item.path is not None
    content = b"".join(library.read(item.path))
    return gzip.decompress(content) if item.path.endswith(".gz") else content


def _wrapped(letters: str, width: int) -> str:
    return "\n".join(letters[at : at + width] for at in range(0, len(letters), width))
